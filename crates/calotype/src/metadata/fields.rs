//! The settings in A1111's text: each has one row here, by which it is written and read again.

use calotype_diffusion::{Rng, SamplerKind, SamplerSettings, ScheduleKind, StepNoise};
use calotype_text::{Emphasis, PromptStyle};

use super::{BatchMetadata, Metadata};
use crate::{
    adapters,
    checkpoint::ZERO_TERMINAL_SNR,
    request::{Fill, Hires, Inpaint, TileMethod, Tiles, Tiling, Upscaler},
};

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

/// A number of tiled diffusion.
macro_rules! tile_size {
    ($key:literal, $field:ident) => {
        Field {
            key: $key,
            write: |m| m.request.tiles.as_ref().map(|tiles| tiles.$field.to_string()),
            read: |m, value| m.request.tiles.as_mut().is_some_and(|tiles| number(&mut tiles.$field, value)),
        }
    };
}

/// All settings, in the order in which A1111 writes them.
pub(super) const FIELDS: &[Field] = &[
    Field {
        key: "Steps",
        write: |m| Some(m.request.num_inference_steps.to_string()),
        read: |m, value| number(&mut m.request.num_inference_steps, value),
    },
    Field {
        key: "Sampler",
        write: |m| Some(m.request.sampler.label().to_owned()),
        read: |m, value| {
            let Ok((sampler, schedule)) = SamplerKind::parse_with_schedule(value) else { return false };
            m.request.sampler = sampler;
            m.request.schedule = schedule.unwrap_or(m.request.schedule);
            true
        },
    },
    Field {
        key: "Schedule type",
        write: |m| not(m.request.schedule, ScheduleKind::Default).map(|schedule| schedule.label().to_owned()),
        read: |m, value| number(&mut m.request.schedule, value),
    },
    Field {
        key: "CFG scale",
        write: |m| Some(m.request.guidance_scale.to_string()),
        read: |m, value| number(&mut m.request.guidance_scale, value),
    },
    Field {
        key: "Seed",
        write: |m| Some(m.request.seed.to_string()),
        read: |m, value| number(&mut m.request.seed, value),
    },
    Field {
        key: "Size",
        write: |m| Some(format!("{}x{}", m.request.width?, m.request.height?)),
        read: |m, value| {
            let size = size(value);
            if let Some([width, height]) = size.filter(|size| !size.contains(&0)) {
                (m.request.width, m.request.height) = (Some(width), Some(height));
            }
            size.is_some()
        },
    },
    Field {
        key: "Eta",
        write: |m| m.request.eta.filter(|_| !is_ddim(m)).map(text_of),
        read: |m, value| some(&mut m.request.eta, value),
    },
    Field {
        key: "Eta DDIM",
        write: |m| m.request.eta.filter(|_| is_ddim(m)).map(text_of),
        read: |m, value| some(&mut m.request.eta, value),
    },
    Field {
        key: "Sigma churn",
        write: |m| setting(m, |s| s.s_churn),
        read: |m, value| number(&mut m.request.sampler_settings.s_churn, value),
    },
    Field {
        key: "Sigma tmin",
        write: |m| setting(m, |s| s.s_tmin),
        read: |m, value| number(&mut m.request.sampler_settings.s_tmin, value),
    },
    Field {
        key: "Sigma tmax",
        write: |m| m.request.sampler_settings.s_tmax.map(text_of),
        // A1111's 0 is no bound.
        read: |m, value| {
            let read = some(&mut m.request.sampler_settings.s_tmax, value);
            m.request.sampler_settings.s_tmax = m.request.sampler_settings.s_tmax.filter(|&s_tmax| s_tmax != 0.0);
            read
        },
    },
    Field {
        key: "Sigma noise",
        write: |m| setting(m, |s| s.s_noise),
        read: |m, value| number(&mut m.request.sampler_settings.s_noise, value),
    },
    Field {
        key: "Schedule min sigma",
        write: |m| m.request.sampler_settings.sigma_min.map(text_of),
        read: |m, value| some(&mut m.request.sampler_settings.sigma_min, value),
    },
    Field {
        key: "Schedule max sigma",
        write: |m| m.request.sampler_settings.sigma_max.map(text_of),
        read: |m, value| some(&mut m.request.sampler_settings.sigma_max, value),
    },
    Field {
        key: "Schedule rho",
        write: |m| m.request.sampler_settings.rho.map(text_of),
        read: |m, value| some(&mut m.request.sampler_settings.rho, value),
    },
    Field {
        key: "Beta schedule alpha",
        write: |m| setting(m, |s| s.beta_alpha),
        read: |m, value| number(&mut m.request.sampler_settings.beta_alpha, value),
    },
    Field {
        key: "Beta schedule beta",
        write: |m| setting(m, |s| s.beta_beta),
        read: |m, value| number(&mut m.request.sampler_settings.beta_beta, value),
    },
    Field {
        key: "Discard penultimate sigma",
        write: |m| if_true(m.request.sampler_settings.discard_next_to_last_sigma),
        read: |m, value| flag(&mut m.request.sampler_settings.discard_next_to_last_sigma, value),
    },
    Field {
        key: "SGM noise multiplier",
        write: |m| if_true(m.request.sampler_settings.sgm_noise_multiplier),
        read: |m, value| flag(&mut m.request.sampler_settings.sgm_noise_multiplier, value),
    },
    Field {
        key: "UniPC variant",
        write: |m| setting(m, |s| s.uni_pc_variant),
        read: |m, value| number(&mut m.request.sampler_settings.uni_pc_variant, value),
    },
    Field {
        key: "UniPC skip type",
        write: |m| setting(m, |s| s.uni_pc_skip_type),
        read: |m, value| number(&mut m.request.sampler_settings.uni_pc_skip_type, value),
    },
    Field {
        key: "UniPC order",
        write: |m| setting(m, |s| s.uni_pc_order),
        read: |m, value| number(&mut m.request.sampler_settings.uni_pc_order, value),
    },
    Field {
        key: "UniPC lower order final",
        write: |m| (!m.request.sampler_settings.uni_pc_lower_order_final).then(|| "False".to_owned()),
        read: |m, value| flag(&mut m.request.sampler_settings.uni_pc_lower_order_final, value),
    },
    Field {
        key: "Timestep spacing",
        write: |m| m.request.scheduler_settings.timestep_spacing.map(|value| value.to_string()),
        read: |m, value| some(&mut m.request.scheduler_settings.timestep_spacing, value),
    },
    Field {
        key: "Steps offset",
        write: |m| m.request.scheduler_settings.steps_offset.map(|value| value.to_string()),
        read: |m, value| some(&mut m.request.scheduler_settings.steps_offset, value),
    },
    Field {
        key: "Sigma spacing",
        write: |m| m.request.scheduler_settings.sigma_spacing.map(|value| value.to_string()),
        read: |m, value| some(&mut m.request.scheduler_settings.sigma_spacing, value),
    },
    Field {
        key: "Final sigmas type",
        write: |m| m.request.scheduler_settings.final_sigmas_type.map(|value| value.to_string()),
        read: |m, value| some(&mut m.request.scheduler_settings.final_sigmas_type, value),
    },
    Field {
        key: "Solver order",
        write: |m| m.request.scheduler_settings.solver_order.map(|value| value.to_string()),
        read: |m, value| some(&mut m.request.scheduler_settings.solver_order, value),
    },
    Field {
        key: "Solver type",
        write: |m| m.request.scheduler_settings.solver_type.map(|value| value.to_string()),
        read: |m, value| some(&mut m.request.scheduler_settings.solver_type, value),
    },
    Field {
        key: "Algorithm type",
        write: |m| m.request.scheduler_settings.algorithm_type.map(|value| value.to_string()),
        read: |m, value| some(&mut m.request.scheduler_settings.algorithm_type, value),
    },
    Field {
        key: "Lower order final",
        write: |m| m.request.scheduler_settings.lower_order_final.map(word),
        read: |m, value| some_flag(&mut m.request.scheduler_settings.lower_order_final, value),
    },
    Field {
        key: "Euler at final",
        write: |m| m.request.scheduler_settings.euler_at_final.map(word),
        read: |m, value| some_flag(&mut m.request.scheduler_settings.euler_at_final, value),
    },
    Field {
        key: "Set alpha to one",
        write: |m| m.request.scheduler_settings.set_alpha_to_one.map(word),
        read: |m, value| some_flag(&mut m.request.scheduler_settings.set_alpha_to_one, value),
    },
    Field {
        key: "Skip PRK steps",
        write: |m| m.request.scheduler_settings.skip_prk_steps.map(word),
        read: |m, value| some_flag(&mut m.request.scheduler_settings.skip_prk_steps, value),
    },
    Field {
        key: "Thresholding",
        write: |m| m.request.scheduler_settings.thresholding.map(word),
        read: |m, value| some_flag(&mut m.request.scheduler_settings.thresholding, value),
    },
    Field {
        key: "Dynamic thresholding ratio",
        write: |m| m.request.scheduler_settings.dynamic_thresholding_ratio.map(text_of),
        read: |m, value| some(&mut m.request.scheduler_settings.dynamic_thresholding_ratio, value),
    },
    Field {
        key: "Sample max value",
        write: |m| m.request.scheduler_settings.sample_max_value.map(text_of),
        read: |m, value| some(&mut m.request.scheduler_settings.sample_max_value, value),
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
            let hires = m.request.hires.as_ref().map(|hires| hires.strength);
            hires.or(m.request.init.as_ref().map(|init| init.strength)).map(|strength| strength.to_string())
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
        write: |m| m.inpaint().and_then(|inpaint| not(inpaint.conditioning_mask_strength, 1.0)).map(text_of),
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
        write: |m| m.request.hires.as_ref().map(|hires| format!("{}x{}", hires.width, hires.height)),
        read: |m, value| {
            let Some([width, height]) = size(value) else { return false };
            let hires = m.request.hires.get_or_insert_with(Hires::default);
            (hires.width, hires.height) = (width, height);
            true
        },
    },
    Field {
        key: "Hires upscale",
        write: |_| None,
        read: |m, value| {
            let Some(scale) = value.trim().parse().ok().filter(|scale| (1.0..=16.0).contains(scale)) else {
                return false;
            };
            let [width, height] = [m.request.width, m.request.height].map(Option::unwrap_or_default);
            let hires = m.request.hires.get_or_insert_with(Hires::default);
            (hires.width, hires.height) = (scaled(width, scale), scaled(height, scale));
            true
        },
    },
    Field {
        key: "Hires steps",
        write: |m| m.request.hires.as_ref()?.num_inference_steps.map(|steps| steps.to_string()),
        read: |m, value| {
            let mut steps = 0;
            let sound = number(&mut steps, value);
            m.request.hires.get_or_insert_with(Hires::default).num_inference_steps = Some(steps).filter(|_| sound);
            sound
        },
    },
    Field {
        key: "Hires upscaler",
        write: |m| {
            let hires = m.request.hires.as_ref()?;
            if let Some(network) = &hires.network {
                return Some(network.clone());
            }
            let upscaler = hires.upscaler;
            Upscaler::LABELS.iter().find(|(known, _)| *known == upscaler).map(|(_, label)| (*label).to_owned())
        },
        read: |m, value| {
            let known = Upscaler::LABELS.iter().find(|(_, label)| *label == value);
            // A network's result is nearest to that of a filter on pixels.
            let upscaler = known.map_or(Upscaler::Lanczos, |(upscaler, _)| *upscaler);
            m.request.hires.get_or_insert_with(Hires::default).upscaler = upscaler;
            known.is_some()
        },
    },
    Field {
        key: "Tiling",
        write: |m| match m.request.tiling {
            Tiling::None => None,
            Tiling::Xy => Some("True".to_owned()),
            Tiling::X => Some("x".to_owned()),
            Tiling::Y => Some("y".to_owned()),
        },
        read: |m, value| {
            m.request.tiling = match value.to_ascii_lowercase().as_str() {
                "true" | "xy" => Tiling::Xy,
                "x" => Tiling::X,
                "y" => Tiling::Y,
                other => return other == "false",
            };
            true
        },
    },
    Field {
        key: "Tiled Diffusion method",
        write: |m| {
            let method = m.request.tiles.as_ref()?.method;
            TileMethod::LABELS.iter().find(|(known, _)| *known == method).map(|(_, label)| (*label).to_owned())
        },
        read: |m, value| {
            let known = TileMethod::LABELS.iter().find(|(_, label)| *label == value);
            m.request.tiles = known.map(|&(method, _)| Tiles { method, ..Tiles::default() });
            known.is_some()
        },
    },
    tile_size!("Tiled Diffusion tile width", width),
    tile_size!("Tiled Diffusion tile height", height),
    tile_size!("Tiled Diffusion overlap", overlap),
    tile_size!("Tiled Diffusion batch size", batch_size),
    Field {
        key: "Variation seed",
        write: |m| m.request.variation_seed.map(|seed| seed.to_string()),
        read: |m, value| some(&mut m.request.variation_seed, value),
    },
    Field {
        key: "Variation seed strength",
        write: |m| m.request.variation_seed.map(|_| m.request.variation_strength.to_string()),
        read: |m, value| number(&mut m.request.variation_strength, value),
    },
    Field {
        key: "Seed resize from",
        write: |m| m.request.seed_resize.map(|[width, height]| format!("{width}x{height}")),
        read: |m, value| {
            let size = size(value);
            m.request.seed_resize = size.filter(|size| !size.contains(&0));
            size.is_some()
        },
    },
    Field {
        key: "Clip skip",
        write: |m| not(m.request.clip_skip, 1).map(|skip| skip.to_string()),
        read: |m, value| number(&mut m.request.clip_skip, value),
    },
    Field {
        key: "ENSD",
        write: |m| not(m.request.eta_noise_seed_delta, 0).map(|delta| delta.to_string()),
        read: |m, value| number(&mut m.request.eta_noise_seed_delta, value),
    },
    Field {
        key: "Noise multiplier",
        write: |m| not(m.request.init_noise_multiplier, 1.0).map(text_of),
        read: |m, value| number(&mut m.request.init_noise_multiplier, value),
    },
    Field {
        key: "Extra noise",
        write: |m| not(m.request.extra_noise, 0.0).map(text_of),
        read: |m, value| number(&mut m.request.extra_noise, value),
    },
    Field {
        key: "RNG",
        write: |m| Some(rng_label(m.request.rng).to_owned()),
        read: |m, value| {
            let read = value.parse().map(|rng| m.request.rng = rng);
            read.is_ok()
        },
    },
    Field {
        key: "Seed per",
        write: |m| m.batch.as_ref().map(BatchMetadata::to_text),
        read: |m, value| {
            m.batch = BatchMetadata::from_text(value);
            m.batch.is_some()
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
        write: |m| not(m.request.emphasis, Emphasis::Original).map(|emphasis| emphasis.label().to_owned()),
        read: |m, value| {
            let found = Emphasis::ALL.into_iter().find(|emphasis| emphasis.label() == value);
            found.map(|emphasis| m.request.emphasis = emphasis).is_some()
        },
    },
    Field {
        key: "Old prompt editing timelines",
        write: |m| if_true(m.request.old_prompt_editing),
        read: |m, value| flag(&mut m.request.old_prompt_editing, value),
    },
    Field {
        key: "Prompt style",
        write: |m| not(m.request.prompt_style, PromptStyle::Plain).map(|style| style.to_string()),
        read: |m, value| number(&mut m.request.prompt_style, value),
    },
    Field {
        key: "Version",
        write: |m| Some(format!("{OWN} {}", m.version)),
        read: |m, value| text(&mut m.version, value),
    },
];

/// Other names of settings, which programs after A1111 have.
const ALIASES: [(&str, &str); 1] = [("Scheduler", "Schedule type")];

/// The row of a setting, whatever the case of its name.
pub(super) fn find(name: &str) -> Option<&'static Field> {
    let is = |known: &str| known.eq_ignore_ascii_case(name);
    let own = ALIASES.iter().find(|(alias, _)| is(alias)).map_or(name, |(_, own)| *own);
    FIELDS.iter().find(|field| field.key.eq_ignore_ascii_case(own))
}

