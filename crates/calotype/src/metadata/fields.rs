//! The settings in A1111's text: each has one row here, by which it is written and read again.

use calotype_diffusion::{Rng, SamplerKind, SamplerSettings, ScheduleKind};
use calotype_text::{Emphasis, PromptStyle};

use super::{BatchMetadata, Metadata};
use crate::{Fill, Hires, Tiling, Upscaler, ZERO_TERMINAL_SNR, adapters};

/// How many digits of the model's hash A1111's text has.
const SHORT_HASH: usize = 10;
/// What the version of this program begins with.
pub(super) const OWN: &str = "calotype";

/// A setting.
pub(super) struct Field {
    /// A1111's name of it.
    pub(super) key: &'static str,
    /// Its value, not quoted; none where it goes without saying.
    pub(super) write: fn(&Metadata) -> Option<String>,
    /// Takes a value over; false if it can't be honoured.
    pub(super) read: fn(&mut Metadata, &str) -> bool,
}

/// All settings, in the order in which A1111 writes them.
pub(super) const FIELDS: &[Field] = &[
    Field {
        key: "Steps",
        write: |m| Some(m.num_inference_steps.to_string()),
        read: |m, value| number(&mut m.num_inference_steps, value),
    },
    Field {
        key: "Sampler",
        write: |m| Some(label(&m.sampler, SamplerKind::label)),
        read: |m, value| {
            let Ok((sampler, schedule)) = SamplerKind::parse_with_schedule(value) else { return false };
            sampler.id().clone_into(&mut m.sampler);
            if let Some(schedule) = schedule {
                schedule.id().clone_into(&mut m.schedule);
            }
            true
        },
    },
    Field {
        key: "Schedule type",
        write: |m| Some(label(&m.schedule, ScheduleKind::label)).filter(|_| m.schedule != ScheduleKind::Default.id()),
        read: |m, value| value.parse::<ScheduleKind>().map(|kind| kind.id().clone_into(&mut m.schedule)).is_ok(),
    },
    Field {
        key: "CFG scale",
        write: |m| Some(m.guidance_scale.to_string()),
        read: |m, value| number(&mut m.guidance_scale, value),
    },
    Field { key: "Seed", write: |m| Some(m.seed.to_string()), read: |m, value| number(&mut m.seed, value) },
    Field {
        key: "Size",
        write: |m| Some(format!("{}x{}", m.width, m.height)),
        read: |m, value| match value.split_once('x') {
            Some((width, height)) => number(&mut m.width, width) && number(&mut m.height, height),
            None => false,
        },
    },
    Field {
        key: "Eta",
        write: |m| m.eta.filter(|_| !is_ddim(m)).map(text_of),
        read: |m, value| some(&mut m.eta, value),
    },
    Field {
        key: "Eta DDIM",
        write: |m| m.eta.filter(|_| is_ddim(m)).map(text_of),
        read: |m, value| some(&mut m.eta, value),
    },
    Field {
        key: "Sigma churn",
        write: |m| setting(m, |s| s.s_churn),
        read: |m, value| number(&mut m.sampler_settings.s_churn, value),
    },
    Field {
        key: "Sigma tmin",
        write: |m| setting(m, |s| s.s_tmin),
        read: |m, value| number(&mut m.sampler_settings.s_tmin, value),
    },
    Field {
        key: "Sigma tmax",
        write: |m| m.sampler_settings.s_tmax.map(text_of),
        // A1111's 0 is no bound.
        read: |m, value| {
            let read = some(&mut m.sampler_settings.s_tmax, value);
            m.sampler_settings.s_tmax = m.sampler_settings.s_tmax.filter(|&s_tmax| s_tmax != 0.0);
            read
        },
    },
    Field {
        key: "Sigma noise",
        write: |m| setting(m, |s| s.s_noise),
        read: |m, value| number(&mut m.sampler_settings.s_noise, value),
    },
    Field {
        key: "Schedule min sigma",
        write: |m| m.sampler_settings.sigma_min.map(text_of),
        read: |m, value| some(&mut m.sampler_settings.sigma_min, value),
    },
    Field {
        key: "Schedule max sigma",
        write: |m| m.sampler_settings.sigma_max.map(text_of),
        read: |m, value| some(&mut m.sampler_settings.sigma_max, value),
    },
    Field {
        key: "Schedule rho",
        write: |m| m.sampler_settings.rho.map(text_of),
        read: |m, value| some(&mut m.sampler_settings.rho, value),
    },
    Field {
        key: "Beta schedule alpha",
        write: |m| setting(m, |s| s.beta_alpha),
        read: |m, value| number(&mut m.sampler_settings.beta_alpha, value),
    },
    Field {
        key: "Beta schedule beta",
        write: |m| setting(m, |s| s.beta_beta),
        read: |m, value| number(&mut m.sampler_settings.beta_beta, value),
    },
    Field {
        key: "Discard penultimate sigma",
        write: |m| if_true(m.sampler_settings.discard_next_to_last_sigma),
        read: |m, value| flag(&mut m.sampler_settings.discard_next_to_last_sigma, value),
    },
    Field {
        key: "SGM noise multiplier",
        write: |m| if_true(m.sampler_settings.sgm_noise_multiplier),
        read: |m, value| flag(&mut m.sampler_settings.sgm_noise_multiplier, value),
    },
    Field {
        key: "UniPC variant",
        write: |m| setting(m, |s| s.uni_pc_variant),
        read: |m, value| number(&mut m.sampler_settings.uni_pc_variant, value),
    },
    Field {
        key: "UniPC skip type",
        write: |m| setting(m, |s| s.uni_pc_skip_type),
        read: |m, value| number(&mut m.sampler_settings.uni_pc_skip_type, value),
    },
    Field {
        key: "UniPC order",
        write: |m| setting(m, |s| s.uni_pc_order),
        read: |m, value| number(&mut m.sampler_settings.uni_pc_order, value),
    },
    Field {
        key: "UniPC lower order final",
        write: |m| (!m.sampler_settings.uni_pc_lower_order_final).then(|| "False".to_owned()),
        read: |m, value| flag(&mut m.sampler_settings.uni_pc_lower_order_final, value),
    },
    Field {
        key: "Model hash",
        write: |m| Some(m.model_hash.chars().take(SHORT_HASH).collect()),
        read: |m, value| text(&mut m.model_hash, value),
    },
    Field { key: "Model", write: |m| Some(m.model.clone()), read: |m, value| text(&mut m.model, value) },
    Field {
        key: "Noise Schedule",
        write: |m| m.is_zero_terminal_snr().then(|| ZERO_TERMINAL_SNR.to_owned()),
        read: |m, value| {
            let known = value == ZERO_TERMINAL_SNR;
            if known {
                value.clone_into(&mut m.noise_schedule);
            }
            known || value == "Default"
        },
    },
    Field {
        key: "Denoising strength",
        write: |m| {
            let hires = m.hires.as_ref().map(|hires| hires.strength);
            hires.or(m.init.as_ref().map(|init| init.strength)).map(|strength| strength.to_string())
        },
        // Which strength it is, is known after the whole text.
        read: |_, _| false,
    },
    Field {
        key: "Mask blur",
        write: |m| m.inpaint().filter(|inpaint| inpaint.mask_blur > 0.0).map(|inpaint| inpaint.mask_blur.to_string()),
        read: |_, _| false,
    },
    Field {
        key: "Inpaint area",
        write: |m| m.inpaint()?.only_masked_padding.map(|_| "Only masked".to_owned()),
        read: |_, _| false,
    },
    Field {
        key: "Masked area padding",
        write: |m| m.inpaint()?.only_masked_padding.map(|padding| padding.to_string()),
        read: |_, _| false,
    },
    Field {
        key: "Mask mode",
        write: |m| m.inpaint().filter(|inpaint| inpaint.invert_mask).map(|_| "Inpaint not masked".to_owned()),
        read: |_, _| false,
    },
    Field {
        key: "Conditional mask weight",
        write: |m| m.inpaint().and_then(|inpaint| unless(inpaint.conditioning_mask_strength, 1.0)),
        read: |_, _| false,
    },
    Field {
        key: "Masked content",
        write: |m| {
            Some(match m.inpaint()?.fill {
                Fill::Fill => "fill".to_owned(),
                Fill::Original => return None,
                Fill::LatentNoise => "latent noise".to_owned(),
                Fill::LatentNothing => "latent nothing".to_owned(),
            })
        },
        read: |_, _| false,
    },
    Field {
        key: "Hires resize",
        write: |m| m.hires.as_ref().map(|hires| format!("{}x{}", hires.width, hires.height)),
        read: |m, value| {
            let Some((width, height)) = value.split_once('x') else { return false };
            let hires = m.hires.get_or_insert_with(Hires::default);
            number(&mut hires.width, width) && number(&mut hires.height, height)
        },
    },
    Field {
        key: "Hires upscale",
        write: |_| None,
        read: |m, value| {
            let Some(scale) = value.trim().parse().ok().filter(|scale| (1.0..=16.0).contains(scale)) else {
                return false;
            };
            let (width, height) = (m.width, m.height);
            let hires = m.hires.get_or_insert_with(Hires::default);
            (hires.width, hires.height) = (scaled(width, scale), scaled(height, scale));
            true
        },
    },
    Field {
        key: "Hires steps",
        write: |m| m.hires.as_ref()?.num_inference_steps.map(|steps| steps.to_string()),
        read: |m, value| {
            let mut steps = 0;
            let sound = number(&mut steps, value);
            m.hires.get_or_insert_with(Hires::default).num_inference_steps = Some(steps).filter(|_| sound);
            sound
        },
    },
    Field {
        key: "Hires upscaler",
        write: |m| {
            let upscaler = m.hires.as_ref()?.upscaler;
            Upscaler::LABELS.iter().find(|(known, _)| *known == upscaler).map(|(_, label)| (*label).to_owned())
        },
        read: |m, value| {
            let known = Upscaler::LABELS.iter().find(|(_, label)| *label == value);
            // A network's result is nearest to that of a filter on pixels.
            let upscaler = known.map_or(Upscaler::Lanczos, |(upscaler, _)| *upscaler);
            m.hires.get_or_insert_with(Hires::default).upscaler = upscaler;
            known.is_some()
        },
    },
    Field {
        key: "Tiling",
        write: |m| match m.tiling {
            Tiling::None => None,
            Tiling::Xy => Some("True".to_owned()),
            Tiling::X => Some("x".to_owned()),
            Tiling::Y => Some("y".to_owned()),
        },
        read: |m, value| {
            m.tiling = match value {
                "True" => Tiling::Xy,
                "x" => Tiling::X,
                "y" => Tiling::Y,
                other => return other == "False",
            };
            true
        },
    },
    Field {
        key: "Variation seed",
        write: |m| m.noise.variation_seed.map(|seed| seed.to_string()),
        read: |m, value| some(&mut m.noise.variation_seed, value),
    },
    Field {
        key: "Variation seed strength",
        write: |m| m.noise.variation_seed.map(|_| m.noise.variation_strength.to_string()),
        read: |m, value| number(&mut m.noise.variation_strength, value),
    },
    Field {
        key: "Seed resize from",
        write: |m| m.noise.seed_resize.map(|[width, height]| format!("{width}x{height}")),
        read: |m, value| {
            let [mut width, mut height] = [0, 0];
            let read = value.split_once('x').is_some_and(|(w, h)| number(&mut width, w) && number(&mut height, h));
            m.noise.seed_resize = Some([width, height]).filter(|_| read && width > 0 && height > 0);
            read
        },
    },
    Field {
        key: "Clip skip",
        write: |m| Some(m.clip_skip.to_string()).filter(|_| m.clip_skip > 1),
        read: |m, value| number(&mut m.clip_skip, value),
    },
    Field {
        key: "ENSD",
        write: |m| Some(m.noise.eta_noise_seed_delta.to_string()).filter(|_| m.noise.eta_noise_seed_delta != 0),
        read: |m, value| number(&mut m.noise.eta_noise_seed_delta, value),
    },
    Field {
        key: "Noise multiplier",
        write: |m| unless(m.noise.init_noise_multiplier, 1.0),
        read: |m, value| number(&mut m.noise.init_noise_multiplier, value),
    },
    Field {
        key: "Extra noise",
        write: |m| unless(m.noise.extra_noise, 0.0),
        read: |m, value| number(&mut m.noise.extra_noise, value),
    },
    Field {
        key: "RNG",
        write: |m| Some(rng_label(&m.noise.rng).to_owned()),
        read: |m, value| {
            let rng = Rng::ALL.into_iter().map(Rng::id).find(|id| rng_label(id) == value);
            rng.map(|id| m.noise.rng = id.to_owned()).is_some()
        },
    },
    Field {
        key: "Seed per",
        write: |m| m.noise.batch.as_ref().map(BatchMetadata::to_text),
        read: |m, value| {
            m.noise.batch = BatchMetadata::from_text(value);
            m.noise.batch.is_some()
        },
    },
    Field {
        key: "Lora hashes",
        write: |m| adapters::lora_hashes(&m.adapters),
        read: |m, value| adapters::read_lora_hashes(&mut m.adapters, value),
    },
    Field {
        key: "TI hashes",
        write: |m| adapters::embedding_hashes(&m.adapters),
        read: |m, value| adapters::read_embedding_hashes(&mut m.adapters, value),
    },
    Field {
        key: "Emphasis",
        write: |m| {
            emphasis(|emphasis| emphasis.id() == m.emphasis && emphasis != Emphasis::Original)
                .map(Emphasis::label)
                .map(str::to_owned)
        },
        read: |m, value| {
            let found = emphasis(|emphasis| emphasis.label() == value);
            found.map(|emphasis| m.emphasis = emphasis.id().to_owned()).is_some()
        },
    },
    Field {
        key: "Old prompt editing timelines",
        write: |m| if_true(m.old_prompt_editing),
        read: |m, value| flag(&mut m.old_prompt_editing, value),
    },
    Field {
        key: "Prompt style",
        write: |m| Some(m.prompt_style.clone()).filter(|style| *style != PromptStyle::Plain.id()),
        read: |m, value| value.parse::<PromptStyle>().map(|style| m.prompt_style = style.id().to_owned()).is_ok(),
    },
    Field {
        key: "Version",
        write: |m| Some(format!("{OWN} {}", m.version)),
        read: |m, value| text(&mut m.version, value),
    },
];

