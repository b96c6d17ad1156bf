//! From a body of txt2img or img2img to an order.

use axum::http::StatusCode;
use calotype::{
    Request,
    checkpoint::ListedKind,
    metadata::{Metadata, Reading},
    request::{FileRef, Fill, Hires, Init, Inpaint, InputImage, PromptStyle, ResizeMode, Tiling, Upscaler},
    sampling::{SamplerKind, ScheduleKind},
};
use calotype_engine::{Asked, Engine, Order, random_seed};
use serde_json::{Map, Value};

use super::{
    fields::{Fields, Warnings},
    scripts,
    settings::Settings,
};
use crate::{
    app::App,
    config::Style,
    job_body::{decode_base64, put},
    problem::{Problem, Result},
};

/// A1111's own, where nothing is said.
const STEPS: usize = 50;
const CFG_SCALE: f32 = 7.0;
const STRENGTH: f64 = 0.75;
const MASK_BLUR: i64 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Txt2Img,
    Img2Img,
}

/// What was made of a body.
pub(super) struct Parsed {
    pub(super) order: Order,
    /// The names of styles that were put into the prompts.
    pub(super) styles: Vec<String>,
    pub(super) warnings: Warnings,
    /// Options as they are from now on, if they stay.
    pub(super) settings: Option<Settings>,
}

pub(super) fn parse(app: &App, key: &str, kind: Kind, body: &Map<String, Value>, asked: Asked) -> Result<Parsed> {
    let (fields, warnings) = (Fields::new(body), Warnings::default());
    scripts::check(&fields, &warnings)?;
    refuse_what_is_not_here(&fields, &warnings)?;
    let mut settings = app.a1111.settings(key);
    let overrides = fields.object("override_settings")?.filter(|overrides| !overrides.is_empty());
    if let Some(overrides) = overrides {
        settings.set(app, overrides, &warnings)?;
    }
    let reading = fields.word("infotext")?.map(|text| Metadata::from_parameters(&text));
    let mut request = base(&settings, reading.as_ref(), overrides.is_some())?;
    let chosen = settings.model(app).ok_or_else(|| Problem::not_found("model"))?;
    let mut model = chosen.id;
    if let Some(Reading { metadata, unread, notes, .. }) = &reading {
        let is_overridden = overrides.is_some_and(|overrides| overrides.contains_key(super::settings::CHECKPOINT));
        if !is_overridden && !metadata.model.is_empty() {
            match app.engine.catalogue().find(ListedKind::Model, &metadata.model) {
                Ok(entry) => model = entry.id,
                Err(error) => warnings.add(format!("the infotext's model is not here: {error}")),
            }
        }
        unread.iter().for_each(|(name, value)| warnings.add(format!("the infotext's {name} is not taken: {value}")));
        notes.iter().for_each(|note| warnings.add(note.clone()));
        request.init = None;
        if kind == Kind::Img2Img {
            request.hires = None;
        }
    }
    let vae = settings.vae();
    prompts(&fields, &mut request)?;
    let styles = styles(&fields, &app.config.styles, &mut request, &warnings)?;
    if fields.flag("disable_extra_networks")? {
        request.prompt = without_tags(&request.prompt);
    }
    sampler(&fields, &mut request, reading.is_none(), &warnings)?;
    if reading.is_none() || fields.get("eta").is_some() {
        settings.apply_to_sampler(&mut request, &fields)?;
    }
    numbers(&fields, &mut request)?;
    match kind {
        Kind::Txt2Img => hires(app, &fields, &mut request, &model, vae.as_deref())?,
        Kind::Img2Img => init(&app.engine, &fields, &settings, &mut request, &warnings)?,
    }
    let output = settings.output()?;
    let order = Order { request, model, vae, output, asked, webhook: None };
    let stays = fields.get("override_settings_restore_afterwards") == Some(&Value::Bool(false));
    let settings = (stays && overrides.is_some()).then_some(settings);
    Ok(Parsed { order, styles, warnings, settings })
}

