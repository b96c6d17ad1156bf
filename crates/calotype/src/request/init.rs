//! Pictures to start from, and what of them is to change.

use std::path::Path;

use calotype_checkpoint::{hash, show};
use calotype_diffusion::ScheduleKind;
use calotype_image::{Fit, GrayImage, Limits, RgbImage, RgbaImage, decode_rgba, read_limited};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A file, and what must be in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    /// Its path, as it was given.
    pub file: String,
    /// The SHA-256 of its bytes, 64 hexadecimal digits.
    pub sha256: String,
}

/// A picture and the file it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct PictureFile {
    /// The file.
    pub reference: FileRef,
    /// What is in it.
    pub picture: RgbaImage,
}

impl PictureFile {
    /// Reads a PNG, JPEG or WebP file.
    ///
    /// # Errors
    /// It can't be read, is too large, or is no such picture.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let limits = Limits::default();
        let bytes = read_limited(path, &limits)?;
        let picture = decode_rgba(&bytes, &limits).map_err(|error| Error::file(show(path), error.to_string()))?;
        let reference = FileRef { file: path.display().to_string(), sha256: hash::of_bytes(&bytes) };
        Ok(Self { reference, picture })
    }

    /// Reads the file of a reference again.
    ///
    /// # Errors
    /// As [`Self::open`], or the file is no longer the same.
    pub fn reopen(reference: &FileRef) -> Result<Self> {
        let file = Self::open(&reference.file)?;
        if file.reference.sha256 == reference.sha256 {
            return Ok(file);
        }
        let [found, expected] = [&file.reference, reference].map(|r| r.sha256.chars().take(10).collect::<String>());
        let problem = format!(
            "its SHA-256 begins {found}, but the picture was made from one that begins {expected}: give that file"
        );
        Err(Error::file(show(Path::new(&reference.file)), problem))
    }

    /// The picture, transparent parts laid over white.
    #[must_use]
    pub fn rgb(&self) -> RgbImage {
        self.picture.over([255; 3])
    }
}

/// A picture to start from. `P` is the picture's file, or a reference to it in metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Init<P = PictureFile> {
    /// The picture.
    pub picture: P,
    /// How much of the way from noise is gone, 0 to 1: at 1 little of the picture is left.
    pub strength: f64,
    /// Which steps that leaves.
    #[serde(skip_serializing_if = "is_default", default)]
    pub strength_rule: StrengthRule,
    /// How it comes to the size that is asked for.
    pub resize_mode: ResizeMode,
    /// What of it is made anew; all of it if there is nothing here.
    #[serde(skip_serializing_if = "Option::is_none", default = "none")]
    pub inpaint: Option<Inpaint<P>>,
    /// Pixels that are added at each side.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outpaint: Option<Sides>,
}

fn none<P>() -> Option<Inpaint<P>> {
    None
}

impl<P> Init<P> {
    /// As diffusers has it: strength 0.75, the whole picture.
    pub fn new(picture: P) -> Self {
        Self {
            picture,
            strength: 0.75,
            strength_rule: StrengthRule::default(),
            resize_mode: ResizeMode::default(),
            inpaint: None,
            outpaint: None,
        }
    }

    /// The same with other pictures.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn try_map<Q, E>(&self, f: impl Fn(&P) -> Result<Q, E>) -> Result<Init<Q>, E> {
        let picture = f(&self.picture)?;
        let inpaint = self.inpaint.as_ref().map(|inpaint| inpaint.try_map(&f)).transpose()?;
        let Self { strength, strength_rule, resize_mode, outpaint, .. } = *self;
        Ok(Init { picture, strength, strength_rule, resize_mode, inpaint, outpaint })
    }
}

/// Whether a setting goes without saying.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Which steps a strength leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StrengthRule {
    /// The part of the steps that it says, counted as diffusers does; as CompVis does on the schedule `compvis`.
    #[default]
    Part,
    /// The part of the steps that it says, counted as A1111 does: one more. The noise over the picture is then the seed's first,
    /// and that of its steps the next, as there.
    A1111,
    /// All of the steps, which are the last of as many more as it says, noise as with [`Self::A1111`]; A1111's "With img2img, do
    /// exactly the amount of steps the slider specifies".
    Exact,
}

impl StrengthRule {
    /// Whether noise is drawn in A1111's order.
    pub(crate) fn is_a1111(self) -> bool {
        self != Self::Part
    }

