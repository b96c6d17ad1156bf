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
    /// A file or folder can't be read or written, or is not what it should be.
    #[error(transparent)]
    Checkpoint(#[from] calotype_checkpoint::Error),
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
            Self::Checkpoint(error) => error.is_request(),
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
        calotype_checkpoint::Error::file(file, problem).into()
    }
}
