//! NovelAI's settings: the texts `Description`, `Software`, `Source` and `Comment`, the last of which is JSON; in PNG, in the
//! comment of EXIF as members of JSON, or hidden in the pixels' last bits as such.

use calotype_diffusion::Rng;
use serde_json::{Map, Value};

use super::{Program, draft::Draft, grammar, members, reader::Picture};
use crate::Result;

const TABLE: &[(&str, &str)] = &[("seed", "Seed"), ("steps", "Steps"), ("scale", "CFG scale")];

/// Read elsewhere, or without effect on the picture, or of no effect unless others have one.
const SILENT: &[&str] = &[
    "prompt",
    "uc",
    "width",
    "height",
    "sampler",
    "noise_schedule",
    "v4_prompt",
    "v4_negative_prompt",
    "n_samples",
    "request_type",
    "signed_hash",
    "hide_debug_overlay",
    "version",
    "params_version",
    "legacy",
    "legacy_v3_extend",
    "controlnet_strength",
    "dynamic_thresholding_percentile",
    "dynamic_thresholding_mimic_scale",
    "qualityToggle",
    "ucPreset",
    "add_original_image",
    "uncond_per_vibe",
    "wonky_vibe_correlation",
    "use_coords",
    "use_order",
];
/// Of no effect with these values.
const NEUTRAL: [(&str, f64); 6] = [
    ("uncond_scale", 1.0),
    ("cfg_rescale", 0.0),
    ("skip_cfg_below_sigma", 0.0),
    ("skip_cfg_above_sigma", 0.0),
    ("cfg_sched_eligibility", 0.0),
    ("explike_fine_detail", 0.0),
];
/// What the source of a picture of its first models begins with, which are of Stable Diffusion 1.
const FIRST: &str = "Stable Diffusion ";
/// Its first models take the text encoder's last output but one, and the noise of steps from another seed.
const CLIP_SKIP: usize = 2;
const SEED_DELTA: i64 = 31337;

pub(super) fn read(picture: &Picture) -> Option<Result<Draft>> {
    let in_comment = || picture.json(&["UserComment", "ImageDescription"], |root| root.contains_key("Comment"));
    let texts = Some(picture.all()).filter(|texts| texts.contains_key("Comment") && is_own(texts));
    let texts = texts.or_else(in_comment)?;
    let text = |name: &str| members::string(&texts, name).unwrap_or_default();
    let comment: Map<String, Value> = calotype_files::json::from_str(text("Comment")).ok()?;
    let mut draft = Draft::new(Program::NovelAi);
    let prompt = members::string(&comment, "prompt").unwrap_or_else(|| text("Description"));
    let negative = members::string(&comment, "uc").unwrap_or_default();
    let request = &mut draft.metadata.request;
    (request.prompt, request.negative_prompt) = (grammar::novelai(prompt), grammar::novelai(negative));
    request.rng = Rng::Cuda;
    let source = text("Source");
    if source.starts_with(FIRST) && !source.contains("XL") {
        (request.clip_skip, request.eta_noise_seed_delta) = (CLIP_SKIP, SEED_DELTA);
        draft.note("clip skip 2 and ENSD 31337 are taken, as NovelAI's first models have them");
    }
    let is_neutral = |name: &str, value: &Value| {
        let neutral = NEUTRAL.iter().find(|(known, _)| *known == name);
        neutral.is_some_and(|(_, neutral)| value.as_f64() == Some(*neutral))
    };
    let all = comment.iter().filter(|(name, value)| !is_neutral(name, value));
    let all: Map<_, _> = all.map(|(name, value)| (name.clone(), value.clone())).collect();
    draft.members(&all, TABLE, SILENT);
    draft.size_of(&comment, "width", "height");
    if !source.is_empty() {
        draft.setting("Model", source);
    }
    sampler(&mut draft, &comment);
    let characters = comment.get("v4_prompt").and_then(|prompt| prompt.pointer("/caption/char_captions"));
    if characters.and_then(Value::as_array).is_some_and(|characters| !characters.is_empty()) {
        draft.note("the prompts of single characters are not read");
    }
    Some(Ok(draft.complete(picture)))
}

/// Whether texts are its own: another program may have a comment too.
fn is_own(texts: &Map<String, Value>) -> bool {
    let says = |name: &str, what: &str| members::string(texts, name).is_some_and(|text| text.contains(what));
    says("Software", "NovelAI") || says("Title", "NovelAI") || says("Source", "NovelAI")
}

/// `k_dpmpp_2m` with `native`, evenly spaced, or one of the known schedules.
fn sampler(draft: &mut Draft, comment: &Map<String, Value>) {
    let Some(name) = members::string(comment, "sampler") else { return };
    // Version 3 has a DDIM of its own.
    draft.setting_as("sampler", "Sampler", if name == "ddim_v3" { "ddim" } else { name });
    match members::string(comment, "noise_schedule") {
        None | Some("native") if name.starts_with("k_") => draft.setting("Schedule type", "Uniform"),
        None | Some("native") => {}
        Some(schedule) => draft.setting_as("noise_schedule", "Schedule type", schedule),
    }
}
