//! InvokeAI's settings: JSON under `invokeai_metadata` since its version 3, under `sd-metadata` in version 2, and before that, or
//! beside it, a line of its command, `Dream`.

use calotype_diffusion::Rng;
use serde_json::{Map, Value};

use super::{Program, draft::Draft, grammar, members, reader::Picture};
use crate::{Error, Result};

const TABLE: &[(&str, &str)] = &[
    ("seed", "Seed"),
    ("steps", "Steps"),
    ("cfg_scale", "CFG scale"),
    ("app_version", "Version"),
    ("strength", "Denoising strength"),
];

/// Read elsewhere, or without effect on the picture.
const SILENT: &[&str] = &[
    "positive_prompt",
    "negative_prompt",
    "prompt",
    "positive_style_prompt",
    "negative_style_prompt",
    "style_preset",
    "width",
    "height",
    "rand_device",
    "scheduler",
    "sampler",
    "clip_skip",
    "seamless",
    "seamless_x",
    "seamless_y",
    "model",
    "loras",
    "generation_mode",
    "created_by",
    "type",
    "variations",
    "threshold",
    "perlin",
    "cfg_rescale_multiplier",
    "canvas_v2_metadata",
    "orig_hash",
];
/// Of no effect where they are 0.
const NUMBERS: [&str; 4] = ["threshold", "perlin", "cfg_rescale_multiplier", "facetool_strength"];
/// From so many steps on version 2 had the plain schedule for its k_ samplers, below that of Karras.
const KARRAS_MAX: f64 = 29.0;
/// Options of more than one letter behind one sign.
const LONGER: [&str; 4] = ["-ft", "-cf", "-tm", "-fit"];

pub(super) fn read(picture: &Picture) -> Option<Result<Draft>> {
    if let Some(members) = picture.json(&["invokeai_metadata"], |_| true) {
        return Some(Ok(of_version_3(&members).complete(picture)));
    }
    if let Some(root) = picture.json(&["sd-metadata"], |root| root.contains_key("app_id") || root.contains_key("image"))
    {
        let image = root.get("image").or_else(|| root.get("images")?.get(0)).and_then(Value::as_object);
        let Some(image) = image else {
            return Some(Err(Error::NoSettings("InvokeAI's sd-metadata has no image".to_owned())));
        };
        return Some(Ok(of_version_2(&root, image).complete(picture)));
    }
    Some(Ok(of_command(picture.text(&["Dream"])?)?.complete(picture)))
}

fn of_version_3(members: &Map<String, Value>) -> Draft {
    let mut draft = Draft::new(Program::InvokeAi);
    let string = |name: &str| members::string(members, name).unwrap_or_default();
    prompts(&mut draft, string("positive_prompt"), string("negative_prompt"));
    draft.metadata.request.rng = if string("rand_device") == "cuda" { Rng::Cuda } else { Rng::Cpu };
    common(&mut draft, members);
    scheduler(&mut draft, string("scheduler"));
    if let Some(skip) = members::number(members, "clip_skip").filter(|skip| *skip > 0.0) {
        draft.setting("Clip skip", &(skip + 1.0).to_string());
    }
    seamless(&mut draft, ["seamless_x", "seamless_y"].map(|name| members.get(name) == Some(&Value::Bool(true))));
    let model = members.get("model").and_then(Value::as_object);
    if let Some(name) = model.and_then(name_of) {
        draft.setting("Model", name);
    }
    if let Some(hash) = model.and_then(|model| members::string(model, "hash")?.strip_prefix("sha256:")) {
        draft.setting("Model hash", hash);
    }
    for lora in members.get("loras").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object) {
        let of = ["lora", "model"].into_iter().find_map(|name| lora.get(name)?.as_object()).unwrap_or(lora);
        if let Some(name) = name_of(of) {
            let weight = members::number(lora, "weight").unwrap_or(1.0) as f32;
            draft.lora(name, weight, weight);
        }
    }
    draft
}

fn of_version_2(root: &Map<String, Value>, image: &Map<String, Value>) -> Draft {
    let mut draft = Draft::new(Program::InvokeAi);
    let parts: Vec<&str> = match image.get("prompt") {
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|part| part.get("prompt").map_or(part.as_str(), Value::as_str)).collect()
        }
        Some(Value::String(prompt)) => vec![prompt],
        _ => Vec::new(),
    };
    if parts.len() > 1 {
        draft.note("the weights of the parts of its prompt are not read");
    }
    let (prompt, negative) = without_negative(&parts.join(" "));
    prompts(&mut draft, &prompt, &negative);
    draft.metadata.request.rng = Rng::Cuda;
    common(&mut draft, image);
    let string = |name: &str| members::string(root, name).unwrap_or_default();
    let version = string("app_version");
    draft.setting("Version", version);
    if let Some(model) = ["model_weights", "model_id"].into_iter().find_map(|name| members::string(root, name)) {
        draft.setting("Model", model);
    }
    draft.setting("Model hash", string("model_hash"));
    let sampler = members::string(image, "sampler").unwrap_or_default();
    let of_diffusers = version.trim_start_matches('v').starts_with("2.3");
    sampler_of_version_2(&mut draft, sampler, if of_diffusers { 0.0 } else { KARRAS_MAX });
    seamless(&mut draft, [image.get("seamless") == Some(&Value::Bool(true)); 2]);
    let variations = image.get("variations").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    match variations {
        [] => {}
        [one] => {
            for (name, known) in [("seed", "Variation seed"), ("weight", "Variation seed strength")] {
                let value = one.get(name).and_then(members::text).unwrap_or_default();
                draft.setting_as("variations", known, &value);
            }
        }
        more => draft.unread("variations", &Value::from(more).to_string()),
    }
    draft
}

