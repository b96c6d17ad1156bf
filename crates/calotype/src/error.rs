use std::fmt;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. Each message is one line: what, where, what was expected, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A request asks for what no model, or not this one, can do.
    #[error("{0}")]
    Request(String),
    /// A value of a request is out of range, for any model or for this one.
    #[error("{message}")]
    OutOfRange {
        /// The member of [`Request`](crate::Request) or of what is in it.
        field: &'static str,
        /// The value, what was expected, what to do.
        message: String,
    },
    /// Things that were asked for don't go together: which, and what to do.
    #[error("{0}")]
    Conflict(String),
    /// A prompt can't be used, for other reasons than its grammar: why, and what to do.
    #[error("{0}")]
    Prompt(String),
    /// There is no choice of a name, or no adapter can be found by it.
    #[error("{message}")]
    UnknownName {
        /// What should have that name: `LoRA`, `hypernetwork`, `upscaler` and the like.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// Where it was looked for, and what is there that is like it.
        message: String,
    },
    /// A JSON text is no request, or the metadata of an image are damaged.
    #[error("{what}{}: {problem}", in_field(.field))]
    Json {
        /// What the text should be.
        what: &'static str,
        /// The field at fault, such as `init.strength`; `.` for the whole.
        field: String,
        /// What is wrong there, and in which line and column.
        problem: String,
    },
    /// An image's file does not say how it was made, or in a way that is not known here: which, and what is read.
    #[error("{0}")]
    NoSettings(String),
    /// An image that a request refers to was not read before its plan was made.
    #[error("the image {file:?} is only a reference: read it by Request::open_images before the plan is made")]
    ImageNotOpen {
        /// Its file.
        file: String,
    },
    /// A sampler can't run as asked.
    #[error(transparent)]
    Sampling(#[from] calotype_diffusion::Error),
    /// A file or folder can't be read or written, or is not what it should be.
    #[error(transparent)]
    Checkpoint(#[from] calotype_checkpoint::Error),
    /// Numbers became infinite or no numbers.
    #[error("{0}")]
    NotFinite(NotFinite),
    /// It needs more memory than is free.
    #[error(
        "this needs about {} of memory, {} are free: make the image, the batch or the prompt smaller, or compute in fewer bits", gib(*.needed), gib(*.free)
    )]
    OutOfMemory {
        /// Bytes that it needs.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// It needs more memory than is free, and a smaller image would not.
    #[error(
        "this needs about {} of memory, {} are free: one image of {width} x {height} fits, or compute in fewer bits",
        gib(*.needed), gib(*.free)
    )]
    TooLarge {
        /// Bytes that it needs.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// Width of the image that fits, in pixels.
        width: usize,
        /// Its height.
        height: usize,
    },
    /// It was cancelled.
    #[error("it was cancelled")]
    Cancelled,
    /// The result was asked of a run that had ended in an error.
    #[error("the run ended in an error, so it has no result")]
    Unfinished,
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
    /// Whether it was cancelled, and did not fail.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        use calotype_checkpoint::Error as Checkpoint;
        use calotype_models::Error as Models;
        use calotype_tensor::Error::Cancelled;
        matches!(
            self,
            Self::Cancelled
                | Self::Tensor(Cancelled)
                | Self::Models(Models::Tensor(Cancelled))
                | Self::Checkpoint(Checkpoint::Models(Models::Tensor(Cancelled)))
        )
    }

    /// Whether there was not enough memory.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        use calotype_checkpoint::Error as Checkpoint;
        use calotype_models::Error as Models;
        use calotype_tensor::Error::OutOfMemory;
        matches!(
            self,
            Self::OutOfMemory { .. }
                | Self::TooLarge { .. }
                | Self::Tensor(OutOfMemory { .. })
                | Self::Models(Models::Tensor(OutOfMemory { .. }))
                | Self::Checkpoint(Checkpoint::Models(Models::Tensor(OutOfMemory { .. })))
        )
    }

    /// Whether a device failed that computes: another may do the same work.
    #[must_use]
    pub fn is_of_device(&self) -> bool {
        use calotype_checkpoint::Error as Checkpoint;
        use calotype_models::Error as Models;
        use calotype_tensor::Error::Device;
        matches!(
            self,
            Self::Tensor(Device { .. })
                | Self::Models(Models::Tensor(Device { .. }))
                | Self::Checkpoint(Checkpoint::Models(Models::Tensor(Device { .. })))
        )
    }

    /// Whether a file or folder does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Checkpoint(error) => error.is_not_found(),
            Self::Formats(error) => error.is_not_found(),
            _ => false,
        }
    }

    /// Whether another request would have worked: the fault is in what was asked, not in a file or the machine.
    #[must_use]
    pub fn is_request(&self) -> bool {
        match self {
            Self::Request(_)
            | Self::OutOfRange { .. }
            | Self::Conflict(_)
            | Self::Prompt(_)
            | Self::UnknownName { .. }
            | Self::Json { .. }
            | Self::ImageNotOpen { .. } => true,
            Self::Checkpoint(error) => error.is_request(),
            Self::Text(error) => error.is_request(),
            Self::Sampling(error) => error.is_request(),
            _ => false,
        }
    }

    /// A value that is out of range; `name` is what people call the field.
    pub(crate) fn out_of_range(
        field: &'static str,
        name: &str,
        value: impl fmt::Display,
        expected: impl fmt::Display,
    ) -> Self {
        Self::OutOfRange { field, message: format!("{name} {value} is out of range: give {expected}") }
    }

    pub(crate) fn file(file: impl Into<String>, problem: impl Into<String>) -> Self {
        calotype_checkpoint::Error::file(file, problem).into()
    }
}

/// Where numbers are no longer finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotFinite {
    /// In the output of the text encoder.
    TextEncoder,
    /// In the latents, as the sampler left them or the UNet predicted them.
    Latents,
    /// In the output of the VAE's encoder.
    VaeEncoder,
    /// In the image that the VAE decoded, in f32 too.
    VaeDecoder,
    /// In what an upscaler made.
    Upscaler,
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TextEncoder => {
                "the text encoder's output is not finite: check that its weights and the adapters are sound, or compute in f32"
            }
            Self::Latents => {
                "the latents are no longer finite numbers: lower guidance_scale, or check that the model's weights are sound"
            }
            Self::VaeEncoder => {
                "the VAE's encoder gives no finite numbers: check that its weights are sound, or compute in f32"
            }
            Self::VaeDecoder => {
                "the VAE decoded no finite numbers, in f32 too: lower guidance_scale, or give another VAE"
            }
            Self::Upscaler => {
                "the upscaler gives no finite numbers: check that its weights are sound, or compute in f32"
            }
        })
    }
}

/// Bytes for a message.
fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1u32 << 30))
}

/// Which field of a JSON text is at fault.
fn in_field(field: &str) -> String {
    if field == "." { String::new() } else { format!(", field {field}") }
}
