//! Every checkpoint key map.
//!
//! A network asks for its parameters by the names of today's diffusers folders (`text_model.…` for the text encoder,
//! which all versions of transformers read): its canonical names. This module knows what the same tensors are called
//! elsewhere, tells which of the layouts a file has, and so serves reading and writing alike: a [`Layout`] maps each
//! canonical name to its [`Place`] in a file.

pub(crate) mod adapter;
mod compvis_unet;
mod compvis_vae;
mod detect;
mod folder;
mod kind;
pub(crate) mod layer;
mod open_clip;
mod taesd;
mod upscaler;
pub(crate) mod vision;
mod wrapper;

pub use compvis_unet::UNetLevel;
pub use detect::{AuxiliaryKind, WeightSet, has_ema, has_optimizer, has_raw, is_pruned_to_ema};
pub use kind::{AdapterForm, FileKind};
pub use layer::LayerKind;
pub use taesd::TaesdHalf;
pub use upscaler::UpscalerKind;
pub use wrapper::{find_unwrapped, unwrapped_name};

use crate::Component;

/// How a file names the tensors of one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// What stands before every name.
    prefix: String,
    style: Style,
}

/// The names after the prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Style {
    /// Those of diffusers and transformers.
    Folder(Component),
    /// CompVis' `UNetModel`.
    CompVisUNet {
        /// From the highest resolution down.
        levels: Vec<UNetLevel>,
        /// Whether it is the copy of `LitEma`, whose names have no dots.
        ema: bool,
    },
    /// CompVis' `AutoencoderKL`, with so many resolutions.
    CompVisVae(usize),
    /// TAESD's halves.
    Taesd,
    /// OpenCLIP's text tower.
    OpenClip,
    /// A network for super-resolution.
    Upscaler(upscaler::Names),
}

/// Where a parameter is in a file: a tensor, or one of the equal parts of its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The tensor's name.
    pub key: String,
    /// Which of how many parts, if the tensor holds several parameters one after the other.
    pub part: Option<(usize, usize)>,
}

impl Place {
    fn whole(key: String) -> Self {
        Self { key, part: None }
    }
}

/// What CompVis puts before the names of each network in a whole checkpoint.
pub(crate) const COMPVIS_UNET: &str = "model.diffusion_model.";
pub(crate) const COMPVIS_VAE: &str = "first_stage_model.";
pub(crate) const COMPVIS_TEXT: &str = "cond_stage_model.transformer.";
pub(crate) const COMPVIS_OPEN_CLIP: &str = "cond_stage_model.model.";

impl Layout {
    /// That of a diffusers folder.
    #[must_use]
    pub fn folder(component: Component) -> Self {
        Self { prefix: String::new(), style: Style::Folder(component) }
    }

    /// The UNet of a CompVis checkpoint.
    #[must_use]
    pub fn compvis_unet(levels: Vec<UNetLevel>) -> Self {
        Self { prefix: COMPVIS_UNET.into(), style: Style::CompVisUNet { levels, ema: false } }
    }

    /// The autoencoder of a CompVis checkpoint, with so many resolutions.
    #[must_use]
    pub fn compvis_vae(levels: usize) -> Self {
        Self { prefix: COMPVIS_VAE.into(), style: Style::CompVisVae(levels) }
    }

    /// The text encoder of a CompVis checkpoint: CLIP's (Stable Diffusion 1).
    #[must_use]
    pub fn compvis_text() -> Self {
        Self { prefix: COMPVIS_TEXT.into(), style: Style::Folder(Component::TextEncoder) }
    }

    /// The text encoder of a CompVis checkpoint: OpenCLIP's (Stable Diffusion 2).
    #[must_use]
    pub fn compvis_open_clip() -> Self {
        Self { prefix: COMPVIS_OPEN_CLIP.into(), style: Style::OpenClip }
    }

    /// Whether it is OpenCLIP's.
    #[must_use]
    pub fn is_open_clip(&self) -> bool {
        self.style == Style::OpenClip
    }

    /// Whether it is the EMA copy of a training checkpoint.
    #[must_use]
    pub fn is_ema(&self) -> bool {
        matches!(self.style, Style::CompVisUNet { ema: true, .. })
    }

