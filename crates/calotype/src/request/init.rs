//! Pictures to start from, and what of them is to change.

use calotype_diffusion::ScheduleKind;
use calotype_image::{Fit, GrayImage, RgbaImage};
use serde::{Deserialize, Serialize};

use super::{
    InputImage,
    choices::choices,
    json::{is_default, is_one},
};
use crate::{Error, Result};

/// An image to start from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Init {
    /// The image.
    pub picture: InputImage,
    /// How much of the way from noise is gone, 0 to 1: at 1 little of the image is left.
    #[serde(default = "default_strength")]
    pub strength: f64,
    /// Which steps that leaves.
    #[serde(skip_serializing_if = "is_default", default)]
    pub strength_rule: StrengthRule,
    /// How it comes to the size that is asked for.
    #[serde(default)]
    pub resize_mode: ResizeMode,
    /// What part of it is made anew; all of it if there is nothing here.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub inpaint: Option<Inpaint>,
    /// Pixels that are added at each side.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outpaint: Option<Sides>,
}

fn default_strength() -> f64 {
    0.75
}

impl Init {
    /// As diffusers has it: strength 0.75, the whole image.
    pub fn new(picture: InputImage) -> Self {
        Self {
            picture,
            strength: default_strength(),
            strength_rule: StrengthRule::default(),
            resize_mode: ResizeMode::default(),
            inpaint: None,
            outpaint: None,
        }
    }
}

choices! {
    /// Which steps a strength leaves.
    pub enum StrengthRule("strength rule") = Part {
        /// As diffusers counts; on the schedule compvis as CompVis counts
        Part = "part",
        /// As A1111 counts: one step more, with the order of noise draws of A1111
        A1111 = "a1111",
        /// All steps are taken (With img2img, do exactly the amount of steps the slider specifies); noise as with a1111
        Exact = "exact",
    }

    /// How an image comes to another shape; A1111's `resize_mode`.
    pub enum ResizeMode("resize mode") = JustResize {
        /// Stretched (Just resize)
        JustResize = "just-resize",
        /// Cropped evenly (Crop and resize)
        Crop = "crop",
        /// Fitted whole, its edges extended (Resize and fill)
        Fill = "fill",
        /// Encoded at its own size; the latents are stretched (Just resize, latent upscale)
        Latent = "latent",
    }

    /// What masked parts start from; A1111's `inpainting_fill`.
    pub enum Fill("fill") = Original {
        /// The surrounding colours, blurred
        Fill = "fill",
        /// The original image
        Original = "original",
        /// Noise
        LatentNoise = "latent-noise",
        /// Nothing: latents of 0
        LatentNothing = "latent-nothing",
    }
}

impl Init {
    /// What part of it is made anew: without more words, of one that grows the new sides, which begin with its edges.
    pub(crate) fn masking(&self) -> Option<Inpaint> {
        let grown = || Inpaint { mask_blur: 0.0, fill: Fill::Fill, ..Inpaint::new(None) };
        self.inpaint.clone().or_else(|| self.outpaint.map(|_| grown()))
    }

    /// Width and height of the picture with its new sides.
    pub(crate) fn size(&self) -> Result<[usize; 2]> {
        let picture = self.picture.rgba()?;
        let size = self.outpaint.unwrap_or_default().around([picture.width(), picture.height()]);
        Ok(size.map(|side| usize::try_from(side).unwrap_or(usize::MAX)))
    }

