//! TAESD's own names: numbers in two sequences, of which the decoder's begins with its bound.

use calotype_formats::Checkpoint;

use super::numbered;

/// Before the names of each half, where both are in one file.
pub(super) const ENCODER: &str = "taesd_encoder.";
pub(super) const DECODER: &str = "taesd_decoder.";

/// A file that has one half of TAESD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaesdHalf {
    /// Picture to latents.
    Encoder,
    /// Latents to picture.
    Decoder,
}

impl TaesdHalf {
    /// Which half `file` has alone, by its numbers.
    #[must_use]
    pub fn of(file: &Checkpoint) -> Option<Self> {
        let has = |name: &str, sides: usize| file.get(name).is_some_and(|tensor| tensor.shape.len() == sides);
        let is_sequence = || file.tensors().all(|tensor| numbered(&tensor.name).is_some());
        match () {
            () if has("0.weight", 4) && has("1.conv.0.weight", 4) && is_sequence() => Some(Self::Encoder),
            () if has("1.weight", 4) && has("3.conv.0.weight", 4) && is_sequence() => Some(Self::Decoder),
            () => None,
        }
    }

    /// `encoder` or `decoder`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Encoder => "encoder",
            Self::Decoder => "decoder",
        }
    }

    /// The one that is not in the file.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Encoder => Self::Decoder,
            Self::Decoder => Self::Encoder,
        }
    }

    /// What stands before its names where both halves are together.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Encoder => ENCODER,
            Self::Decoder => DECODER,
        }
    }
}

/// What TAESD calls the parameter of this canonical name.
pub(super) fn name(name: &str) -> Option<String> {
    if let Some(rest) = name.strip_prefix("encoder.layers.") {
        return Some(format!("{ENCODER}{rest}"));
    }
    let (number, rest) = numbered(name.strip_prefix("decoder.layers.")?)?;
    Some(format!("{DECODER}{}.{rest}", number + 1))
}
