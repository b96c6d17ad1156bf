//! From a body of txt2img or img2img to an order.

use axum::http::StatusCode;
use calotype::{
    Request,
    checkpoint::ListedKind,
    metadata::{Metadata, Reading},
    request::{PromptStyle, Tiling},
    sampling::{SamplerKind, ScheduleKind},
};
use calotype_engine::{Asked, Order, random_seed};
use serde_json::{Map, Value};

use super::{
    fields::{Fields, Warnings},
    hires, init, prompts, scripts,
    settings::Settings,
};
use crate::{
    app::App,
    problem::{Problem, Result},
};

/// A1111's own, where nothing is said.
const STEPS: usize = 50;
const CFG_SCALE: f32 = 7.0;
/// How much an image is changed, where nothing is said.
pub(super) const STRENGTH: f64 = 0.75;

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
    let styles = prompts::fill(&fields, &app.config.styles, &mut request, &warnings)?;
    sampler(&fields, &mut request, reading.is_none(), &warnings)?;
    if reading.is_none() || fields.get("eta").is_some() {
        settings.apply_to_sampler(&mut request, &fields)?;
    }
    numbers(&fields, &mut request)?;
    match kind {
        Kind::Txt2Img => hires::fill(app, &fields, &mut request, &model, vae.as_deref())?,
        Kind::Img2Img => init::fill(&app.engine, &fields, &settings, &mut request, &warnings)?,
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
