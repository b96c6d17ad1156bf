//! A picture to start from.

use std::path::{Path, PathBuf};

use calotype::{Fill, Init, Inpaint, InputImage, ResizeMode, Sides, StrengthRule};
use clap::{Args, ValueEnum};

/// A picture to start from.
#[derive(Args)]
#[command(next_help_heading = "Picture to start from")]
pub(crate) struct InitArgs {
    /// PNG, JPEG or WebP file, or a folder, each of whose pictures is one to start from
    #[arg(long, value_name = "FILE", alias = "init_img")]
    pub(crate) init_img: PathBuf,
    #[command(flatten)]
    pub(crate) strength: StrengthArgs,
    /// How it comes to another size (Resize mode)
    #[arg(long, value_name = "MODE", value_enum, default_value_t = Resize::Stretch)]
    pub(crate) resize_mode: Resize,
}

/// How far a picture may change.
#[derive(Args)]
pub(crate) struct StrengthArgs {
    /// How far it may change, 0 to 1 (Denoising strength): so much of the steps is taken
    #[arg(long, value_name = "X", default_value_t = 0.75, alias = "denoising-strength")]
    pub(crate) strength: f64,
    /// Which steps --strength leaves
    #[arg(long, value_name = "RULE", value_enum, default_value_t = Rule::Part)]
    pub(crate) strength_rule: Rule,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Rule {
    /// So much of them, counted as diffusers does; as CompVis on --schedule compvis
    Part,
    /// So much of them, counted as A1111 does: one more; its noise is drawn in A1111's order
    A1111,
    /// All, the last of as many more (With img2img, do exactly the amount of steps the slider specifies); noise as a1111
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
    /// Cut off evenly (Crop and resize)
    Crop,
    /// Seen whole, its edges going on outwards (Resize and fill)
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

/// What of a picture is made anew.
#[derive(Args)]
#[command(next_help_heading = "Mask")]
pub(crate) struct MaskArgs {
    /// Picture that is white where something new comes; of one with transparent parts, where it is opaque
    #[arg(long, value_name = "FILE", required_unless_present = "mask_from_alpha")]
    pub(crate) mask: Option<PathBuf>,
    /// Something new comes where --init-img is transparent
    #[arg(long, conflicts_with = "mask")]
    pub(crate) mask_from_alpha: bool,
    /// Something new comes where the mask is black (Inpaint not masked)
    #[arg(long)]
    pub(crate) invert_mask: bool,
    /// Soft edge of the mask, in pixels (Mask blur)
    #[arg(long, value_name = "X", default_value_t = 4.0)]
    pub(crate) mask_blur: f64,
    /// What the sampler works on (Inpaint area)
    #[arg(long, value_name = "AREA", value_enum, default_value_t = Area::Whole)]
    pub(crate) inpaint_area: Area,
    /// Pixels around the mask that --inpaint-area masked sees (Only masked padding)
    #[arg(long, value_name = "PIXELS", default_value_t = 32)]
    pub(crate) padding: u32,
    /// What masked parts start from (Masked content)
    #[arg(long, value_name = "FILL", value_enum, default_value_t = FillKind::Original)]
    pub(crate) fill: FillKind,
    /// How much a model made for inpainting sees of the mask in the picture (Inpainting conditioning mask strength), 0 to 1
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
    /// What is masked and --padding around it, at the full size
    Masked,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum FillKind {
    /// The colours around, blurred
    Fill,
    /// What is there
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

/// A picture that grows.
#[derive(Args)]
#[command(next_help_heading = "Picture to start from")]
pub(crate) struct OutpaintArgs {
    /// PNG, JPEG or WebP file, or a folder, each of whose pictures is one to start from
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
    /// How much of the steps is taken, 0 to 1 (Denoising strength)
    #[arg(long, value_name = "X", default_value_t = 0.9, alias = "denoising-strength")]
    pub(crate) strength: f64,
    /// Which steps --strength leaves
    #[arg(long, value_name = "RULE", value_enum, default_value_t = Rule::Part)]
    pub(crate) strength_rule: Rule,
    /// Soft edge between old and new, in pixels
    #[arg(long, value_name = "X", default_value_t = 8.0)]
    pub(crate) mask_blur: f64,
    /// What the new sides start from
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
