use std::fmt;

use calotype_text::MAX_LENGTH;

use crate::error::brief;

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
            Self::Network { tag } => write!(f, "the prompt calls for {:?}, which is not applied", brief(tag)),
        }
    }
}
