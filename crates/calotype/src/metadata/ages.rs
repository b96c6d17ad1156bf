//! What A1111's text meant in the version that wrote it, where that is not what it means now (its `infotext_versions.py`), and
//! what only old versions say.

use calotype_diffusion::ScheduleKind;

use super::{
    Program,
    draft::{Draft, has_plain_schedule},
};
use crate::request::Upscaler;

/// What A1111's first hires fix made its first pass as large as, if no size was given for it.
const FIRST_PASS: f64 = 512.0;

/// Adapts what was read to the version that wrote it.
pub(super) fn adapt(draft: &mut Draft) {
    first_pass(draft);
    schedule(draft);
    let request = &mut draft.metadata.request;
    // Before 1.6 `when` was a fraction only below 1. A version that is not said is a new one here.
    request.old_prompt_editing |= request.prompt.contains('[') && is_before(&draft.metadata.version, 6);
    // Before its prompts could call for one.
    if let Some(name) = draft.take("Hypernet").filter(|name| !name.is_empty() && name != "None") {
        let strength = draft.take("Hypernet strength").unwrap_or_else(|| "1.0".to_owned());
        draft.metadata.request.prompt.push_str(&format!("<hypernet:{name}:{strength}>"));
    }
    if draft.metadata.model_hash.is_empty() {
        draft.metadata.model_hash = draft.value("Hashes").and_then(model_of).unwrap_or_default();
    }
}

/// A1111's own schedule of a sampler is `automatic` here: what `dpmpp_2m` has as `karras` here is diffusers'. Before 1.9 a
/// sampler without a schedule in its name had the plain one.
fn schedule(draft: &mut Draft) {
    // What imitates A1111 has the plain one too.
    let is_a1111 = matches!(draft.program, Program::A1111 | Program::Forge);
    let is_old = !is_a1111 || numbers(&draft.metadata.version).is_none_or(|numbers| numbers < (1, 9));
    let request = &mut draft.metadata.request;
    let own = request.sampler.info().own_schedule;
    request.schedule = match request.schedule {
        // SD.Next runs diffusers' schedulers.
        ScheduleKind::Default if draft.program == Program::SdNext => ScheduleKind::Default,
        ScheduleKind::Default if is_old && !has_plain_schedule(request.sampler) => ScheduleKind::Uniform,
        ScheduleKind::Default => ScheduleKind::Automatic,
        schedule if schedule == own => ScheduleKind::Automatic,
        schedule => schedule,
    };
}

/// The hires fix of 2022: the size is that of the second pass, and the first has one of its own (its `init` of
/// `StableDiffusionProcessingTxt2Img`).
fn first_pass(draft: &mut Draft) {
    let Some(first) = draft.value("First pass size").and_then(|size| {
        let (width, height) = size.split_once('x')?;
        Some([width.trim().parse::<usize>().ok()?, height.trim().parse::<usize>().ok()?])
    }) else {
        return;
    };
    let request = &draft.metadata.request;
    let (Some(width), Some(height)) = (request.width, request.height) else { return };
    let scale = FIRST_PASS / ((width as f64) * (height as f64)).sqrt();
    let of_512 = |side: usize| (side as f64 * scale / 64.0).ceil() as usize * 64;
    let [first_width, first_height] = if first.contains(&0) { [of_512(width), of_512(height)] } else { first };
    draft.take("First pass size");
    let request = &mut draft.metadata.request;
    (request.width, request.height) = (Some(first_width), Some(first_height));
    let hires = draft.hires();
    (hires.width, hires.height, hires.upscaler) = (width, height, Upscaler::Lanczos);
    draft.read();
}

/// The model's hash in the value of `Hashes`.
fn model_of(hashes: &str) -> Option<String> {
    let hashes: serde_json::Map<_, _> = serde_json::from_str(hashes).ok()?;
    Some(hashes.get("model")?.as_str()?.to_owned())
}

/// Whether a version is before A1111's 1.`minor`.
fn is_before(version: &str, minor: u32) -> bool {
    numbers(version).is_some_and(|numbers| numbers < (1, minor))
}

/// The first two numbers of A1111's version. Forge has it after its own: `f0.0.17v1.8.0rc`.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let of_a1111 = version.rsplit('v').find(|part| part.starts_with(|c: char| c.is_ascii_digit()))?;
    let mut parts = of_a1111.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor: String = parts.next()?.chars().take_while(char::is_ascii_digit).collect();
    Some((major, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_apart() {
        for (version, before_1_6, before_1_9) in [
            ("v1.5.2", true, true),
            ("1.5", true, true),
            ("v1.6.0-2-g4afaaf8a", false, true),
            ("v1.8.0-RC", false, true),
            ("v1.9.0", false, false),
            ("v1.10.1", false, false),
            ("1.10.1", false, false),
            ("f0.0.17v1.8.0rc-latest-276-g29be1da7", false, true),
            ("f2.0.1v1.10.1-previous-304", false, false),
            ("neo-2.24", false, false),
            ("8b73cb6", false, false),
            ("0b73cb6", false, false),
            ("v1.8rc", false, true),
            ("", false, false),
            ("v", false, false),
        ] {
            assert_eq!((is_before(version, 6), is_before(version, 9)), (before_1_6, before_1_9), "{version}");
        }
    }
}
