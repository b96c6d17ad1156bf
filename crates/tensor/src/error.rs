use std::sync::Arc;

use crate::Shape;

/// What can go wrong in an operation. Every message is one line.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor has another shape than the operation can take.
    #[error("{op}: {what} has shape {got}, expected {expected}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// Which of its arguments.
        what: &'static str,
        /// The shape it must have, in words or numbers.
        expected: String,
        /// The shape it has.
        got: Shape,
    },
    /// An argument is not one that the operation can take.
    #[error("{op}: {message}")]
    Invalid {
        /// The operation.
        op: &'static str,
        /// What was got and what was expected.
        message: String,
    },
    /// There is not as much memory as a tensor, a parameter or an arena takes.
    #[error("out of memory: {needed} more bytes can't be had")]
    OutOfMemory {
        /// The bytes that were asked for and not given.
        needed: usize,
    },
    /// The backend's [`CancelToken`](crate::CancelToken) was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// A device beside the processor failed: it was lost, or its driver refused what it was asked for.
    #[error("{device}: {message}")]
    Device {
        /// The name of the device.
        device: String,
        /// What failed, and what to do.
        message: String,
    },
    /// The values of a parameter can't be read; the reason is the source's own.
    #[error(transparent)]
    Data(Arc<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// [`Self::Data`] for that reason.
    pub fn data(reason: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Data(Arc::new(reason))
    }
}

/// The result of an operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;
