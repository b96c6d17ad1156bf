//! The second pass of txt2img.

use calotype::{
    Request,
    request::{Hires, Upscaler},
    sampling::SamplerKind,
};

use super::{fields::Fields, request::STRENGTH};
use crate::{
    app::App,
    problem::{Problem, Result},
};

/// A second, larger pass.
pub(super) fn fill(
    app: &App,
    fields: &Fields<'_>,
    request: &mut Request,
    model: &str,
    vae: Option<&str>,
) -> Result<()> {
    if fields.get("enable_hr").is_some() {
        request.hires = None;
    }
    if !fields.flag("enable_hr")? {
        return Ok(());
    }
    refuse_another_second_pass(fields, request)?;
    let [first_width, first_height] = ["firstphase_width", "firstphase_height"].map(|name| fields.count(name));
    let mut target = [fields.count("hr_resize_x")?.unwrap_or(0), fields.count("hr_resize_y")?.unwrap_or(0)];
    let model = app.engine.model(model, vae)?;
    let (default_width, default_height) = model.default_size();
    let whole = [request.width.unwrap_or(default_width), request.height.unwrap_or(default_height)];
    let mut first = whole;
    // Clients of old times give the size of the first pass beside that of the image.
    if let (Some(width @ 1..), Some(height @ 1..)) = (first_width?, first_height?) {
        (first, target) = ([width, height], whole);
        (request.width, request.height) = (Some(width), Some(height));
    }
    if target == [0, 0] {
        let scale = fields.float("hr_scale")?.unwrap_or(2.0);
        if !(1.0..=16.0).contains(&scale) {
            return Err(Problem::invalid("hr_scale", format!("hr_scale {scale} is out of range: give 1 to 16")));
        }
        let multiple = model.size_multiple().max(1);
        target = first.map(|side| (side as f64 * scale) as usize / multiple * multiple);
    }
    let upscaler = match fields.word("hr_upscaler")? {
        None => Upscaler::default(),
        Some(name) => upscaler(&name).ok_or_else(|| unknown_upscaler("hr_upscaler", &name))?,
    };
    request.hires = Some(Hires {
        width: target[0],
        height: target[1],
        num_inference_steps: fields.count("hr_second_pass_steps")?.filter(|steps| *steps > 0),
        strength: fields.float("denoising_strength")?.unwrap_or(STRENGTH),
        upscaler,
        network: None,
    });
    Ok(())
}

/// The second pass has the model, the sampler and the prompts of the first.
fn refuse_another_second_pass(fields: &Fields<'_>, request: &Request) -> Result<()> {
    let other = |name: &str| Ok::<_, Problem>(fields.word(name)?.filter(|value| !value.starts_with("Use same ")));
    let refused = |name: &str, what: &str| {
        Err(Problem::invalid(name, format!("{name}: the second pass has the {what} of the first here: leave it out")))
    };
    if other("hr_checkpoint_name")?.is_some() {
        return refused("hr_checkpoint_name", "model");
    }
    let sampler = |name: String| SamplerKind::parse_with_schedule(&name).map(|(sampler, _)| sampler).ok();
    if other("hr_sampler_name")?.is_some_and(|name| sampler(name) != Some(request.sampler)) {
        return refused("hr_sampler_name", "sampler");
    }
    if other("hr_scheduler")?.is_some_and(|name| name.parse().ok() != Some(request.schedule)) {
        return refused("hr_scheduler", "schedule");
    }
    for (name, first) in [("hr_prompt", &request.prompt), ("hr_negative_prompt", &request.negative_prompt)] {
        if fields.word(name)?.is_some_and(|second| second != *first) {
            return refused(name, "prompts");
        }
    }
    Ok(())
}

/// A way to enlarge by A1111's name of it.
pub(super) fn upscaler(name: &str) -> Option<Upscaler> {
    Upscaler::LABELS.iter().find(|(_, label)| label.eq_ignore_ascii_case(name)).map(|(upscaler, _)| *upscaler)
}

pub(super) fn unknown_upscaler(param: &str, name: &str) -> Problem {
    let known = Upscaler::LABELS.map(|(_, label)| label).join(", ");
    let name: String = name.chars().take(100).collect();
    Problem::invalid(param, format!("could not find upscaler named {name}: use one of {known}"))
}
