//! A1111's options, as far as they mean something here: each key has its own, kept in memory.

use calotype::{
    Request,
    checkpoint::ListedKind,
    request::{Emphasis, StrengthRule},
    sampling::{SamplerFeature, SamplerKind, ScheduleKind, StepNoise},
};
use calotype_engine::{Catalogue, Entry, Format, OutputFormat};
use serde_json::{Map, Value, json};

use super::{
    fields::{Fields, Warnings},
    models,
};
use crate::{
    app::App,
    problem::{Problem, Result},
};

/// The option of the model.
pub(super) const CHECKPOINT: &str = "sd_model_checkpoint";
const VAE: &str = "sd_vae";

/// What every option is at first: A1111's defaults.
fn defaults() -> Map<String, Value> {
    let defaults = json!({
        "samples_format": "png",
        "jpeg_quality": 80,
        CHECKPOINT: null,
        VAE: "Automatic",
        "CLIP_stop_at_last_layers": 1,
        "eta_noise_seed_delta": 0,
        "randn_source": "GPU",
        "emphasis": "Original",
        "use_old_scheduling": false,
        "eta_ddim": 0.0,
        "eta_ancestral": 1.0,
        "s_churn": 0.0,
        "s_tmin": 0.0,
        "s_tmax": 0.0,
        "s_noise": 1.0,
        "sigma_min": 0.0,
        "sigma_max": 0.0,
        "rho": 0.0,
        "beta_dist_alpha": 0.6,
        "beta_dist_beta": 0.6,
        "always_discard_next_to_last_sigma": false,
        "sgm_noise_multiplier": false,
        "uni_pc_variant": "bh1",
        "uni_pc_skip_type": "time_uniform",
        "uni_pc_order": 3,
        "uni_pc_lower_order_final": true,
        "initial_noise_multiplier": 1.0,
        "img2img_extra_noise": 0.0,
        "img2img_fix_steps": false,
        "inpainting_mask_weight": 1.0,
        "live_previews_enable": true,
        "show_progress_every_n_steps": 10,
        "show_progress_type": "Approx cheap",
    });
    match defaults {
        Value::Object(defaults) => defaults,
        _ => Map::new(),
    }
}

/// The options of a key. The model and the autoencoder are kept as ids.
#[derive(Clone)]
pub(crate) struct Settings(Map<String, Value>);

impl Default for Settings {
    fn default() -> Self {
        Self(defaults())
    }
}

