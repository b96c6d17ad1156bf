//! Which layout a file has, told by its keys.

use calotype_formats::{Checkpoint, TensorInfo};

use super::{
    COMPVIS_OPEN_CLIP, COMPVIS_TEXT, COMPVIS_UNET, COMPVIS_VAE, Layout, Style, compvis_unet, compvis_vae,
    find_unwrapped, open_clip, taesd, unwrapped_name, without_dots, wrapper,
};
use crate::Component;

/// Which of the two sets of UNet weights of a training checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightSet {
    /// The moving average where there is one, else the raw weights.
    #[default]
    Auto,
    /// The exponential moving average.
    Ema,
    /// The weights as the last training step left them.
    Raw,
}

/// Before the names of the UNet, in whole checkpoints and in files of it alone.
const UNET_PREFIXES: [&str; 4] = [COMPVIS_UNET, "diffusion_model.", "unet.", ""];
const VAE_PREFIXES: [&str; 3] = [COMPVIS_VAE, "vae.", ""];
/// The first is of the old transformers, too, whose names have no `text_model.`.
const TEXT_PREFIXES: [&str; 4] = [COMPVIS_TEXT, "cond_stage_model.", "text_encoder.", ""];
const OPEN_CLIP_PREFIXES: [&str; 3] = [COMPVIS_OPEN_CLIP, "model.", ""];
/// `LitEma`'s, before names without dots.
const EMA_PREFIX: &str = "model_ema.diffusion_model";

/// `LitEma`'s own numbers.
const EMA_COUNTERS: [&str; 2] = ["model_ema.decay", "model_ema.num_updates"];
/// What trainers call the state of optimisers: Lightning, and those that save by hand.
const OPTIMIZERS: [&str; 4] = ["optimizer_states", "optimizer", "optimizers", "optimizer_state_dict"];

/// The first tensor of CompVis' UNet.
const UNET_FIRST: &str = "input_blocks.0.0.weight";

impl Layout {
    /// How `file` names the tensors of a network; none if it does not have it (or not the set of weights asked for).
    #[must_use]
    pub fn detect(file: &Checkpoint, component: Component, weights: WeightSet) -> Option<Self> {
        match component {
            Component::UNet => match weights {
                WeightSet::Auto => ema_unet(file).or_else(|| raw_unet(file)),
                WeightSet::Ema => ema_unet(file),
                WeightSet::Raw => raw_unet(file),
            },
            Component::Vae => find(file, &VAE_PREFIXES, "decoder.up.0.block.0.norm1.weight", |prefix| {
                Style::CompVisVae(compvis_vae::levels(has(file, prefix)))
            })
            .or_else(|| folder(file, &VAE_PREFIXES, "decoder.up_blocks.0.resnets.0.norm1.weight", component))
            .or_else(|| folder(file, &VAE_PREFIXES, "decoder.layers.0.weight", component))
            .or_else(|| find(file, &VAE_PREFIXES, &format!("{}1.weight", taesd::DECODER), |_| Style::Taesd)),
            Component::TextEncoder | Component::TextEncoder2 => {
                let attention = "transformer.resblocks.0.attn.in_proj_weight";
                find(file, &OPEN_CLIP_PREFIXES, attention, |_| Style::OpenClip)
                    .or_else(|| folder(file, &TEXT_PREFIXES, "text_model.embeddings.token_embedding.weight", component))
                    .or_else(|| folder(file, &TEXT_PREFIXES, "embeddings.token_embedding.weight", component))
            }
        }
    }

    /// How a file of a diffusers folder names the tensors of its network.
    #[must_use]
    pub fn of_folder(file: &Checkpoint, component: Component) -> Self {
        let detected = Self::detect(file, component, WeightSet::Raw);
        detected.filter(|layout| layout.style == Style::Folder(component)).unwrap_or_else(|| Self::folder(component))
    }

    /// A tensor in `file` by which this network computes what the one of its canonical names does not: attention in a
    /// VAE outside its middle.
    pub(crate) fn foreign<'a>(&self, file: &'a Checkpoint) -> Option<&'a TensorInfo> {
        let blocks = ["encoder.down.", "decoder.up."];
        let is_foreign = |tensor: &&TensorInfo| {
            let name = tensor.name.strip_prefix(&self.prefix);
            name.is_some_and(|name| name.contains(".attn.") && blocks.iter().any(|block| name.starts_with(block)))
        };
        if matches!(self.style, Style::CompVisVae(_)) { file.tensors().find(is_foreign) } else { None }
    }

    /// Whether it is of an `AutoencoderTiny` in `file`.
    #[must_use]
    pub fn is_tiny_vae(&self, file: &Checkpoint) -> bool {
        matches!(self.style, Style::Taesd | Style::Folder(Component::Vae))
            && self.places("decoder.layers.0.weight").iter().any(|place| file.get(&place.key).is_some())
    }

    /// Whether a text tower of OpenCLIP's is whole in `file`.
    pub(crate) fn has_projection(&self, file: &Checkpoint) -> bool {
        has(file, &self.prefix)(open_clip::PROJECTION)
    }
}