    /// How steps are counted; none where all are taken.
    pub(crate) fn rule(self, schedule: ScheduleKind) -> Option<calotype_diffusion::StrengthRule> {
        use calotype_diffusion::StrengthRule::{A1111, Compvis, Diffusers};
        match self {
            Self::Part if schedule == ScheduleKind::Compvis => Some(Compvis),
            Self::Part => Some(Diffusers),
            Self::A1111 => Some(A1111),
            Self::Exact => None,
        }
    }
}

/// How a picture comes to another shape; A1111's `resize_mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResizeMode {
    /// Stretched.
    #[default]
    JustResize,
    /// Cut off evenly.
    Crop,
    /// Seen whole, its edges going on outwards.
    Fill,
    /// Encoded at its own size; the latents are stretched.
    Latent,
}

impl ResizeMode {
    /// What is done with pixels. For [`Self::Latent`] it is what is done with the mask.
    pub(crate) fn fit(self) -> Fit {
        match self {
            Self::JustResize | Self::Latent => Fit::Stretch,
            Self::Crop => Fit::Crop,
            Self::Fill => Fit::Fill,
        }
    }
}

/// What of a picture is made anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inpaint<P = PictureFile> {
    /// Where: white in this picture, or transparent in the picture itself without one.
    pub mask: Option<P>,
    /// The standard deviation in pixels by which the mask's edge is blurred.
    pub mask_blur: f64,
    /// Black instead of white.
    pub invert_mask: bool,
    /// Whether the whole picture is worked on, or only what is masked and so many pixels around it, at full size.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub only_masked_padding: Option<u32>,
    /// What is put there to start from.
    pub fill: Fill,
    /// How much a model made for inpainting sees of the mask in the picture beside its latents, 0 to 1: at 1, as it was
    /// trained, nothing of what is masked is left.
    #[serde(skip_serializing_if = "is_one", default = "one")]
    pub conditioning_mask_strength: f64,
}

fn one() -> f64 {
    1.0
}

/// The same where it is 1.
pub(crate) fn is_one(value: &f64) -> bool {
    *value == one()
}

impl<P> Inpaint<P> {
    /// As A1111 has it by default: blur 4, the whole picture, its own content.
    pub fn new(mask: Option<P>) -> Self {
        Self {
            mask,
            mask_blur: 4.0,
            invert_mask: false,
            only_masked_padding: None,
            fill: Fill::Original,
            conditioning_mask_strength: one(),
        }
    }

    fn try_map<Q, E>(&self, f: impl Fn(&P) -> Result<Q, E>) -> Result<Inpaint<Q>, E> {
        let Self { mask_blur, invert_mask, only_masked_padding, fill, conditioning_mask_strength, .. } = *self;
        let mask = self.mask.as_ref().map(f).transpose()?;
        Ok(Inpaint { mask, mask_blur, invert_mask, only_masked_padding, fill, conditioning_mask_strength })
    }
}

impl Inpaint {
    /// The mask at the size of `picture`: 255 where it is made anew. Not blurred yet.
    pub(crate) fn mask(&self, picture: &PictureFile) -> Result<GrayImage> {
        let (width, height) = (picture.picture.width(), picture.picture.height());
        let mask = match &self.mask {
            Some(mask) => mask_of(&mask.picture).resize(width, height)?,
            None => GrayImage::transparency(&picture.picture),
        };
        Ok(if self.invert_mask { mask.map(|x| 255 - x) } else { mask })
    }
}

/// The brightness of a mask's picture; of one with transparent parts, where it is opaque (A1111's `create_binary_mask`).
fn mask_of(picture: &RgbaImage) -> GrayImage {
    let seen = GrayImage::transparency(picture).map(|x| if 255 - x > 128 { 255 } else { 0 });
    match seen.data().iter().all(|&x| x == 255) && picture.data().chunks_exact(4).all(|p| p[3] == 255) {
        true => GrayImage::from_rgb(&picture.over([0; 3])),
        false => seen,
    }
}

/// What masked parts start from; A1111's `inpainting_fill`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fill {
    /// The colours around, blurred.
    Fill,
    /// What is there.
    #[default]
    Original,
    /// Noise in place of the latents.
    LatentNoise,
    /// Latents of 0.
    LatentNothing,
}

/// Pixels at the sides of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sides {
    /// To the left.
    pub left: u32,
    /// To the right.
    pub right: u32,
    /// Above.
    pub top: u32,
    /// Below.
    pub bottom: u32,
}

impl Sides {
    /// The size of a picture with these sides.
    pub(crate) fn around(self, width: u32, height: u32) -> [u64; 2] {
        let sum = |parts: [u32; 3]| parts.into_iter().map(u64::from).sum();
        [sum([self.left, width, self.right]), sum([self.top, height, self.bottom])]
    }
}
