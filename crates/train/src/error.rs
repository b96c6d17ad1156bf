use std::{io, path::Path};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in a training run. Each message is one line: what, where, what was expected, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The config file breaks a rule.
    #[error("{file}: {problem}")]
    Config {
        /// The config file.
        file: String,
        /// The key, what was expected, what was got.
        problem: String,
    },
    /// The data set breaks a rule.
    #[error("{file}: {problem}")]
    Data {
        /// The file or folder.
        file: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The run's own folder can't be used.
    #[error("{file}: {problem}")]
    Run {
        /// The file or folder.
        file: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The operating system refused.
    #[error("{file}: cannot {action}: {source}")]
    Io {
        /// The file or folder.
        file: String,
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// The loss or the gradient is no longer a number.
    #[error("step {step}: {what} is not finite: lower train.learning_rate or train.gradient_clip, which may change, and {}", from(*.checkpoint))]
    NotFinite {
        /// The step, from 1.
        step: u64,
        /// `the loss`, `the gradient` or `the weights`.
        what: &'static str,
        /// The step of the last checkpoint, whose numbers are finite; none if there is none.
        checkpoint: Option<u64>,
    },
    /// `train.mixed_precision` is not for this processor.
    #[error(
        "train.mixed_precision: \"bf16\" needs AVX-512 BF16, this processor has {isa}: leave it out, or set \"no\""
    )]
    MixedPrecision {
        /// The best instruction set of this processor, or the one that `CALOTYPE_ISA` names.
        isa: String,
    },
    /// The run was stopped before its first step.
    #[error("stopped while {0}: nothing was learned yet")]
    Stopped(&'static str),
    /// An operation refused its arguments.
    #[error(transparent)]
    Tensor(#[from] calotype_tensor::Error),
    /// A weights file can't be read or written.
    #[error(transparent)]
    Formats(#[from] calotype_formats::Error),
    /// A model can't be made.
    #[error(transparent)]
    Models(#[from] calotype_models::Error),
    /// A picture can't be read or written.
    #[error(transparent)]
    Image(#[from] calotype_image::Error),
    /// A sampler or noise schedule can't be made.
    #[error(transparent)]
    Diffusion(#[from] calotype_diffusion::Error),
    /// A model's files can't be used.
    #[error(transparent)]
    Checkpoint(#[from] calotype_checkpoint::Error),
    /// Sample pictures can't be made.
    #[error(transparent)]
    Sampling(#[from] calotype::Error),
    /// The tokenizer failed.
    #[error(transparent)]
    Text(#[from] calotype_text::Error),
}

impl Error {
    pub(crate) fn io(file: &Path, action: &'static str, source: io::Error) -> Self {
        Self::Io { file: show(file), action, source }
    }

    pub(crate) fn config(file: &Path, problem: impl Into<String>) -> Self {
        Self::Config { file: show(file), problem: problem.into() }
    }

    pub(crate) fn data(file: &Path, problem: impl Into<String>) -> Self {
        Self::Data { file: show(file), problem: problem.into() }
    }

    /// The same of a run whose last checkpoint is of this step.
    pub(crate) fn after(self, last: Option<u64>) -> Self {
        match self {
            Self::NotFinite { step, what, .. } => Self::NotFinite { step, what, checkpoint: last },
            other => other,
        }
    }

    pub(crate) fn run(file: &Path, problem: impl Into<String>) -> Self {
        Self::Run { file: show(file), problem: problem.into() }
    }
}

/// What a run goes on from.
fn from(checkpoint: Option<u64>) -> String {
    match checkpoint {
        Some(step) => format!("--resume from the checkpoint of step {step}"),
        None => "begin anew: there is no checkpoint yet".to_owned(),
    }
}

/// A path for a message: as the user typed it, but on one line.
fn show(path: &Path) -> String {
    let text = path.display().to_string();
    if text.chars().any(char::is_control) { format!("{text:?}") } else { text }
}