/// `512x768`.
fn size(value: &str) -> Option<[usize; 2]> {
    let (width, height) = value.split_once(['x', 'X', '×'])?;
    Some([width.trim().parse().ok()?, height.trim().parse().ok()?])
}

/// A1111 scales to whole multiples of 8.
fn scaled(side: usize, scale: f64) -> usize {
    (side as f64 * scale) as usize / 8 * 8
}

impl Metadata {
    fn inpaint(&self) -> Option<&Inpaint> {
        self.request.init.as_ref()?.inpaint.as_ref()
    }
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
fn rng_label(rng: Rng) -> &'static str {
    match rng {
        Rng::Cpu => "CPU",
        Rng::Cuda => "GPU",
        Rng::Nv => "NV",
        other => other.id(),
    }
}

/// Python's words.
fn flag(field: &mut bool, value: &str) -> bool {
    let known =
        [("True", true), ("False", false)].into_iter().find(|(word, _)| word.eq_ignore_ascii_case(value.trim()));
    known.map(|(_, value)| *field = value).is_some()
}

fn some_flag(field: &mut Option<bool>, value: &str) -> bool {
    let mut read = false;
    let sound = flag(&mut read, value);
    *field = field.filter(|_| !sound).or(sound.then_some(read));
    sound
}

/// Python's words.
fn word(value: bool) -> String {
    if value { "True".to_owned() } else { "False".to_owned() }
}

fn text_of(value: f64) -> String {
    value.to_string()
}

/// A value that is not as by default.
fn not<T: PartialEq>(value: T, default: T) -> Option<T> {
    (value != default).then_some(value)
}

/// A setting of the sampler that is not as by default.
fn setting<T: PartialEq + ToString>(metadata: &Metadata, of: impl Fn(&SamplerSettings) -> T) -> Option<String> {
    not(of(&metadata.request.sampler_settings), of(&SamplerSettings::default())).map(|value| value.to_string())
}

/// Python's word.
fn if_true(value: bool) -> Option<String> {
    value.then(|| "True".to_owned())
}

/// A1111 has an eta for the samplers that think in timesteps and one for the others.
fn is_ddim(metadata: &Metadata) -> bool {
    metadata.request.sampler.info().noise == StepNoise::Eta
}