/// What would make another image than was asked for is refused, and other things are named.
fn refuse_what_is_not_here(fields: &Fields<'_>, warnings: &Warnings) -> Result<()> {
    let refused = |name: &str, what: &str| Err(Problem::invalid(name, format!("{name}: {what}")));
    if fields.word("refiner_checkpoint")?.is_some_and(|name| !name.eq_ignore_ascii_case("none")) {
        return refused("refiner_checkpoint", "this server has no refiner: leave it out");
    }
    for name in ["firstpass_image", "latent_mask"] {
        if fields.word(name)?.is_some() {
            return refused(name, "this server does not take one: leave it out");
        }
    }
    if fields.flag("restore_faces")? {
        warnings.add("restore_faces: there is no face restoration here");
    }
    let (first, second) = (fields.float("cfg_scale")?.unwrap_or(CFG_SCALE.into()), fields.float("hr_cfg")?);
    if fields.flag("enable_hr")? && second.is_some_and(|second| second != first) {
        warnings.add("hr_cfg: the second pass has the cfg_scale of the first here");
    }
    if fields.float("s_min_uncond")?.is_some_and(|s| s > 0.0) {
        warnings.add("s_min_uncond: the unconditional prediction is made in every step here");
    }
    if fields.get("mask_round").is_some() && !fields.flag("mask_round")? {
        warnings.add("mask_round: the mask of latents is rounded here");
    }
    Ok(())
}

/// A1111's defaults and the key's options; of an infotext, what it says.
fn base(settings: &Settings, reading: Option<&Reading>, are_overridden: bool) -> Result<Request> {
    let mut request = match reading {
        Some(reading) => reading.metadata.request.clone(),
        None => Request {
            num_inference_steps: STEPS,
            guidance_scale: CFG_SCALE,
            sampler: SamplerKind::Euler,
            schedule: ScheduleKind::Automatic,
            seed: random_seed()?,
            ..Request::default()
        },
    };
    request.prompt_style = PromptStyle::A1111;
    if reading.is_none() || are_overridden {
        settings.apply(&mut request)?;
    }
    Ok(request)
}

fn prompts(fields: &Fields<'_>, request: &mut Request) -> Result<()> {
    for (name, text) in [("prompt", &mut request.prompt), ("negative_prompt", &mut request.negative_prompt)] {
        // An empty one is as if it were left out where an infotext has one.
        if let Some(given) = fields.text(name)?.filter(|given| !given.is_empty()) {
            *text = given;
        }
    }
    Ok(())
}

/// Puts the words of styles around the prompts, and gives the names of those that there are.
fn styles(fields: &Fields<'_>, known: &[Style], request: &mut Request, warnings: &Warnings) -> Result<Vec<String>> {
    let mut used = Vec::new();
    for name in fields.texts("styles")? {
        let Some(style) = known.iter().find(|style| style.name == name) else {
            if !name.is_empty() && name != "None" {
                warnings.add(format!("there is no style {name:?}"));
            }
            continue;
        };
        request.prompt = styled(&request.prompt, &style.prompt);
        request.negative_prompt = styled(&request.negative_prompt, &style.negative_prompt);
        used.push(name);
    }
    Ok(used)
}

/// `{prompt}` is where the prompt goes; without it the words come after it (A1111's `merge_prompts`).
fn styled(prompt: &str, style: &str) -> String {
    if style.contains("{prompt}") {
        return style.replace("{prompt}", prompt);
    }
    let parts: Vec<&str> = [prompt.trim(), style.trim()].into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}

/// A prompt without `<lora:name:1>` and the like.
fn without_tags(prompt: &str) -> String {
    let (mut text, mut rest) = (String::with_capacity(prompt.len()), prompt);
    while let Some(start) = rest.find('<') {
        let is_tag = |tag: &str| {
            let name = tag.split_once(':').map_or("", |(name, _)| name);
            !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
        };
        let end = rest[start..].find('>').map(|length| start + length);
        let kept = match end.filter(|&end| is_tag(&rest[start + 1..end])) {
            Some(end) => {
                text.push_str(&rest[..start]);
                end + 1
            }
            None => {
                text.push_str(&rest[..=start]);
                start + 1
            }
        };
        rest = &rest[kept..];
    }
    text + rest
}

