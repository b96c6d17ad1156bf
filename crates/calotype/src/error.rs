use std::{io, path::Path};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. Each message is one line: what, where, what was expected, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A request asks for what no model, or not this one, can do.
    #[error("{0}")]
    Request(String),
    /// A sampler can't run as asked.
    #[error(transparent)]
    Sampling(#[from] calotype_diffusion::Error),
    /// A file or folder is not what it should be.
    #[error("{file}: {problem}")]
    File {
        /// Which.
        file: String,
        /// What is wrong, what was expected, what to do.
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
    /// Latents became infinite or no number.
    #[error(
        "the latents are no longer finite numbers: lower guidance_scale, or check that the model's weights are sound"
    )]
    NotFinite,
    /// A weights file can't be read or written.
    #[error(transparent)]
    Formats(#[from] calotype_formats::Error),
    /// A network can't be made.
    #[error(transparent)]
    Models(#[from] calotype_models::Error),
    /// An operation refused its arguments.
    #[error(transparent)]
    Tensor(#[from] calotype_tensor::Error),
    /// The tokenizer's files can't be used, or a prompt not be read.
    #[error(transparent)]
    Text(#[from] calotype_text::Error),
    /// A picture can't be made or written.
    #[error(transparent)]
    Image(#[from] calotype_image::Error),
}

impl Error {
    /// Whether another request would have worked: the fault is in what was asked, not in a file or the machine.
    #[must_use]
    pub fn is_request(&self) -> bool {
        use calotype_diffusion::Error as Sampling;
        match self {
            Self::Request(_) => true,
            Self::Text(error) => error.is_request(),
            Self::Sampling(error) => matches!(
                error,
                Sampling::UnknownSampler(_)
                    | Sampling::UnknownSchedule(_)
                    | Sampling::UnknownRng(_)
                    | Sampling::UnknownSeedPer(_)
                    | Sampling::NoiseOptions(_)
                    | Sampling::Schedule { .. }
                    | Sampling::Eta { .. }
                    | Sampling::EtaRange(_)
                    | Sampling::OptionRange { .. }
                    | Sampling::SamplerOption { .. }
                    | Sampling::ScheduleOption { .. }
                    | Sampling::Steps { .. }
                    | Sampling::CompvisSteps { .. }
                    | Sampling::Strength(_)
                    | Sampling::NoSteps { .. }
                    | Sampling::LaidOut { .. }
            ),
            _ => false,
        }
    }

    pub(crate) fn file(file: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::File { file: file.into(), problem: problem.into() }
    }

    pub(crate) fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        Self::Io { file: show(path), action, source }
    }
}

/// A path for a message: as the user typed it, but on one line.
pub(crate) fn show(path: &Path) -> String {
    let text = path.display().to_string();
    if text.chars().any(char::is_control) { format!("{text:?}") } else { text }
}

/// Foreign text for a message: one line, not long.
pub(crate) fn brief(text: &str) -> String {
    const LONGEST: usize = 120;
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = chars.by_ref().take(LONGEST).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}
