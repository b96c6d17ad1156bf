//! Which layout a file has, told by its keys.

use calotype_formats::Checkpoint;

use super::{
    COMPVIS_OPEN_CLIP, COMPVIS_TEXT, COMPVIS_UNET, COMPVIS_VAE, Layout, Names, Style, compvis_unet, compvis_vae,
    open_clip, without_dots,
};

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

/// The first tensor of CompVis' UNet.
const UNET_FIRST: &str = "input_blocks.0.0.weight";

impl Layout {
    /// How `file` names the tensors of a network; none if it does not have it (or not the set of weights asked for).
    #[must_use]
    pub fn detect(file: &Checkpoint, names: Names, weights: WeightSet) -> Option<Self> {
        match names {
            Names::UNet => match weights {
                WeightSet::Auto => ema_unet(file).or_else(|| raw_unet(file)),
                WeightSet::Ema => ema_unet(file),
                WeightSet::Raw => raw_unet(file),
            },
            Names::Vae => find(file, &VAE_PREFIXES, "decoder.up.0.block.0.norm1.weight", |prefix| {
                Style::CompVisVae(compvis_vae::levels(has(file, prefix)))
            })
            .or_else(|| folder(file, &VAE_PREFIXES, "decoder.up_blocks.0.resnets.0.norm1.weight", names)),
            Names::TextEncoder => {
                let attention = "transformer.resblocks.0.attn.in_proj_weight";
                find(file, &OPEN_CLIP_PREFIXES, attention, |_| Style::OpenClip)
                    .or_else(|| folder(file, &TEXT_PREFIXES, "text_model.embeddings.token_embedding.weight", names))
                    .or_else(|| folder(file, &TEXT_PREFIXES, "embeddings.token_embedding.weight", names))
            }
        }
    }

    /// Whether a text tower of OpenCLIP's is whole in `file`.
    pub(crate) fn has_projection(&self, file: &Checkpoint) -> bool {
        has(file, &self.prefix)(open_clip::PROJECTION)
    }
}

/// Whether `file` has the moving average of a UNet's weights.
#[must_use]
pub fn has_ema(file: &Checkpoint) -> bool {
    file.get(&format!("{EMA_PREFIX}{}", without_dots(UNET_FIRST))).is_some()
}

/// Whether `file` has a UNet's weights as such.
#[must_use]
pub fn has_raw(file: &Checkpoint) -> bool {
    raw_unet(file).is_some()
}

fn ema_unet(file: &Checkpoint) -> Option<Layout> {
    let has = |name: &str| has(file, EMA_PREFIX)(&without_dots(name));
    has_ema(file).then(|| Layout {
        prefix: EMA_PREFIX.into(),
        style: Style::CompVisUNet { levels: compvis_unet::levels(has), ema: true },
    })
}

fn raw_unet(file: &Checkpoint) -> Option<Layout> {
    let compvis = |prefix: &str| Style::CompVisUNet { levels: compvis_unet::levels(has(file, prefix)), ema: false };
    find(file, &UNET_PREFIXES, UNET_FIRST, compvis)
        .or_else(|| folder(file, &UNET_PREFIXES, "down_blocks.0.resnets.0.conv1.weight", Names::UNet))
}

fn has<'a>(file: &'a Checkpoint, prefix: &'a str) -> impl Fn(&str) -> bool + 'a {
    move |name| file.get(&format!("{prefix}{name}")).is_some()
}

/// The layout of `style` after the first of the `prefixes` with which `file` has the tensor `first`.
fn find(file: &Checkpoint, prefixes: &[&str], first: &str, style: impl Fn(&str) -> Style) -> Option<Layout> {
    let prefix = *prefixes.iter().find(|prefix| has(file, prefix)(first))?;
    Some(Layout { prefix: prefix.to_owned(), style: style(prefix) })
}

fn folder(file: &Checkpoint, prefixes: &[&str], first: &str, names: Names) -> Option<Layout> {
    find(file, prefixes, first, |_| Style::Folder(names))
}