/// `"a cat" -s 50 -S 42 -W 512 -H 512 -C 7.5 -A k_lms`; the prompt may have no quotation marks. None if it is no such line.
fn of_command(line: &str) -> Option<Draft> {
    let is_option = |word: &str| {
        word.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c == '-' || c.is_ascii_alphabetic()))
    };
    let (prompt, options) = match line.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
        Some(parts) => parts,
        None => {
            let mut starts = line.match_indices(" -").map(|(at, _)| at);
            line.split_at(starts.find(|&at| is_option(&line[at + 1..]))?)
        }
    };
    let mut draft = Draft::new(Program::InvokeAi);
    let (prompt, negative) = without_negative(prompt);
    prompts(&mut draft, &prompt, &negative);
    draft.metadata.request.rng = Rng::Cuda;
    let (mut sampler, mut karras_max, mut size) = ("", KARRAS_MAX, [""; 2]);
    let mut words = options.split_whitespace().peekable();
    while let Some(word) = words.next() {
        // A value may stand behind its option without a space: -s50.
        let (option, mut value) = match word.strip_prefix("--") {
            Some(_) => word.split_once('=').unwrap_or((word, "")),
            None if LONGER.contains(&word) => (word, ""),
            None => word.split_at(word.char_indices().nth(2).map_or(word.len(), |(at, _)| at)),
        };
        if value.is_empty() {
            value = words.next_if(|next| !is_option(next)).unwrap_or_default();
        }
        match option {
            "-s" | "--steps" => draft.setting_as(option, "Steps", value),
            "-S" | "--seed" => draft.setting_as(option, "Seed", value),
            "-C" | "--cfg_scale" => draft.setting_as(option, "CFG scale", value),
            "-W" | "--width" => size[0] = value,
            "-H" | "--height" => size[1] = value,
            "-A" | "-m" | "--sampler" => sampler = value,
            "--karras_max" => karras_max = value.parse().unwrap_or(karras_max),
            "--seamless" => draft.setting("Tiling", "True"),
            "-f" | "--strength" => draft.setting_as(option, "Denoising strength", value),
            _ => draft.unread(option, value),
        }
    }
    if !size.contains(&"") {
        draft.setting("Size", &size.join("x"));
    }
    sampler_of_version_2(&mut draft, sampler, karras_max);
    draft.has_essentials().then_some(draft)
}

fn prompts(draft: &mut Draft, prompt: &str, negative: &str) {
    if [prompt, negative].iter().any(|text| [".and(", ".blend(", ".swap("].iter().any(|word| text.contains(word))) {
        draft.note("InvokeAI's .and(), .blend() and .swap() are not read");
    }
    let request = &mut draft.metadata.request;
    (request.prompt, request.negative_prompt) = (grammar::invokeai(prompt), grammar::invokeai(negative));
}

fn common(draft: &mut Draft, members: &Map<String, Value>) {
    draft.members(members, TABLE, SILENT);
    draft.size_of(members, "width", "height");
    for name in NUMBERS {
        if let Some(number) = members::number(members, name).filter(|number| *number != 0.0) {
            draft.unread(name, &number.to_string());
        }
    }
}

/// Version 2 has the negative prompt in square brackets in the prompt.
fn without_negative(prompt: &str) -> (String, String) {
    let (mut positive, mut negative, mut rest) = (String::new(), Vec::new(), prompt);
    while let Some((before, after)) = rest.split_once('[') {
        let Some((inside, after)) = after.split_once(']') else { break };
        positive.push_str(before);
        negative.push(inside.trim());
        rest = after;
    }
    positive.push_str(rest);
    (positive.trim().to_owned(), negative.join(" "))
}

/// A scheduler of diffusers by version 3's name, with `_k` at the end for Karras' sigmas.
fn scheduler(draft: &mut Draft, name: &str) {
    let (sampler, is_karras) = name.strip_suffix("_k").map_or((name, false), |name| (name, true));
    if !name.is_empty() {
        draft.setting_as("scheduler", "Sampler", if is_karras { sampler } else { name });
    }
    if is_karras {
        draft.setting("Schedule type", "Karras");
    }
}

fn sampler_of_version_2(draft: &mut Draft, name: &str, karras_max: f64) {
    if name.is_empty() {
        return;
    }
    let sampler = match name {
        "k_dpmpp_2" => "dpmpp_2m",
        "k_dpmpp_2_a" => "dpmpp_2s_a",
        other => other,
    };
    draft.setting_as("sampler", "Sampler", sampler);
    let steps = draft.value("Steps").and_then(|steps| steps.parse::<f64>().ok()).unwrap_or_default();
    if name.starts_with("k_") && karras_max > 0.0 {
        draft.setting("Schedule type", if steps < karras_max { "Karras" } else { "Uniform" });
    }
}

fn seamless(draft: &mut Draft, axes: [bool; 2]) {
    match axes {
        [true, true] => draft.setting("Tiling", "True"),
        [true, false] => draft.setting("Tiling", "x"),
        [false, true] => draft.setting("Tiling", "y"),
        [false, false] => {}
    }
}

/// The name of a model, which it called otherwise in each version.
fn name_of(model: &Map<String, Value>) -> Option<&str> {
    ["name", "model_name"].into_iter().find_map(|name| members::string(model, name)).filter(|name| !name.is_empty())
}
