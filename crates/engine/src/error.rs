use std::{fmt::Write, path::PathBuf};

use calotype_queue::JobId;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a job, before it is taken or afterwards. Each message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request can't be met, or making its images failed.
    #[error(transparent)]
    Calotype(#[from] calotype::Error),
    /// Rules or the policy don't let it through, or its images can't be marked or recorded.
    #[error(transparent)]
    Publish(Box<calotype_publish::Error>),
    /// The queue refused, or failed.
    #[error(transparent)]
    Queue(#[from] calotype_queue::Error),
    /// There is no model of this id.
    #[error("there is no {kind} {name:?}{}", use_one_of(.known))]
    NoModel {
        /// `model` or `VAE`.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// A request is larger than what is allowed here.
    #[error("{field} {value} is more than the {most} that are allowed here: give at most {most}")]
    Limit {
        /// The member of the request.
        field: &'static str,
        /// What was asked for.
        value: u64,
        /// What is allowed.
        most: u64,
    },
    /// An input image was not sent, or was removed since.
    #[error("there is no input image {sha256}: send it again")]
    NoInput {
        /// The SHA-256 of its bytes.
        sha256: String,
    },
    /// A job has no such result, or none that may be seen.
    #[error("job {job} has no result {number}")]
    NoResult {
        /// The job.
        job: JobId,
        /// Which of its results.
        number: usize,
    },
    /// The disk is nearly full.
    #[error(
        "the disk has {free_mb} MB left, less than the {floor_mb} that are kept free: no jobs are taken until there is room"
    )]
    DiskFull {
        /// What is left.
        free_mb: u64,
        /// What must be.
        floor_mb: u64,
    },
    /// A folder can't be used.
    #[error("{}: {problem}", .folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        problem: String,
    },
    /// The engine is going.
    #[error("the server is shutting down: send it again in a moment")]
    Draining,
    /// A fault of this program.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// What programs know it by; the same for an error of a request and of a job that failed.
    #[must_use]
    pub fn code(&self) -> &'static str {
        use calotype::Error as Calotype;
        use calotype_publish::Error as Publish;
        use calotype_queue::Error as Queue;
        match self {
            Self::Calotype(error) if error.is_out_of_memory() => "out_of_memory",
            Self::Calotype(error) if error.is_cancelled() => "cancelled",
            Self::Calotype(Calotype::NotFinite(_)) => "non_finite",
            Self::Calotype(Calotype::OutOfRange { .. }) => "out_of_range",
            Self::Calotype(Calotype::Conflict(_)) => "conflict",
            Self::Calotype(Calotype::Prompt(_)) => "invalid_prompt",
            Self::Calotype(Calotype::UnknownName { .. }) => "unknown_name",
            Self::Calotype(error) if error.is_request() => "invalid_request",
            Self::Calotype(_) => "internal",
            Self::Publish(error) => match **error {
                Publish::Refused { .. } => "prompt_refused",
                Publish::InitRefused { .. } => "image_refused",
                Publish::WatermarkRequired { .. } => "out_of_range",
                _ => "internal",
            },
            Self::Queue(Queue::NotFound(_)) | Self::NoResult { .. } => "not_found",
            Self::Queue(Queue::WrongState { .. }) => "wrong_state",
            Self::Queue(Queue::OtherRequest { .. }) => "idempotency_key_reused",
            Self::Queue(Queue::Full { of_owner: true, .. }) => "quota_queued",
            Self::Queue(Queue::Full { .. }) => "queue_full",
            Self::Queue(Queue::Stale { .. }) => "stale_attempt",
            Self::Queue(_) => "storage",
            Self::NoModel { .. } => "model_not_found",
            Self::Limit { .. } => "out_of_range",
            Self::NoInput { .. } => "input_not_found",
            Self::DiskFull { .. } => "disk_full",
            Self::Folder { .. } => "storage",
            Self::Draining => "draining",
            Self::Internal(_) => "internal",
        }
    }

    /// The member of the request that is at fault, if it is one.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Calotype(calotype::Error::OutOfRange { field, .. }) => Some(field),
            Self::Calotype(calotype::Error::Json { field, .. }) => Some(field),
            Self::Calotype(calotype::Error::Prompt(_)) => Some("prompt"),
            Self::Calotype(calotype::Error::UnknownName { kind: "network", .. }) => Some("hires.network"),
            Self::Publish(error) => match **error {
                calotype_publish::Error::Refused { .. } => Some("prompt"),
                calotype_publish::Error::WatermarkRequired { .. } => Some("width"),
                _ => None,
            },
            Self::Limit { field, .. } => Some(field),
            Self::NoModel { kind: "VAE", .. } => Some("vae"),
            Self::NoModel { .. } => Some("model"),
            Self::NoInput { .. } => Some("init"),
            _ => None,
        }
    }
}

impl From<calotype_publish::Error> for Error {
    fn from(error: calotype_publish::Error) -> Self {
        Self::Publish(Box::new(error))
    }
}

/// `: use one of a, b`.
fn use_one_of(known: &[String]) -> String {
    const MOST: usize = 20;
    let mut text = String::new();
    if !known.is_empty() {
        let shown: Vec<&str> = known.iter().take(MOST).map(String::as_str).collect();
        let more = if known.len() > MOST { ", …" } else { "" };
        // Writing to a string does not fail.
        let _ = write!(text, ": use one of {}{more}", shown.join(", "));
    }
    text
}