    /// `diffusers`, `compvis`, `open_clip`, `taesd`, or an upscaler's naming: `esrgan`, `bsrgan` or `own`.
    #[must_use]
    pub fn id(&self) -> &'static str {
        match &self.style {
            Style::Folder(_) => "diffusers",
            Style::CompVisUNet { .. } | Style::CompVisVae(_) => "compvis",
            Style::OpenClip => "open_clip",
            Style::Taesd => "taesd",
            Style::Upscaler(names) => names.id(),
        }
    }

    /// Where a file may have the parameter of this canonical name, the likeliest first (which is the one to write).
    /// None if such a network has no such parameter.
    #[must_use]
    pub fn places(&self, name: &str) -> Vec<Place> {
        let prefixed =
            |names: Vec<String>| names.into_iter().map(|name| Place::whole(format!("{}{name}", self.prefix))).collect();
        let mut places: Vec<Place> = match &self.style {
            Style::Folder(Component::UNet) => prefixed(vec![name.to_owned()]),
            Style::Folder(Component::Vae) => prefixed(folder::vae(name)),
            Style::Folder(Component::TextEncoder | Component::TextEncoder2) => prefixed(folder::text_encoder(name)),
            Style::CompVisUNet { levels, ema } => {
                let names = compvis_unet::names(name, levels);
                prefixed(if *ema { names.into_iter().map(|name| without_dots(&name)).collect() } else { names })
            }
            Style::CompVisVae(levels) => prefixed(compvis_vae::names(name, *levels)),
            Style::Taesd => prefixed(taesd::name(name).into_iter().collect()),
            Style::Upscaler(names) => prefixed(vec![names.name(name)]),
            Style::OpenClip => {
                let place = open_clip::place(name);
                place.map(|(name, part)| Place { key: format!("{}{name}", self.prefix), part }).into_iter().collect()
            }
        };
        let fused: Vec<Place> = places.iter().flat_map(|place| fused(&place.key)).collect();
        places.extend(fused);
        places
    }

    /// A tensor's name without what stands before every name.
    pub(crate) fn own_name<'a>(&self, key: &'a str) -> Option<&'a str> {
        key.strip_prefix(&self.prefix)
    }

    /// The likeliest name in a file of the parameter of this canonical name, for messages.
    pub(crate) fn key(&self, name: &str) -> String {
        self.places(name).into_iter().next().map_or_else(|| name.to_owned(), |place| place.key)
    }

    /// Whether `key` may be in a file of this network alone though the network does not ask for it.
    pub(crate) fn ignores(&self, key: &str) -> bool {
        let is_text_encoder = self.style == Style::Folder(Component::TextEncoder);
        match key.strip_prefix(&self.prefix) {
            Some(own) => is_beside_weights(own) || (is_text_encoder && folder::text_encoder_ignores(own)),
            None => false,
        }
    }
}

/// Where diffusers' `fuse_qkv_projections` puts the parts of an attention: queries, keys and values in one tensor, of attention
/// to the text keys and values in another.
const FUSED: [(&str, &str, (usize, usize)); 5] = [
    (".to_q.", ".to_qkv.", (0, 3)),
    (".to_k.", ".to_qkv.", (1, 3)),
    (".to_v.", ".to_qkv.", (2, 3)),
    (".to_k.", ".to_kv.", (0, 2)),
    (".to_v.", ".to_kv.", (1, 2)),
];

/// The fused tensors that may have a part of an attention.
fn fused(key: &str) -> impl Iterator<Item = Place> {
    let (at, own) = key.rmatch_indices('.').nth(1).map_or((0, ""), |(at, _)| (at, &key[at..]));
    FUSED.iter().filter_map(move |(part, whole, place)| {
        let last = own.strip_prefix(part)?;
        Some(Place { key: format!("{}{whole}{last}", &key[..at]), part: Some(*place) })
    })
}

/// Whether a tensor is none of a layer's: no weight and no bias, but a buffer, a scale or a mark; or a fused copy of weights
/// that are there as well.
fn is_beside_weights(name: &str) -> bool {
    let is_fused = |whole: &str| name.contains(whole);
    !(name.ends_with(".weight") || name.ends_with(".bias")) || is_fused(".to_qkv.") || is_fused(".to_kv.")
}

/// As `LitEma` writes names, which must be those of attributes.
fn without_dots(name: &str) -> String {
    name.replace('.', "")
}

/// `42.rest` as a number and the rest.
fn numbered(text: &str) -> Option<(usize, &str)> {
    let (number, rest) = text.split_once('.')?;
    Some((number.parse().ok()?, rest))
}