/// Buffers of CompVis' `DDPM` that say the noise of each timestep.
const SCHEDULE: [&str; 13] = [
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "lvlb_weights",
];

/// Whether a name is of such a buffer.
pub(super) fn is_schedule(name: &str) -> bool {
    SCHEDULE.contains(&name)
}

/// What a tensor of a CompVis checkpoint is that no network computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuxiliaryKind {
    /// Of the text encoder: OpenCLIP's last layer and projection, CLIP's numbers of positions.
    Text,
    /// The noise of each timestep.
    Schedule,
    /// The moving average.
    Ema,
    /// The state of an optimiser.
    Optimizer,
    /// A mark: what the UNet predicts, what the noise is.
    Mark,
    /// None of these.
    Other,
}

impl AuxiliaryKind {
    /// By the key.
    #[must_use]
    pub fn of(key: &str) -> Self {
        let key = unwrapped_name(key);
        let first = key.split('.').next().unwrap_or(key);
        match key {
            _ if key.starts_with("cond_stage_model.") => Self::Text,
            _ if is_schedule(key) => Self::Schedule,
            _ if key.starts_with("model_ema.") => Self::Ema,
            _ if OPTIMIZERS.contains(&first) => Self::Optimizer,
            "v_pred" | "ztsnr" => Self::Mark,
            _ => Self::Other,
        }
    }
}

/// What stands before the names of the moving average.
fn ema_prefix(file: &Checkpoint) -> Option<String> {
    let first = format!("{EMA_PREFIX}{}", without_dots(UNET_FIRST));
    wrapper::prefix(file, &[""], &first).map(|before| format!("{before}{EMA_PREFIX}"))
}

/// Whether `file` has the moving average of a UNet's weights.
#[must_use]
pub fn has_ema(file: &Checkpoint) -> bool {
    ema_prefix(file).is_some()
}

/// Whether `file` has a UNet's weights as such.
#[must_use]
pub fn has_raw(file: &Checkpoint) -> bool {
    raw_unet(file).is_some()
}

/// Whether what CompVis' `scripts/prune-ckpt.py` leaves of a moving average is in `file`: its decay and count, but not its
/// weights, which it put in the place of the raw ones.
#[must_use]
pub fn is_pruned_to_ema(file: &Checkpoint) -> bool {
    !has_ema(file) && EMA_COUNTERS.iter().any(|key| find_unwrapped(file, key).is_some())
}

/// Whether the state of an optimiser is in `file`, which is there only as the training left it.
#[must_use]
pub fn has_optimizer(file: &Checkpoint) -> bool {
    let is = |name: &str| OPTIMIZERS.contains(&name.split('.').next().unwrap_or(name));
    file.extras().iter().any(|extra| is(&extra.name) && extra.bytes > 0) || file.tensors().any(|t| is(&t.name))
}

fn ema_unet(file: &Checkpoint) -> Option<Layout> {
    let prefix = ema_prefix(file)?;
    let levels = compvis_unet::levels(|name| has(file, &prefix)(&without_dots(name)));
    Some(Layout { prefix, style: Style::CompVisUNet { levels, ema: true } })
}

fn raw_unet(file: &Checkpoint) -> Option<Layout> {
    let compvis = |prefix: &str| Style::CompVisUNet { levels: compvis_unet::levels(has(file, prefix)), ema: false };
    find(file, &UNET_PREFIXES, UNET_FIRST, compvis)
        .or_else(|| folder(file, &UNET_PREFIXES, "down_blocks.0.resnets.0.conv1.weight", Component::UNet))
}

fn has<'a>(file: &'a Checkpoint, prefix: &'a str) -> impl Fn(&str) -> bool + 'a {
    move |name| file.get(&format!("{prefix}{name}")).is_some()
}

/// The layout of `style` after the first of the `prefixes` with which `file` has the tensor `first`.
fn find(file: &Checkpoint, prefixes: &[&str], first: &str, style: impl Fn(&str) -> Style) -> Option<Layout> {
    let prefix = wrapper::prefix(file, prefixes, first)?;
    Some(Layout { style: style(&prefix), prefix })
}

fn folder(file: &Checkpoint, prefixes: &[&str], first: &str, component: Component) -> Option<Layout> {
    find(file, prefixes, first, |_| Style::Folder(component))
}
