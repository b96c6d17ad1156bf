//! A picture to start from.

use std::path::{Path, PathBuf};

use calotype::request::{Fill, Init, Inpaint, InputImage, ResizeMode, Sides, StrengthRule};
use clap::Args;

use super::Given;
use crate::args::choices::{Choice, choices};

const AREAS: &[Choice<Area>] = &[
    (Area::Whole, "whole", "The whole picture"),
    (Area::Masked, "masked", "The masked part with --padding around it, at full size"),
];

/// What the sampler works on.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Area {
    Whole,
    Masked,
}

/// A picture to start from.
#[derive(Args)]
#[command(next_help_heading = "Picture to start from")]
pub(crate) struct InitArgs {
    /// Image to start from: a PNG, JPEG, WebP, GIF, BMP or TIFF file, or a folder of them
    #[arg(long, value_name = "FILE", alias = "init_img")]
    pub(crate) init_img: PathBuf,
    #[command(flatten)]
    pub(crate) strength: StrengthArgs,
    /// How the image is resized (Resize mode)
    #[arg(long, value_name = "MODE", value_parser = choices(ResizeMode::CHOICES), default_value_t)]
    pub(crate) resize_mode: ResizeMode,
}

/// How far a picture may change.
#[derive(Args)]
pub(crate) struct StrengthArgs {
    /// How far the image may change, 0 to 1: the fraction of the steps that is taken (Denoising strength)
    #[arg(long, value_name = "X", default_value_t = 0.75, alias = "denoising-strength")]
    pub(crate) strength: f64,
    /// How --strength becomes a number of steps
    #[arg(long, value_name = "RULE", value_parser = choices(StrengthRule::CHOICES), default_value_t)]
    pub(crate) strength_rule: StrengthRule,
}

impl StrengthArgs {
    /// Changes what was given.
    pub(crate) fn change(&self, init: &mut Init, given: &Given) {
        given.set("strength", &mut init.strength, self.strength);
        given.set("strength_rule", &mut init.strength_rule, self.strength_rule);
    }
}

impl InitArgs {
    pub(crate) fn init(&self, picture: &Path) -> Result<Init, calotype::Error> {
        let init = Init::new(InputImage::open(picture)?);
        Ok(Init {
            strength: self.strength.strength,
            strength_rule: self.strength.strength_rule,
            resize_mode: self.resize_mode,
            ..init
        })
    }
}

/// Which part of an image is generated.
#[derive(Args)]
#[command(next_help_heading = "Mask")]
pub(crate) struct MaskArgs {
    /// Mask: an image that is white where to generate; if it has transparent parts, opaque there
    #[arg(long, value_name = "FILE", required_unless_present = "mask_from_alpha")]
    pub(crate) mask: Option<PathBuf>,
    /// Generate where --init-img is transparent
    #[arg(long, conflicts_with = "mask")]
    pub(crate) mask_from_alpha: bool,
    /// Generate where the mask is black (Inpaint not masked)
    #[arg(long)]
    pub(crate) invert_mask: bool,
    /// Blur of the mask, in pixels (Mask blur)
    #[arg(long, value_name = "X", default_value_t = 4.0)]
    pub(crate) mask_blur: f64,
    /// What the sampler works on (Inpaint area)
    #[arg(long, value_name = "AREA", value_parser = choices(AREAS), default_value = "whole")]
    pub(crate) inpaint_area: Area,
    /// Pixels around the mask that --inpaint-area masked includes (Only masked padding)
    #[arg(long, value_name = "PIXELS", default_value_t = 32)]
    pub(crate) padding: u32,
    /// What masked parts start from (Masked content)
    #[arg(long, value_name = "FILL", value_parser = choices(Fill::CHOICES), default_value_t)]
    pub(crate) fill: Fill,
    /// How strongly the mask is cut out of the image that an inpainting model sees, 0 to 1 (Inpainting conditioning mask strength)
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub(crate) conditioning_mask_strength: f64,
}

impl MaskArgs {
    pub(crate) fn inpaint(&self) -> Result<Inpaint, calotype::Error> {
        let mask = self.mask.as_ref().map(InputImage::open).transpose()?;
        Ok(Inpaint {
            mask_blur: self.mask_blur,
            invert_mask: self.invert_mask,
            conditioning_mask_strength: self.conditioning_mask_strength,
            only_masked_padding: (self.inpaint_area == Area::Masked).then_some(self.padding),
            fill: self.fill,
            ..Inpaint::new(mask)
        })
    }
}

/// An image that is extended.
#[derive(Args)]
#[command(next_help_heading = "Picture to start from")]
pub(crate) struct OutpaintArgs {
    /// Image to start from: a PNG, JPEG, WebP, GIF, BMP or TIFF file, or a folder of them
    #[arg(long, value_name = "FILE", alias = "init_img")]
    pub(crate) init_img: PathBuf,
    /// Pixels to add to the left
    #[arg(long, value_name = "PIXELS", default_value_t = 0, hide_default_value = true)]
    pub(crate) left: u32,
    /// Pixels to add to the right
    #[arg(long, value_name = "PIXELS", default_value_t = 0, hide_default_value = true)]
    pub(crate) right: u32,
    /// Pixels to add above
    #[arg(long, value_name = "PIXELS", default_value_t = 0, hide_default_value = true)]
    pub(crate) top: u32,
    /// Pixels to add below
    #[arg(long, value_name = "PIXELS", default_value_t = 0, hide_default_value = true)]
    pub(crate) bottom: u32,
    /// How far the image may change, 0 to 1: the fraction of the steps that is taken (Denoising strength)
    #[arg(long, value_name = "X", default_value_t = 0.9, alias = "denoising-strength")]
    pub(crate) strength: f64,
    /// How --strength becomes a number of steps
    #[arg(long, value_name = "RULE", value_parser = choices(StrengthRule::CHOICES), default_value_t)]
    pub(crate) strength_rule: StrengthRule,
    /// Blur between the original and the new part, in pixels
    #[arg(long, value_name = "X", default_value_t = 8.0)]
    pub(crate) mask_blur: f64,
    /// What the new parts start from
    #[arg(long, value_name = "FILL", value_parser = choices(Fill::CHOICES), default_value_t = Fill::Fill)]
    pub(crate) fill: Fill,
}

impl OutpaintArgs {
    pub(crate) fn init(&self, picture: &Path) -> Result<Init, calotype::Error> {
        let inpaint = Inpaint { mask_blur: self.mask_blur, fill: self.fill, ..Inpaint::new(None) };
        let Self { left, right, top, bottom, .. } = *self;
        let outpaint = Some(Sides { left, right, top, bottom });
        let init = Init::new(InputImage::open(picture)?);
        let Self { strength, strength_rule, .. } = *self;
        Ok(Init { strength, strength_rule, inpaint: Some(inpaint), outpaint, ..init })
    }
}