impl Settings {
    /// Takes options over; those that mean nothing here are named. Null is as if it were left out.
    pub(super) fn set(&mut self, app: &App, given: &Map<String, Value>, warnings: &Warnings) -> Result<()> {
        let catalogue = app.engine.catalogue();
        let mut next = self.0.clone();
        for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
            let value = match name.as_str() {
                CHECKPOINT => json!(models::find(app, &text(given, name)?)?.id),
                VAE => json!(vae(catalogue, &text(given, name)?)?),
                // Both are told, not set.
                "sd_checkpoint_hash" | "sd_vae_hash" => continue,
                _ => match next.get(name) {
                    Some(default) => same_type(given, name, default)?,
                    None => {
                        warnings.add(format!("the option {name} means nothing here"));
                        let _ = value;
                        continue;
                    }
                },
            };
            next.insert(name.clone(), value);
        }
        let set = Self(next);
        set.check()?;
        *self = set;
        Ok(())
    }

    /// All options as A1111's server tells them.
    pub(super) fn view(&self, app: &App) -> Map<String, Value> {
        let mut view = self.0.clone();
        let entry = self.model(app);
        let hash = entry.as_ref().and_then(|entry| models::hash(app, entry));
        view.insert(CHECKPOINT.to_owned(), json!(entry.map(|entry| models::title(&entry, hash.as_deref()))));
        view.insert("sd_checkpoint_hash".to_owned(), json!(hash.unwrap_or_default()));
        view
    }

    /// The model, as far as it is still there; the server's default if none was chosen.
    pub(super) fn model(&self, app: &App) -> Option<Entry> {
        let catalogue = app.engine.catalogue();
        let chosen = self.0[CHECKPOINT].as_str().and_then(|id| catalogue.find(ListedKind::Model, id).ok());
        chosen.or_else(|| catalogue.find(ListedKind::Model, &catalogue.default_model()).ok())
    }

    /// The id of the autoencoder, if it is not the model's own.
    pub(super) fn vae(&self) -> Option<String> {
        self.0[VAE].as_str().filter(|name| !is_own_vae(name)).map(str::to_owned)
    }

    pub(super) fn clip_skip(&self) -> Result<usize> {
        Ok(self.fields().count("CLIP_stop_at_last_layers")?.unwrap_or(1).max(1))
    }

    pub(super) fn shows_previews(&self) -> bool {
        self.0["live_previews_enable"] != json!(false)
    }

    pub(super) fn output(&self) -> Result<OutputFormat> {
        let format = match self.fields().text("samples_format")?.unwrap_or_default().as_str() {
            "png" => Format::Png,
            "jpg" | "jpeg" => Format::Jpeg,
            "webp" => Format::Webp,
            other => {
                let detail = format!("samples_format {other:?} is none of png, jpg and webp");
                return Err(Problem::invalid("samples_format", detail));
            }
        };
        let quality = self.fields().count("jpeg_quality")?.unwrap_or(80).clamp(1, 100);
        Ok(OutputFormat { format, quality: u8::try_from(quality).unwrap_or(80) })
    }

    /// How a strength becomes steps.
    pub(super) fn strength_rule(&self) -> StrengthRule {
        if self.0["img2img_fix_steps"] == json!(true) { StrengthRule::Exact } else { StrengthRule::A1111 }
    }

    pub(super) fn mask_weight(&self) -> Result<f64> {
        Ok(self.fields().float("inpainting_mask_weight")?.unwrap_or(1.0))
    }

    /// What of a request the options say, whatever its sampler.
    pub(super) fn apply(&self, request: &mut Request) -> Result<()> {
        let fields = self.fields();
        request.clip_skip = self.clip_skip()?;
        request.rng = word(&fields, "randn_source")?;
        request.emphasis = self.emphasis()?;
        request.old_prompt_editing = fields.flag("use_old_scheduling")?;
        request.eta_noise_seed_delta = fields.int("eta_noise_seed_delta")?.unwrap_or(0);
        request.extra_noise = fields.float("img2img_extra_noise")?.unwrap_or(0.0);
        request.init_noise_multiplier = fields.float("initial_noise_multiplier")?.unwrap_or(1.0);
        Ok(())
    }

    /// What of them is for a sampler; `given` are members of the request of the same names, which come first.
    pub(super) fn apply_to_sampler(&self, request: &mut Request, given: &Fields<'_>) -> Result<()> {
        let fields = self.fields();
        let float = |name: &str| Ok::<_, Problem>(given.float(name)?.or(fields.float(name)?));
        let not_zero = |name: &str| Ok::<_, Problem>(fields.float(name)?.filter(|value| *value != 0.0));
        let info = request.sampler.info();
        let own = info.noise.default_eta();
        let option = if info.noise == StepNoise::Eta { "eta_ddim" } else { "eta_ancestral" };
        request.eta = match (given.float("eta")?, own) {
            // Samplers without fresh noise have nothing that it could say.
            (_, None) => None,
            (Some(eta), _) => Some(eta),
            (None, Some(_)) => fields.float(option)?,
        };
        request.eta = request.eta.filter(|eta| Some(*eta) != own);
        let schedule = match request.schedule {
            ScheduleKind::Automatic => info.own_schedule,
            other => other,
        };
        let settings = &mut request.sampler_settings;
        if info.noise == StepNoise::Churn {
            settings.s_churn = float("s_churn")?.unwrap_or(0.0);
            settings.s_tmin = float("s_tmin")?.unwrap_or(0.0);
            // 0 is no bound.
            settings.s_tmax = float("s_tmax")?.filter(|s_tmax| *s_tmax != 0.0);
        }
        if info.noise.has_s_noise() {
            settings.s_noise = float("s_noise")?.unwrap_or(1.0);
        }
        if schedule.info().rho.is_some() {
            settings.rho = not_zero("rho")?;
        }
        if schedule.info().has_ends {
            (settings.sigma_min, settings.sigma_max) = (not_zero("sigma_min")?, not_zero("sigma_max")?);
        }
        if schedule == ScheduleKind::Beta {
            settings.beta_alpha = fields.float("beta_dist_alpha")?.unwrap_or(0.6);
            settings.beta_beta = fields.float("beta_dist_beta")?.unwrap_or(0.6);
        }
        let is_fixed = info.has(SamplerFeature::IntegerSteps) || info.has(SamplerFeature::Adaptive);
        settings.discard_next_to_last_sigma = !is_fixed && fields.flag("always_discard_next_to_last_sigma")?;
        settings.sgm_noise_multiplier = fields.flag("sgm_noise_multiplier")?;
        if request.sampler == SamplerKind::UniPc {
            settings.uni_pc_variant = word(&fields, "uni_pc_variant")?;
            settings.uni_pc_skip_type = word(&fields, "uni_pc_skip_type")?;
            settings.uni_pc_order = fields.count("uni_pc_order")?.unwrap_or(3);
            settings.uni_pc_lower_order_final = fields.flag("uni_pc_lower_order_final")?;
        }
        Ok(())
    }

    fn emphasis(&self) -> Result<Emphasis> {
        let label = self.fields().text("emphasis")?.unwrap_or_default();
        let found = Emphasis::ALL.into_iter().find(|emphasis| emphasis.label() == label);
        found.ok_or_else(|| {
            let known = Emphasis::ALL.map(Emphasis::label).join(", ");
            Problem::invalid("emphasis", format!("emphasis {label:?} is none of {known}"))
        })
    }

    /// That every choice is one.
    fn check(&self) -> Result<()> {
        self.output()?;
        let mut request = Request { sampler: SamplerKind::UniPc, ..Request::default() };
        self.apply(&mut request)?;
        self.apply_to_sampler(&mut request, &Fields::new(&Map::new()))
    }

    fn fields(&self) -> Fields<'_> {
        Fields::new(&self.0)
    }
}

