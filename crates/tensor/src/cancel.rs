use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{Error, Result};

/// Asks work that is under way to stop. Clones share one state, and once cancelled it stays so.
///
/// A backend that was made with one ([`BackendOptions`](crate::BackendOptions)) looks at it before every operation, between the
/// blocks of a long one, and between the pieces of a parameter that it reads; then [`Error::Cancelled`] comes back instead of a
/// result. What the backend holds stays as it was and can be used again by another that shares no cancelled token.
///
/// ```
/// use calotype_tensor::{CancelToken, Error};
///
/// let cancel = CancelToken::new();
/// let of_another_thread = cancel.clone();
/// assert!(cancel.check().is_ok());
/// of_another_thread.cancel();
/// assert!(matches!(cancel.check(), Err(Error::Cancelled)));
/// ```
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// One that is not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels all work that looks at this token or a clone of it.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Goes on, or says that it was cancelled.
    ///
    /// # Errors
    /// [`Error::Cancelled`], if it was.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }
}