    /// Whether only the part around the mask is worked on.
    pub(crate) fn is_of_part(&self) -> bool {
        self.outpaint.is_none() && self.inpaint.as_ref().is_some_and(|inpaint| inpaint.only_masked_padding.is_some())
    }
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

/// What part of an image is made anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Inpaint {
    /// Where: white in this image, or transparent in the image itself without one.
    pub mask: Option<InputImage>,
    /// The standard deviation in pixels by which the mask's edge is blurred.
    pub mask_blur: f64,
    /// Black instead of white.
    pub invert_mask: bool,
    /// Whether the whole image is worked on, or only what is masked and so many pixels around it, at full size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_masked_padding: Option<u32>,
    /// What is put there to start from.
    pub fill: Fill,
    /// How much a model made for inpainting sees of the mask in the image beside its latents, 0 to 1: at 1, as it was
    /// trained, nothing of what is masked is left.
    #[serde(skip_serializing_if = "is_one")]
    pub conditioning_mask_strength: f64,
}

impl Default for Inpaint {
    /// As A1111 has it by default: transparent parts, blur 4, the whole image, its own content.
    fn default() -> Self {
        Self {
            mask: None,
            mask_blur: 4.0,
            invert_mask: false,
            only_masked_padding: None,
            fill: Fill::Original,
            conditioning_mask_strength: 1.0,
        }
    }
}

impl Inpaint {
    /// The default settings with a mask.
    pub fn new(mask: Option<InputImage>) -> Self {
        Self { mask, ..Self::default() }
    }

    /// The mask at the size of `picture`: 255 where it is made anew. Not blurred yet.
    ///
    /// # Errors
    /// It has other proportions than the picture.
    pub(crate) fn mask(&self, picture: &InputImage) -> Result<GrayImage> {
        let picture = picture.rgba()?;
        let mask = match &self.mask {
            Some(mask) => {
                let mask = mask_of(mask.rgba()?);
                check_proportions([mask.width(), mask.height()], [picture.width(), picture.height()])?;
                mask.resize(picture.width(), picture.height())?
            }
            None => GrayImage::transparency(picture),
        };
        Ok(if self.invert_mask { mask.map(|x| 255 - x) } else { mask })
    }

    /// Why nothing is masked at all, and what to do.
    pub(crate) fn nothing_masked(&self) -> &'static str {
        match (&self.mask, self.invert_mask) {
            (Some(_), false) => "the mask is empty, so nothing would change: paint white what is to be made anew",
            (Some(_), true) => {
                "the inverted mask is empty, so nothing would change: paint black in the mask what is to be made anew"
            }
            (None, false) => {
                "the picture has no transparent parts, so nothing would change: give a mask, or make transparent what is to be made anew"
            }
            (None, true) => {
                "the picture is transparent everywhere, so the inverted mask is empty: give a mask, or leave it as it is"
            }
        }
    }
}

/// A mask may be smaller or larger than its picture, but of the same proportions, give or take a pixel of rounding.
fn check_proportions(mask: [u32; 2], picture: [u32; 2]) -> Result<()> {
    let ([mask_width, mask_height], [width, height]) = (mask.map(u64::from), picture.map(u64::from));
    let rounding = mask.into_iter().chain(picture).max().unwrap_or(0);
    if (mask_width * height).abs_diff(mask_height * width) <= rounding.into() {
        return Ok(());
    }
    let message = format!(
        "the mask has {mask_width} x {mask_height} pixels and the picture {width} x {height}, which is another shape: give a mask of the picture's"
    );
    Err(Error::OutOfRange { field: "mask", message })
}

/// The brightness of a mask's picture; of one with transparent parts, where it is opaque (A1111's `create_binary_mask`).
fn mask_of(picture: &RgbaImage) -> GrayImage {
    let seen = GrayImage::transparency(picture).map(|x| if 255 - x > 128 { 255 } else { 0 });
    match seen.data().iter().all(|&x| x == 255) && picture.data().chunks_exact(4).all(|p| p[3] == 255) {
        true => GrayImage::from_rgb(&picture.over([0; 3])),
        false => seen,
    }
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
    pub(crate) fn around(self, [width, height]: [u32; 2]) -> [u64; 2] {
        let sum = |parts: [u32; 3]| parts.into_iter().map(u64::from).sum();
        [sum([self.left, width, self.right]), sum([self.top, height, self.bottom])]
    }
}
