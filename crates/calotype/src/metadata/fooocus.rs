//! Fooocus' settings: JSON, its scheme `fooocus`, in `parameters` or EXIF's comment; its scheme `a1111` is A1111's text with some
//! settings of its own. (Its `modules/meta_parser.py`.)

use calotype_diffusion::Rng;
use serde_json::{Map, Value};

use super::{Program, comfyui, draft::Draft, members, reader::Picture};
use crate::Result;

const TABLE: &[(&str, &str)] = &[
    ("steps", "Steps"),
    ("guidance_scale", "CFG scale"),
    ("cfg", "CFG scale"),
    ("seed", "Seed"),
    ("base_model", "Model"),
    ("base_model_hash", "Model hash"),
    ("clip_skip", "Clip skip"),
    ("version", "Version"),
    ("software", "Version"),
];

/// Read elsewhere, or without effect on the picture.
const SILENT: &[&str] = &[
    "prompt",
    "negative_prompt",
    "full_prompt",
    "full_negative_prompt",
    "prompt_expansion",
    "resolution",
    "width",
    "height",
    "sampler",
    "scheduler",
    "loras",
    "metadata_scheme",
    "created_by",
];

/// What tells its JSON from that of others.
const OWN: [&str; 4] = ["performance", "sharpness", "adm_guidance", "resolution"];

pub(super) fn read(picture: &Picture) -> Option<Result<Draft>> {
    let has = |root: &Map<String, Value>, name: &str| root.keys().any(|key| members::is_same(key, name));
    let root = picture.json(&["parameters", "UserComment", "Comment"], |root| {
        has(root, "prompt") && has(root, "base_model") && OWN.into_iter().any(|name| has(root, name))
    })?;
    let mut draft = Draft::new(Program::Fooocus);
    let string = |name: &str| members::string(&root, name).unwrap_or_default().to_owned();
    // Styles are in the full prompts, whose parts are encoded one by one.
    let prompt = |full: &str, own: &str| match root.get(full).map(members::list).filter(|full| !full.is_empty()) {
        Some(parts) => parts.join("\nBREAK\n"),
        None => string(own),
    };
    comfyui::prompts(&mut draft, &prompt("full_prompt", "prompt"), &prompt("full_negative_prompt", "negative_prompt"));
    draft.metadata.request.rng = Rng::Cpu;
    let is_lora = |name: &str| name.to_ascii_lowercase().starts_with("lora");
    let others: Map<_, _> =
        root.iter().filter(|(name, _)| !is_lora(name)).map(|(k, v)| (k.clone(), v.clone())).collect();
    draft.members(&others, TABLE, SILENT);
    match root.iter().find(|(name, _)| members::is_same(name, "resolution")).and_then(|(_, value)| members::text(value))
    {
        Some(resolution) => draft.setting("Size", &members::size(&resolution).unwrap_or(resolution)),
        None => draft.size_of(&root, "width", "height"),
    }
    comfyui::sampler(&mut draft, &string("sampler"), &string("scheduler"));
    loras(&mut draft, &root);
    Some(Ok(draft.complete(picture)))
}

/// `"loras": [["name", 0.5, "hash"]]`; before, `"lora_combined_1": "name : 0.5"`, or with whether it is on before the name.
fn loras(draft: &mut Draft, root: &Map<String, Value>) {
    let listed = root.get("loras").and_then(Value::as_array);
    for lora in listed.into_iter().flatten().filter_map(Value::as_array) {
        if let (Some(name), Some(weight)) = (lora.first().and_then(Value::as_str), lora.get(1).and_then(Value::as_f64))
        {
            draft.lora(name, weight as f32, weight as f32);
        }
    }
    if listed.is_some() {
        return;
    }
    for (name, value) in root.iter().filter(|(name, _)| name.to_ascii_lowercase().starts_with("lora")) {
        let parts: Vec<&str> = value.as_str().unwrap_or_default().split(" : ").collect();
        match *parts.as_slice() {
            [file, weight] | ["True", file, weight] if file != "None" => match weight.parse() {
                Ok(weight) => draft.lora(file, weight, weight),
                Err(_) => draft.unread(name, weight),
            },
            ["None", _] | ["False", ..] => {}
            _ => draft.unread(name, &members::text(value).unwrap_or_default()),
        }
    }
}

/// What its A1111 text has of its own.
pub(super) fn adapt(draft: &mut Draft) {
    if draft.value("RNG").is_none() {
        draft.metadata.request.rng = Rng::Cpu;
    }
    for lora in draft.take("Lora weights").unwrap_or_default().split(", ") {
        if let Some((name, Ok(weight))) = lora.rsplit_once(": ").map(|(name, weight)| (name, weight.parse())) {
            draft.lora(name, weight, weight);
        }
    }
}