/// The sampler and its schedule: `sampler_name` comes before `sampler_index`, and a schedule of its own before one in the name.
fn sampler(fields: &Fields<'_>, request: &mut Request, is_whole: bool, warnings: &Warnings) -> Result<()> {
    let name = fields.word("sampler_name")?.or(fields.word("sampler_index")?);
    if let Some(name) = name {
        let found = SamplerKind::parse_with_schedule(&name).map_err(|error| unknown_sampler(error.to_string()));
        let (sampler, schedule) = found?;
        request.sampler = sampler;
        request.schedule = schedule.unwrap_or(ScheduleKind::Automatic);
    } else if is_whole {
        request.schedule = ScheduleKind::Automatic;
    }
    if let Some(name) = fields.word("scheduler")? {
        let schedule = name.parse::<ScheduleKind>();
        request.schedule = schedule.map_err(|error| Problem::invalid("scheduler", error.to_string()))?;
    }
    if !request.sampler.has_schedule(ScheduleKind::Automatic) {
        return Err(unknown_sampler(format!("{} is none of A1111's samplers", request.sampler.label())));
    }
    if !request.sampler.has_schedule(request.schedule) {
        // As A1111 does.
        let (sampler, schedule) = (request.sampler.label(), request.schedule.label());
        warnings.add(format!("scheduler: {sampler} has a schedule of its own, and {schedule} is not used"));
        request.schedule = ScheduleKind::Automatic;
    }
    Ok(())
}

fn unknown_sampler(why: String) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown_sampler", "Sampler not found").param("sampler_name").hint(why)
}

fn numbers(fields: &Fields<'_>, request: &mut Request) -> Result<()> {
    if let Some(steps) = fields.count("steps")? {
        request.num_inference_steps = steps;
    }
    if let Some(scale) = fields.float("cfg_scale")? {
        request.guidance_scale = scale as f32;
    }
    if let Some(width) = fields.count("width")? {
        request.width = Some(width);
    }
    if let Some(height) = fields.count("height")? {
        request.height = Some(height);
    }
    // Batches of a run are one batch here: each image has a seed of its own in both.
    let [size, count] = [fields.count("batch_size")?.unwrap_or(1), fields.count("n_iter")?.unwrap_or(1)];
    request.batch_size = size.saturating_mul(count);
    if let Some(seed) = seed(fields, "seed")? {
        request.seed = seed.map_or_else(random_seed, Ok)?;
    }
    if let Some(strength) = fields.float("subseed_strength")?.filter(|strength| *strength != 0.0) {
        request.variation_strength = strength as f32;
        let seed = seed(fields, "subseed")?.flatten();
        request.variation_seed = Some(seed.map_or_else(random_seed, Ok)?);
    }
    // Anything below 1 means that it is off.
    let [width, height] = ["seed_resize_from_w", "seed_resize_from_h"].map(|name| fields.int(name));
    if let (Some(width @ 1..), Some(height @ 1..)) = (width?, height?) {
        request.seed_resize = Some([width, height].map(|side| usize::try_from(side).unwrap_or(0)));
    }
    if fields.get("tiling").is_some() {
        request.tiling = if fields.flag("tiling")? { Tiling::Xy } else { Tiling::None };
    }
    Ok(())
}

/// A seed that was given; -1 is a random one.
fn seed(fields: &Fields<'_>, name: &str) -> Result<Option<Option<u64>>> {
    Ok(match fields.int(name)? {
        None => None,
        Some(-1) => Some(None),
        Some(seed) => {
            let out_of_range =
                |_| Problem::invalid(name, format!("{name} {seed} is out of range: give 0 or more, or -1"));
            Some(Some(u64::try_from(seed).map_err(out_of_range)?))
        }
    })
}

