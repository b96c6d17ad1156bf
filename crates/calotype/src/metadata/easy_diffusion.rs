//! Easy Diffusion's settings: each a text of PNG by its own name, or JSON in EXIF's comment; the names are those of its request
//! or, where a text file is written too, those of its `TASK_TEXT_MAPPING` (`ui/easydiffusion/utils/save_utils.py`).

use serde_json::{Map, Value};

use super::{Program, draft::Draft, members, reader::Picture};
use crate::{Result, adapters::AdapterKind};

const TABLE: &[(&str, &str)] = &[
    ("seed", "Seed"),
    ("num_inference_steps", "Steps"),
    ("steps", "Steps"),
    ("guidance_scale", "CFG scale"),
    ("tiling", "Tiling"),
    ("seamless_tiling", "Tiling"),
    ("prompt_strength", "Denoising strength"),
];

const SILENT: &[&str] = &[
    "prompt",
    "negative_prompt",
    "sampler_name",
    "sampler",
    "width",
    "height",
    "use_stable_diffusion_model",
    "stable_diffusion_model",
    "clip_skip",
    "use_lora_model",
    "lora_model",
    "lora_alpha",
    "lora_strength",
    "use_hypernetwork_model",
    "hypernetwork_model",
    "hypernetwork_strength",
    "use_embeddings_model",
    "embedding_models",
];

/// How it calls the model, which no other program does.
const MODEL: [&str; 2] = ["use_stable_diffusion_model", "Stable Diffusion model"];

pub(super) fn read(picture: &Picture) -> Option<Result<Draft>> {
    let is_own = |members: &Map<String, Value>| MODEL.into_iter().any(|name| members.contains_key(name));
    let texts = || Some(picture.all()).filter(is_own);
    let members = texts().or_else(|| picture.json(&["UserComment"], is_own))?;
    let mut draft = Draft::new(Program::EasyDiffusion);
    let string =
        |names: [&str; 2]| names.into_iter().find_map(|name| members::string(&members, name)).unwrap_or_default();
    let request = &mut draft.metadata.request;
    request.prompt = string(["prompt"; 2]).to_owned();
    request.negative_prompt = string(["negative_prompt"; 2]).to_owned();
    draft.members(&members, TABLE, SILENT);
    draft.size_of(&members, "width", "height");
    let model = string(MODEL);
    if !model.is_empty() {
        draft.setting("Model", model.rsplit(['/', '\\']).next().unwrap_or(model));
    }
    sampler(&mut draft, string(["sampler_name", "sampler"]));
    // It knows only the last layer and the one before.
    let skips = members.iter().find(|(name, _)| members::is_same(name, "clip_skip"));
    match skips.and_then(|(_, value)| members::text(value)).as_deref() {
        Some("True") => draft.setting("Clip skip", "2"),
        Some(other) => draft.setting("Clip skip", other),
        None => {}
    }
    let list = |names: [&str; 2]| {
        let is = |key: &str| names.into_iter().any(|name| members::is_same(key, name));
        members.iter().find(|(key, _)| is(key)).map(|(_, value)| members::list(value)).unwrap_or_default()
    };
    let weights = list(["lora_alpha", "lora_strength"]);
    for (at, name) in list(["use_lora_model", "lora_model"]).iter().enumerate() {
        let weight = weights.get(at).and_then(|weight| weight.parse().ok()).unwrap_or(1.0);
        draft.lora(name, weight, weight);
    }
    if let [name] = list(["use_hypernetwork_model", "hypernetwork_model"]).as_slice() {
        let strength = members::number(&members, "hypernetwork_strength").unwrap_or(1.0) as f32;
        draft.adapter(AdapterKind::Hypernet, name, None, strength);
    }
    Some(Ok(draft.complete(picture)))
}

/// It has UniPC by how its timesteps lie and its order: `unipc_snr`, `unipc_tu`, `unipc_tq`, `unipc_snr_2`, `unipc_tu_2`.
fn sampler(draft: &mut Draft, name: &str) {
    let Some(kind) = name.strip_prefix("unipc_") else {
        if !name.is_empty() {
            draft.setting("Sampler", name);
        }
        return;
    };
    let (kind, order) = kind.strip_suffix("_2").map_or((kind, "3"), |kind| (kind, "2"));
    let skip_type = match kind {
        "snr" => "logSNR",
        "tq" => "time_quadratic",
        _ => "time_uniform",
    };
    draft.setting("Sampler", "UniPC");
    draft.setting("UniPC skip type", skip_type);
    draft.setting("UniPC order", order);
}
