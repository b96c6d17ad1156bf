//! ComfyUI's settings: the graph of nodes that made the picture, JSON under `prompt`. From the node that saves it the links
//! are followed back to the sampler, and from there to its prompts, its model and its latents.

mod graph;
mod walk;

use calotype_diffusion::{Rng, SeedPer};
use calotype_text::{Emphasis, PromptStyle, extra_networks_of};
use serde_json::{Map, Value};

use super::{BatchMetadata, Program, draft::Draft, grammar, members, reader::Picture};
use crate::{
    Error, Result,
    request::{Hires, Upscaler},
};
use graph::{Graph, Node};

/// How its latents are enlarged, and how they are here.
const METHODS: [(&str, &str, Upscaler); 5] = [
    ("nearest-exact", "", Upscaler::LatentNearestExact),
    ("bilinear", "", Upscaler::Latent),
    ("bicubic", "", Upscaler::LatentBicubic),
    ("area", "bilinear", Upscaler::Latent),
    ("bislerp", "bilinear", Upscaler::Latent),
];

pub(super) fn read(picture: &Picture) -> Option<Result<Draft>> {
    // In WebP files the graph is in EXIF's names of a camera and its maker.
    let places = ["prompt", "Model", "Make", "ImageDescription", "UserComment"];
    match picture.json(&places, |root| !root.is_empty() && root.values().all(|node| node.get("class_type").is_some())) {
        Some(nodes) => Some(of_graph(&nodes, picture)),
        None => picture.json(&["workflow", "Make", "ImageDescription"], |root| root.contains_key("nodes")).map(|_| {
            let problem = "there is ComfyUI's workflow, but not its graph (prompt), by which settings are found";
            Err(Error::NoSettings(problem.to_owned()))
        }),
    }
}

fn of_graph(nodes: &Map<String, Value>, picture: &Picture) -> Result<Draft> {
    let graph = Graph::new(nodes);
    let mut draft = Draft::new(Program::ComfyUi);
    draft.metadata.request.rng = Rng::Cpu;
    let Some(found) = graph.sampler(&mut draft) else {
        return Err(Error::NoSettings(
            "there is no sampler in ComfyUI's graph, by which settings are found".to_owned(),
        ));
    };
    // A second pass begins with the first one's latents, enlarged.
    let latents = graph.latents(found, &mut draft);
    let first = match &latents.enlarged {
        Some(enlarged) => enlarged.first,
        None => found,
    };
    let size = if latents.enlarged.is_some() { graph.latents(first, &mut draft).size } else { latents.size };
    let prompts = ["positive", "negative"].map(|kind| graph.prompt(first, kind, &mut draft));
    let [Some(positive), Some(negative)] = prompts else {
        return Err(Error::NoSettings("the prompt is not found in ComfyUI's graph".to_owned()));
    };
    self::prompts(&mut draft, &positive, &negative);
    graph.settings(first, &mut draft);
    graph.model(first, &mut draft);
    if let Some(size) = size {
        draft.setting("Size", &size.map(|side| side.to_string()).join("x"));
        if let Some(enlarged) = latents.enlarged {
            hires(&mut draft, &graph, found, &enlarged, size);
        }
    }
    if latents.batch > 1 {
        draft.metadata.batch =
            Some(BatchMetadata { seed_per: SeedPer::Batch, size: latents.batch, ..BatchMetadata::default() });
        draft.note(format!("it is one of {} made at once, and which is not said: the first is taken", latents.batch));
    }
    Ok(draft.complete(picture))
}

/// A second pass whose latents were enlarged.
fn hires(draft: &mut Draft, graph: &Graph<'_>, second: Node<'_>, enlarged: &walk::Enlarged<'_>, first: [usize; 2]) {
    let number = |name: &str| graph.value(second, name).and_then(|value| value.as_f64());
    let [width, height] = enlarged.size(first);
    let method = METHODS.iter().find(|(method, ..)| *method == enlarged.method);
    let (_, instead, upscaler) = method.copied().unwrap_or(("", "bilinear", Upscaler::Latent));
    if !instead.is_empty() {
        draft.note(format!("latents are enlarged by {instead}, not by {}", enlarged.method));
    }
    let same = |names: &[&str]| {
        let value = |node| names.iter().find_map(|name| graph.value(node, name));
        value(second) == value(enlarged.first)
    };
    for names in [&["sampler_name"][..], &["scheduler"], &["cfg"], &["seed", "noise_seed"]] {
        if !same(names) {
            draft.note(format!("the second pass has another {}, which is not taken", names[0]));
        }
    }
    draft.metadata.request.hires = Some(Hires {
        width,
        height,
        num_inference_steps: number("steps").map(|steps| steps as usize),
        strength: number("denoise").unwrap_or(1.0),
        upscaler,
        network: None,
    });
}

/// The prompts of a program that encodes them as ComfyUI does.
pub(super) fn prompts(draft: &mut Draft, positive: &str, negative: &str) {
    let mut weighs = false;
    let mut text = |prompt: &str| {
        let (prompt, tags) = extra_networks_of(prompt, |kind| matches!(kind, "lora" | "lyco" | "hypernet"));
        for tag in tags {
            draft.notes.push(format!("{tag} in the prompt is left out: it has no effect there"));
        }
        weighs |= prompt.contains('(');
        grammar::without_square_brackets(&prompt)
    };
    let [positive, negative] = [positive, negative].map(&mut text);
    let request = &mut draft.metadata.request;
    (request.prompt, request.negative_prompt) = (positive, negative);
    (request.prompt_style, request.emphasis) = (PromptStyle::A1111, Emphasis::NoNorm);
    if weighs {
        draft.note(format!("{} weighs the words of a prompt in another way: no-norm is taken", draft.program));
    }
}

/// A sampler and its scheduler by ComfyUI's names.
pub(super) fn sampler(draft: &mut Draft, name: &str, scheduler: &str) {
    let sampler = match name {
        "" => return,
        // Its steps are Euler's, which are the same over sigmas.
        "ddim" => "euler",
        "uni_pc_bh2" => {
            draft.setting("UniPC variant", "bh2");
            "uni_pc"
        }
        other => other,
    };
    draft.setting_as("sampler", "Sampler", sampler);
    if !scheduler.is_empty() {
        draft.setting_as("scheduler", "Schedule type", scheduler);
    }
}

/// A number as A1111's text has it.
fn number(value: &Value) -> String {
    members::text(value).unwrap_or_else(|| "0".to_owned())
}