fn emphasis(is: impl Fn(Emphasis) -> bool) -> Option<Emphasis> {
    Emphasis::ALL.into_iter().find(|&emphasis| is(emphasis))
}

/// A1111 scales to whole multiples of 8.
fn scaled(side: usize, scale: f64) -> usize {
    (side as f64 * scale) as usize / 8 * 8
}

fn text(field: &mut String, value: &str) -> bool {
    value.clone_into(field);
    true
}

fn number<T: std::str::FromStr>(field: &mut T, value: &str) -> bool {
    value.trim().parse().map(|value| *field = value).is_ok()
}

fn some<T: std::str::FromStr>(field: &mut Option<T>, value: &str) -> bool {
    value.trim().parse().map(|value| *field = Some(value)).is_ok()
}

/// A1111's name of a generator.
fn rng_label(id: &str) -> &str {
    match id.parse() {
        Ok(Rng::Cpu) => "CPU",
        Ok(Rng::Cuda) => "GPU",
        Ok(Rng::Nv) => "NV",
        _ => id,
    }
}

/// Python's words.
fn flag(field: &mut bool, value: &str) -> bool {
    *field = value == "True";
    matches!(value, "True" | "False")
}

fn text_of(value: f64) -> String {
    value.to_string()
}

/// A value that is not as by default.
fn unless(value: f64, default: f64) -> Option<String> {
    Some(text_of(value)).filter(|_| value != default)
}

/// A setting of the sampler that is not as by default.
fn setting<T: PartialEq + ToString>(metadata: &Metadata, of: impl Fn(&SamplerSettings) -> T) -> Option<String> {
    let value = of(&metadata.sampler_settings);
    Some(value.to_string()).filter(|_| value != of(&SamplerSettings::default()))
}

/// Python's word.
fn if_true(value: bool) -> Option<String> {
    value.then(|| "True".to_owned())
}

/// A1111 has an eta for the samplers that think in timesteps and one for the others.
fn is_ddim(metadata: &Metadata) -> bool {
    matches!(metadata.sampler.parse(), Ok(SamplerKind::Ddim | SamplerKind::DdimCfgpp))
}

/// A1111's name of a sampler or schedule, by its id.
fn label<T: std::str::FromStr>(id: &str, label: impl Fn(T) -> &'static str) -> String {
    id.parse().map_or_else(|_| id.to_owned(), |kind| label(kind).to_owned())
}
