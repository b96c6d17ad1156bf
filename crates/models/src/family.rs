//! What differs between the families of Stable Diffusion.

/// How many heads attention has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heads {
    /// As many everywhere.
    Count(usize),
    /// As many as there are parts of this width.
    Width(usize),
}

impl Heads {
    /// The heads of a layer of this width.
    #[must_use]
    pub fn of(self, width: usize) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Width(head) => width / head.max(1),
        }
    }
}

/// A family of models: what files leave open is so in all of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// What people call it.
    pub name: &'static str,
    /// The width of its contexts and of its text encoder, which tells the family of an adapter or an embedding.
    pub context_width: usize,
    /// The heads of its UNet's attention.
    pub heads: Heads,
    /// Whether its UNet's transformers project by linear maps; else by 1×1 convolutions.
    pub linear_projection: bool,
    /// Whether its text encoder is OpenCLIP's, which has the exact GELU and pads with 0; else CLIP's.
    pub open_clip: bool,
    /// The layers of its text encoder that are used, if they are not all.
    pub text_layers: Option<usize>,
    /// `projection_dim` in the config of its text encoder, which is not used here; none: its width.
    pub projection_dim: Option<usize>,
    /// The side of the latents of the pictures it was trained on, and that of models that predict v.
    pub latent_side: (usize, usize),
    /// Whether some of its published models predict v; else all predict ε.
    pub may_predict_v: bool,
}

/// Stable Diffusion 1.
pub const SD1: Family = Family {
    name: "Stable Diffusion 1",
    context_width: 768,
    heads: Heads::Count(8),
    linear_projection: false,
    open_clip: false,
    text_layers: None,
    projection_dim: None,
    latent_side: (64, 64),
    may_predict_v: false,
};

/// Stable Diffusion 2. Of OpenCLIP's ViT-H, which has 24 layers, it uses all but the last.
pub const SD2: Family = Family {
    name: "Stable Diffusion 2",
    context_width: 1024,
    heads: Heads::Width(64),
    linear_projection: true,
    open_clip: true,
    text_layers: Some(23),
    projection_dim: Some(512),
    latent_side: (64, 96),
    may_predict_v: true,
};

/// The families that are run; what tells no other is of the last.
const FAMILIES: [&Family; 2] = [&SD2, &SD1];

/// Names of the families that are told but not run, by the widths of their contexts and of the parts that these are made of.
const OTHERS: [(usize, &str); 2] = [(2048, XL), (1280, XL)];

/// The name of the family with two text encoders.
pub(crate) const XL: &str = "Stable Diffusion XL";
/// Its second model, whose UNet sees one text encoder only, and the width of its contexts.
pub(crate) const XL_REFINER: (usize, &str) = (1280, "the Stable Diffusion XL refiner");

impl Family {
    /// The family of a UNet: by the width of its contexts, or by its projections where that tells nothing, as in small
    /// models.
    #[must_use]
    pub fn of_unet(context_width: usize, linear_projection: bool) -> &'static Self {
        let is =
            |family: &&Self| family.context_width == context_width || (linear_projection && family.linear_projection);
        FAMILIES.into_iter().find(is).unwrap_or(&SD1)
    }

    /// The family of a text encoder: OpenCLIP's, or one of its width.
    #[must_use]
    pub fn of_text_encoder(width: usize, open_clip: bool) -> &'static Self {
        let is = |family: &&Self| family.context_width == width || (open_clip && family.open_clip);
        FAMILIES.into_iter().find(is).unwrap_or(&SD1)
    }

    /// The name of the family whose contexts are so wide.
    #[must_use]
    pub fn name_of_width(context_width: usize) -> Option<&'static str> {
        let run = FAMILIES.map(|family| (family.context_width, family.name));
        run.into_iter().chain(OTHERS).find(|(width, _)| *width == context_width).map(|(_, name)| name)
    }
}
