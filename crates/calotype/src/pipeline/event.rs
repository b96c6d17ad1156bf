//! What a run tells on its way.

use std::fmt;

use calotype_models::Component;

use crate::Step;

/// What a [`Run`](super::Run) gives at each turn.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A stage begins; its work is done at the next turn.
    Stage(Stage),
    /// A step of the sampler was taken. [`Run::preview`](super::Run::preview) shows where the image is going.
    Step(Step),
    /// An image of the batch was decoded.
    Decoded {
        /// Which one, from 0.
        index: usize,
        /// How many there are.
        total: usize,
    },
}

/// A stage of a run. A hires fix goes through some of them twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// The weights of a network are read, if they are not in memory.
    Loading(Component),
    /// The prompts go through the text encoder.
    EncodingPrompt,
    /// An image goes through the VAE's encoder.
    EncodingImage,
    /// The sampler begins its steps.
    Denoising,
    /// The images are decoded by the VAE.
    Decoding,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loading(component) => write!(f, "loading the {}", component.name()),
            Self::EncodingPrompt => f.write_str("encoding the prompt"),
            Self::EncodingImage => f.write_str("encoding the image"),
            Self::Denoising => f.write_str("denoising"),
            Self::Decoding => f.write_str("decoding"),
        }
    }
}