/// A second, larger pass.
fn hires(app: &App, fields: &Fields<'_>, request: &mut Request, model: &str, vae: Option<&str>) -> Result<()> {
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

/// The image to start from, and what of it is to change.
fn init(
    engine: &Engine,
    fields: &Fields<'_>,
    settings: &Settings,
    request: &mut Request,
    warnings: &Warnings,
) -> Result<()> {
    let images = fields.texts("init_images")?;
    let [image] = images.as_slice() else {
        return Err(match images.len() {
            0 => Problem::new(StatusCode::NOT_FOUND, "no_init_image", "Init image not found").param("init_images"),
            n => Problem::invalid("init_images", format!("there are {n} init_images: send a request for each")),
        });
    };
    let open = |text: &str, param: &str| {
        let sha256 = put(engine, &decode_base64(text, param)?, param)?;
        Ok::<_, Problem>(InputImage::from(FileRef { file: String::new(), sha256 }))
    };
    let mode = match fields.int("resize_mode")?.unwrap_or(0) {
        0 => ResizeMode::JustResize,
        1 => ResizeMode::Crop,
        2 => ResizeMode::Fill,
        3 => ResizeMode::Latent,
        other => return Err(Problem::invalid("resize_mode", format!("resize_mode {other} is none of 0, 1, 2 and 3"))),
    };
    if let Some(multiplier) = fields.float("initial_noise_multiplier")? {
        request.init_noise_multiplier = multiplier;
    }
    let inpaint = match fields.word("mask")? {
        Some(mask) => Some(inpaint(fields, settings, open(&mask, "mask")?)?),
        None => None,
    };
    if fields.flag("include_init_images")? {
        warnings.add("include_init_images: the answer has them in parameters only");
    }
    request.init = Some(Init {
        strength: fields.float("denoising_strength")?.unwrap_or(STRENGTH),
        strength_rule: settings.strength_rule(),
        resize_mode: mode,
        inpaint,
        ..Init::new(open(image, "init_images")?)
    });
    Ok(())
}

fn inpaint(fields: &Fields<'_>, settings: &Settings, mask: InputImage) -> Result<Inpaint> {
    let [x, y] = match fields.float("mask_blur")? {
        Some(blur) => [blur; 2],
        None => [
            fields.float("mask_blur_x")?.unwrap_or(MASK_BLUR as f64),
            fields.float("mask_blur_y")?.unwrap_or(MASK_BLUR as f64),
        ],
    };
    if x != y {
        return Err(Problem::invalid("mask_blur_y", "mask_blur_x and mask_blur_y: give both the same"));
    }
    let fill = match fields.int("inpainting_fill")?.unwrap_or(0) {
        0 => Fill::Fill,
        1 => Fill::Original,
        2 => Fill::LatentNoise,
        3 => Fill::LatentNothing,
        other => {
            let detail = format!("inpainting_fill {other} is none of 0, 1, 2 and 3");
            return Err(Problem::invalid("inpainting_fill", detail));
        }
    };
    let is_of_part = fields.get("inpaint_full_res").is_none() || fields.flag("inpaint_full_res")?;
    let padding = fields.count("inpaint_full_res_padding")?.unwrap_or(0);
    Ok(Inpaint {
        mask_blur: x,
        invert_mask: fields.int("inpainting_mask_invert")?.unwrap_or(0) != 0,
        only_masked_padding: is_of_part.then(|| u32::try_from(padding).unwrap_or(u32::MAX)),
        fill,
        conditioning_mask_strength: settings.mask_weight()?,
        ..Inpaint::new(Some(mask))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_are_put_around_prompts() {
        for (prompt, style, expected) in [
            ("a fox", "oil painting of {prompt}, thick paint", "oil painting of a fox, thick paint"),
            ("a fox", " best quality ", "a fox, best quality"),
            ("", "best quality", "best quality"),
            ("a fox", "", "a fox"),
        ] {
            assert_eq!(styled(prompt, style), expected);
        }
    }

    #[test]
    fn tags_are_taken_out() {
        for (prompt, expected) in [
            ("a fox <lora:ink:0.8>, snow", "a fox , snow"),
            ("<hypernet:x:1>a < b > c", "a < b > c"),
            ("a <3 fox <lora:x", "a <3 fox <lora:x"),
            ("é<lora:é:1>è", "éè"),
            ("<<lora:a:1>>", "<>"),
        ] {
            assert_eq!(without_tags(prompt), expected, "{prompt}");
        }
    }
}
