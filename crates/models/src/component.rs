//! The networks that models are made of.

/// A network of a model, called as its folder in diffusers' layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Component {
    /// The UNet, or the transformer in its place.
    UNet,
    /// The text encoder.
    TextEncoder,
    /// The second text encoder of Stable Diffusion XL.
    TextEncoder2,
    /// The autoencoder.
    Vae,
}

/// What is to say of a component.
struct Row {
    component: Component,
    id: &'static str,
    name: &'static str,
    /// Whether transformers reads it, and not diffusers: the two call the files of weights differently.
    of_transformers: bool,
}

const fn row(component: Component, id: &'static str, name: &'static str, of_transformers: bool) -> Row {
    Row { component, id, name, of_transformers }
}

const COMPONENTS: [Row; 4] = [
    row(Component::TextEncoder, "text_encoder", "text encoder", true),
    row(Component::TextEncoder2, "text_encoder_2", "second text encoder", true),
    row(Component::UNet, "unet", "UNet", false),
    row(Component::Vae, "vae", "VAE", false),
];

impl Component {
    /// Those of Stable Diffusion 1 and 2, as data goes through them.
    pub const ALL: [Self; 3] = [Self::TextEncoder, Self::UNet, Self::Vae];

    fn row(self) -> &'static Row {
        let of_this = |row: &&Row| row.component == self;
        // Every component has a row (a test looks).
        COMPONENTS.iter().find(of_this).unwrap_or(&COMPONENTS[0])
    }

    /// `text_encoder`, `text_encoder_2`, `unet` or `vae`: its folder in diffusers' layout.
    #[must_use]
    pub fn id(self) -> &'static str {
        self.row().id
    }

    /// What people call it: `text encoder`, `UNet`, `VAE`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Whether transformers reads its folder, and not diffusers.
    #[must_use]
    pub fn is_of_transformers(self) -> bool {
        self.row().of_transformers
    }

    /// The files of its weights in its folder, name and ending, the preferred first: safetensors and PyTorch's.
    #[must_use]
    pub fn weight_files(self) -> [(&'static str, &'static str); 2] {
        match self.is_of_transformers() {
            true => [("model", "safetensors"), ("pytorch_model", "bin")],
            false => [("diffusion_pytorch_model", "safetensors"), ("diffusion_pytorch_model", "bin")],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_component_has_a_row() {
        use Component::{TextEncoder, TextEncoder2, UNet, Vae};
        let ids = [TextEncoder, TextEncoder2, UNet, Vae].map(Component::id);
        assert_eq!(ids, ["text_encoder", "text_encoder_2", "unet", "vae"]);
        assert_eq!(Vae.weight_files()[0], ("diffusion_pytorch_model", "safetensors"));
        assert_eq!(TextEncoder.weight_files()[1], ("pytorch_model", "bin"));
    }
}