/// A choice by its name.
fn word<T: std::str::FromStr<Err: std::fmt::Display>>(fields: &Fields<'_>, name: &str) -> Result<T> {
    let text = fields.text(name)?.unwrap_or_default();
    text.parse().map_err(|error| Problem::invalid(name, format!("{name}: {error}")))
}

fn text(given: &Map<String, Value>, name: &str) -> Result<String> {
    Ok(Fields::new(given).text(name)?.unwrap_or_default())
}

/// A value, read as what the default is.
fn same_type(given: &Map<String, Value>, name: &str, default: &Value) -> Result<Value> {
    let fields = Fields::new(given);
    Ok(match default {
        Value::Bool(_) => json!(fields.flag(name)?),
        Value::Number(number) if number.is_f64() => json!(fields.float(name)?),
        Value::Number(_) => json!(fields.int(name)?),
        _ => json!(fields.text(name)?),
    })
}

/// What A1111 calls the autoencoder of the model itself.
fn is_own_vae(name: &str) -> bool {
    matches!(name.to_ascii_lowercase().as_str(), "automatic" | "none" | "auto" | "")
}

/// An autoencoder by its name; that of the model is `Automatic`.
fn vae(catalogue: &Catalogue, name: &str) -> Result<String> {
    if is_own_vae(name) {
        return Ok("Automatic".to_owned());
    }
    catalogue.find(ListedKind::Vae, name).map(|entry| entry.id).map_err(|error| models::unknown(VAE, &error))
}

#[cfg(test)]
mod tests {
    use calotype::sampling::Rng;

    use super::*;

    #[test]
    fn defaults_are_options_that_can_be_met() {
        let settings = Settings::default();
        assert!(settings.check().is_ok());
        let mut request = Request { sampler: SamplerKind::EulerA, ..Request::default() };
        assert!(settings.apply(&mut request).is_ok());
        assert_eq!((request.rng, request.clip_skip), (Rng::Cuda, 1));
    }

    #[test]
    fn an_eta_is_for_samplers_that_have_one() {
        let Value::Object(given) = json!({"eta": 1.0, "s_churn": 3, "s_tmax": 0, "s_noise": 1}) else { return };
        for (sampler, eta, s_churn) in [
            (SamplerKind::Ddim, Some(1.0), 0.0),
            // 1 is their own.
            (SamplerKind::EulerA, None, 0.0),
            (SamplerKind::Euler, None, 3.0),
            (SamplerKind::Dpmpp2m, None, 0.0),
        ] {
            let mut request = Request { sampler, schedule: ScheduleKind::Automatic, ..Request::default() };
            assert!(Settings::default().apply_to_sampler(&mut request, &Fields::new(&given)).is_ok());
            assert_eq!((request.eta, request.sampler_settings.s_churn), (eta, s_churn), "{sampler}");
            assert_eq!(request.sampler_settings.s_tmax, None, "{sampler}");
        }
    }
}
