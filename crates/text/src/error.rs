use std::path::PathBuf;

/// Why a tokenizer could not be made, or a prompt not be read. Encoding itself never fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read the tokenizer file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file is larger than any tokenizer file should be.
    #[error("the tokenizer file {} is larger than {limit} bytes; is it another kind of file?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The largest size accepted, in bytes.
        limit: u64,
    },
    /// A file was read, but what it holds is no CLIP tokenizer.
    #[error("the tokenizer file {}: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        problem: String,
    },
    /// A prompt is longer than any should be.
    #[error("the prompt is {bytes} bytes long, at most {limit} are taken")]
    LongPrompt {
        /// Its length.
        bytes: usize,
        /// The longest accepted.
        limit: usize,
    },
    /// A prompt changes so often that its texts are too long or too many.
    #[error(
        "the prompt of {bytes} bytes changes at {steps} steps, and its texts would be longer than {limit} bytes in all, or put together from too many pieces: shorten it, or ask for fewer steps"
    )]
    LongSchedule {
        /// The prompt's length.
        bytes: usize,
        /// How often it changes.
        steps: usize,
        /// The most bytes of all its texts.
        limit: usize,
    },
    /// A prompt is far too long for a text encoder, with all the texts that it changes between.
    #[error(
        "the prompt has {count} chunks of 75 tokens in all the texts that it changes between, at most {limit} are taken: shorten it"
    )]
    ManyChunks {
        /// How many.
        count: usize,
        /// The most accepted.
        limit: usize,
    },
    /// Brackets lie in each other deeper than anyone writes.
    #[error(
        "the prompt's brackets lie in each other deeper than {limit}: write \\( and \\) for brackets that are text"
    )]
    DeepBrackets {
        /// The deepest accepted.
        limit: usize,
    },
    /// A weight in a prompt is none.
    #[error(
        "the prompt has the weight {text}, expected a number such as 1.2, not too large: write \\( and \\) for brackets that are text"
    )]
    Weight {
        /// The weight.
        text: String,
    },
    /// An embedding that no prompt could use.
    #[error("the embedding {name:?} has {vectors} vectors: {problem}")]
    Embedding {
        /// Its name.
        name: String,
        /// How many vectors it has.
        vectors: usize,
        /// What was expected.
        problem: &'static str,
    },
    /// A name that is none of a list.
    #[error("unknown {what} {got:?}, expected one of: {known}")]
    Unknown {
        /// What it should name.
        what: &'static str,
        /// The beginning of what was given.
        got: String,
        /// The names there are.
        known: String,
    },
}

impl Error {
    pub(crate) fn unknown(what: &'static str, got: &str, known: String) -> Self {
        Self::Unknown { what, got: got.chars().take(40).collect(), known }
    }

    /// Whether the fault is in a prompt or a name, not in a file.
    #[must_use]
    pub fn is_request(&self) -> bool {
        !matches!(self, Self::Read { .. } | Self::TooLarge { .. } | Self::Invalid { .. })
    }
}
