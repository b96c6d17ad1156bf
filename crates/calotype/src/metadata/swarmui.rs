//! SwarmUI's settings: JSON with the member `sui_image_params` (its "Image Metadata Format").

use calotype_diffusion::Rng;
use serde_json::Value;

use super::{Program, comfyui, draft::Draft, members, reader::Picture};
use crate::{Error, Result};

const PARAMS: &str = "sui_image_params";

const TABLE: &[(&str, &str)] = &[
    ("seed", "Seed"),
    ("steps", "Steps"),
    ("cfgscale", "CFG scale"),
    ("model", "Model"),
    ("variationseed", "Variation seed"),
    ("variationseedstrength", "Variation seed strength"),
    ("seamlesstileable", "Tiling"),
    ("swarm_version", "Version"),
];

/// Read elsewhere, or without effect on the picture.
const SILENT: &[&str] = &[
    "prompt",
    "negativeprompt",
    "width",
    "height",
    "sampler",
    "comfyuisampler",
    "scheduler",
    "comfyuischeduler",
    "clipstopatlayer",
    "loras",
    "loraweights",
    "aspectratio",
    "sidelength",
    "images",
    "batchsize",
    "nopreviews",
    "wildcardseed",
    "wildcardseedbehavior",
    "imageformat",
    "automaticvae",
    "personalnote",
    "original_prompt",
    "original_negativeprompt",
    "used_wildcards",
    "date",
    "generation_time",
    "donotsave",
    "internalbackendtype",
    "exactbackendid",
];

pub(super) fn read(picture: &Picture) -> Option<Result<Draft>> {
    // The first versions wrote into EXIF's name of a camera.
    let root = picture.json(&["parameters", "UserComment", "Model"], |root| root.contains_key(PARAMS))?;
    let Some(params) = root.get(PARAMS).and_then(Value::as_object) else {
        return Some(Err(Error::NoSettings(format!("SwarmUI's {PARAMS} is no object"))));
    };
    let mut draft = Draft::new(Program::SwarmUi);
    let string = |name: &str| members::string(params, name).unwrap_or_default();
    // What the prompt calls for may be listed too.
    let (prompt, tags) = calotype_text::extra_networks_of(string("prompt"), |kind| kind == "lora");
    comfyui::prompts(&mut draft, &prompt, string("negativeprompt"));
    draft.metadata.request.rng = Rng::Cpu;
    draft.members(params, TABLE, SILENT);
    draft.size_of(params, "width", "height");
    let given = |names: [&'static str; 2], default: &'static str| {
        names.into_iter().find_map(|name| members::string(params, name)).unwrap_or(default).to_owned()
    };
    let sampler = given(["sampler", "comfyuisampler"], "euler");
    comfyui::sampler(&mut draft, &sampler, &given(["scheduler", "comfyuischeduler"], "normal"));
    if let Some(layer) = members::number(params, "clipstopatlayer").filter(|layer| *layer < 0.0) {
        draft.setting("Clip skip", &(-layer).to_string());
    }
    let list = |name: &str| params.get(name).map(members::list).unwrap_or_default();
    let weights = list("loraweights");
    for (at, name) in list("loras").iter().enumerate() {
        let weight = weights.get(at).and_then(|weight| weight.parse().ok()).unwrap_or(1.0);
        draft.lora(name, weight, weight);
    }
    for tag in tags.iter().filter(|_| !params.contains_key("loras")) {
        let mut args = tag.positional();
        let (name, weight) = (args.next().unwrap_or_default(), args.next().and_then(|weight| weight.parse().ok()));
        draft.lora(name, weight.unwrap_or(1.0), weight.unwrap_or(1.0));
    }
    Some(Ok(draft.complete(picture)))
}
