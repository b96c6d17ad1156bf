use calotype_tensor::CancelToken;

use crate::{
    Result,
    memory::{MemoryBudget, PassNeed, Reservation},
};

/// What whoever uses networks holds meanwhile.
pub(crate) struct Lease {
    pub(crate) cancel: CancelToken,
    pub(crate) reservation: Reservation,
    pub(crate) need: PassNeed,
}

impl Lease {
    /// Reserves `bytes`, of which the networks that are kept take theirs.
    ///
    /// # Errors
    /// There is not so much.
    pub(crate) fn new(memory: &MemoryBudget, bytes: u64, cancel: CancelToken, need: PassNeed) -> Result<Self> {
        Ok(Self { cancel, reservation: memory.reserve(bytes)?, need })
    }

    /// For the use of one network outside of a run.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn of_one_network(memory: &MemoryBudget) -> Result<Self> {
        Self::new(memory, 0, CancelToken::new(), PassNeed::default())
    }
}
