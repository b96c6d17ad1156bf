//! A picture to start from.

use std::path::{Path, PathBuf};

use calotype::request::{Fill, Init, Inpaint, InputImage, ResizeMode, Sides, StrengthRule};
use clap::{Args, ValueEnum};

/// A picture to start from.
#[derive(Args)]
#[command(next_help_heading = "Picture to start from")]
pub(crate) struct InitArgs {
    /// Image to start from: a PNG, JPEG or WebP file, or a folder of them
    #[arg(long, value_name = "FILE", alias = "init_img")]
    pub(crate) init_img: PathBuf,
    #[command(flatten)]
    pub(crate) strength: StrengthArgs,
    /// How the image is resized (Resize mode)
    #[arg(long, value_name = "MODE", value_enum, default_value_t = Resize::Stretch)]
    pub(crate) resize_mode: Resize,
}

/// How far a picture may change.
#[derive(Args)]
pub(crate) struct StrengthArgs {
    /// How far the image may change, 0 to 1: the fraction of the steps that is taken (Denoising strength)
    #[arg(long, value_name = "X", default_value_t = 0.75, alias = "denoising-strength")]
    pub(crate) strength: f64,
    /// How --strength becomes a number of steps
    #[arg(long, value_name = "RULE", value_enum, default_value_t = Rule::Part)]
    pub(crate) strength_rule: Rule,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Rule {
    /// As diffusers counts; with --schedule compvis as CompVis counts
    Part,
    /// As A1111 counts: one step more, with A1111's order of noise draws
    A1111,
    /// All steps are taken (With img2img, do exactly the amount of steps the slider specifies); noise as with a1111
    Exact,
}

impl Rule {
    fn rule(self) -> StrengthRule {
        match self {
            Self::Part => StrengthRule::Part,
            Self::A1111 => StrengthRule::A1111,
            Self::Exact => StrengthRule::Exact,
        }
    }
}

impl InitArgs {
    pub(crate) fn init(&self, picture: &Path) -> Result<Init, calotype::Error> {
        let init = Init::new(InputImage::open(picture)?);
        Ok(Init {
            strength: self.strength.strength,
            strength_rule: self.strength.strength_rule.rule(),
            resize_mode: self.resize_mode.mode(),
            ..init
        })
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Resize {
    /// Stretched (Just resize)
    #[value(name = "just-resize")]
    Stretch,
    /// Cropped evenly (Crop and resize)
    Crop,
    /// Fitted whole, its edges extended (Resize and fill)
    Fill,
    /// Encoded at its own size; the latents are stretched (Just resize, latent upscale)
    Latent,
}

impl Resize {
    fn mode(self) -> ResizeMode {
        match self {
            Self::Stretch => ResizeMode::JustResize,
            Self::Crop => ResizeMode::Crop,
            Self::Fill => ResizeMode::Fill,
            Self::Latent => ResizeMode::Latent,
        }
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
    #[arg(long, value_name = "AREA", value_enum, default_value_t = Area::Whole)]
    pub(crate) inpaint_area: Area,
    /// Pixels around the mask that --inpaint-area masked includes (Only masked padding)
    #[arg(long, value_name = "PIXELS", default_value_t = 32)]
    pub(crate) padding: u32,
    /// What masked parts start from (Masked content)
    #[arg(long, value_name = "FILL", value_enum, default_value_t = FillKind::Original)]
    pub(crate) fill: FillKind,
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
            only_masked_padding: matches!(self.inpaint_area, Area::Masked).then_some(self.padding),
            fill: self.fill.fill(),
            ..Inpaint::new(mask)
        })
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Area {
    /// The whole picture
    Whole,
    /// The masked part with --padding around it, at full size
    Masked,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum FillKind {
    /// The surrounding colours, blurred
    Fill,
    /// The original image
    Original,
    /// Noise
    LatentNoise,
    /// Nothing: latents of 0
    LatentNothing,
}

impl FillKind {
    fn fill(self) -> Fill {
        match self {
            Self::Fill => Fill::Fill,
            Self::Original => Fill::Original,
            Self::LatentNoise => Fill::LatentNoise,
            Self::LatentNothing => Fill::LatentNothing,
        }
    }
}

/// An image that is extended.
#[derive(Args)]
#[command(next_help_heading = "Picture to start from")]
pub(crate) struct OutpaintArgs {
    /// Image to start from: a PNG, JPEG or WebP file, or a folder of them
    #[arg(long, value_name = "FILE", alias = "init_img")]
    pub(crate) init_img: PathBuf,
    /// Pixels to add to the left
    #[arg(long, value_name = "PIXELS", default_value_t = 0, hide_default_value = true)]
    pub(crate) left: u32,
    /// Pixels to add to the right; a few more make the width a multiple of 8
    #[arg(long, value_name = "PIXELS", default_value_t = 0, hide_default_value = true)]
    pub(crate) right: u32,
    /// Pixels to add above
    #[arg(long, value_name = "PIXELS", default_value_t = 0, hide_default_value = true)]
    pub(crate) top: u32,
    /// Pixels to add below; a few more make the height a multiple of 8
    #[arg(long, value_name = "PIXELS", default_value_t = 0, hide_default_value = true)]
    pub(crate) bottom: u32,
    /// How far the image may change, 0 to 1: the fraction of the steps that is taken (Denoising strength)
    #[arg(long, value_name = "X", default_value_t = 0.9, alias = "denoising-strength")]
    pub(crate) strength: f64,
    /// How --strength becomes a number of steps
    #[arg(long, value_name = "RULE", value_enum, default_value_t = Rule::Part)]
    pub(crate) strength_rule: Rule,
    /// Blur between the original and the new part, in pixels
    #[arg(long, value_name = "X", default_value_t = 8.0)]
    pub(crate) mask_blur: f64,
    /// What the new parts start from
    #[arg(long, value_name = "FILL", value_enum, default_value_t = FillKind::Fill)]
    pub(crate) fill: FillKind,
}

impl OutpaintArgs {
    pub(crate) fn init(&self, picture: &Path) -> Result<Init, calotype::Error> {
        let inpaint = Inpaint { mask_blur: self.mask_blur, fill: self.fill.fill(), ..Inpaint::new(None) };
        let Self { left, right, top, bottom, .. } = *self;
        let outpaint = Some(Sides { left, right, top, bottom });
        let init = Init::new(InputImage::open(picture)?);
        let strength_rule = self.strength_rule.rule();
        Ok(Init { strength: self.strength, strength_rule, inpaint: Some(inpaint), outpaint, ..init })
    }
}
