use std::fmt;

use calotype_checkpoint::{UnknownWord, brief};
use calotype_tensor::Precision;
use calotype_text::MAX_LENGTH;

/// Something that the caller should know, though the run goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A text is longer than the text encoder can take.
    Truncated {
        /// `prompt` or `negative prompt`.
        field: &'static str,
        /// What was cut from its end.
        text: String,
    },
    /// Tensors of an adapter are for no layer of the model.
    Unused {
        /// The adapter's name.
        file: String,
        /// How many.
        unused: usize,
        /// Of how many.
        total: usize,
        /// The first of them.
        first: String,
    },
    /// Something that a prompt says of a network is not made use of.
    UnusedArgument {
        /// What, and of which.
        what: String,
    },
    /// An embedding that a prompt names can't be used, for this reason.
    SkippedEmbedding(String),
    /// A prompt names an embedding, as ComfyUI's do, that is not there.
    NoEmbedding {
        /// Its name.
        name: String,
    },
    /// An image was decoded in f32, since it was not finite in the precision that was asked for.
    DecodedInF32 {
        /// That precision.
        precision: Precision,
    },
    /// A JPEG does not hold all that its file should say of it.
    LongMetadata {
        /// Whether what makes it again is in it.
        is_left: bool,
    },
    /// The model's scheduler says something that is not heeded.
    UnheededScheduler {
        /// What it says.
        settings: String,
    },
    /// Words of a prompt are none of those that the model was trained on.
    UnknownWords(Vec<UnknownWord>),
    /// A prompt calls for a network that was not applied.
    Network {
        /// As it is written.
        tag: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { field, text } => {
                let tokens = MAX_LENGTH - 2;
                write!(f, "the {field} is longer than {tokens} tokens and was cut before {:?}", brief(text.trim()))
            }
            Self::Unused { file, unused, total, first } => write!(
                f,
                "{unused} of the {total} tensors of {:?} are for no layer of this model (the first is {:?})",
                brief(file),
                brief(first)
            ),
            Self::UnknownWords(words) => {
                let words: Vec<String> = words.iter().map(with_nearest).collect();
                write!(f, "the model was not trained on {}", words.join(", "))
            }
            Self::UnusedArgument { what } => write!(f, "the prompt says {}, which is not applied", brief(what)),
            Self::DecodedInF32 { precision } => {
                write!(f, "the VAE's output was not finite in {precision}, so the image was decoded in f32")
            }
            Self::SkippedEmbedding(reason) => write!(f, "an embedding is left out: {reason}"),
            Self::NoEmbedding { name } => {
                write!(
                    f,
                    "the prompt calls for the embedding {:?}, which is not there, so its name is read as text",
                    brief(name)
                )
            }
            Self::LongMetadata { is_left: true } => {
                f.write_str("the prompt is too long for a JPEG's metadata, so A1111's text is left out: a PNG or WebP holds it")
            }
            Self::LongMetadata { is_left: false } => f.write_str(
                "the prompt is too long for a JPEG's metadata, so its file says nothing of how it was made: a PNG or WebP does",
            ),
            Self::UnheededScheduler { settings } => {
                write!(
                    f,
                    "the model's scheduler_config.json says {settings}, which is not heeded: diffusers' pictures differ"
                )
            }
            Self::Network { tag } => write!(f, "the prompt calls for {:?}, which is not applied", brief(tag)),
        }
    }
}

/// A word, and the nearest that the model knows.
fn with_nearest(UnknownWord { word, nearest }: &UnknownWord) -> String {
    let word = format!("{:?}", brief(word));
    nearest.as_ref().map_or(word.clone(), |nearest| format!("{word} (nearest: {nearest:?})"))
}
