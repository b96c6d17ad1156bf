//! The memory that all pipelines of a program share.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::system;
use crate::{Error, Result};

/// How much memory runs may take together. A run reserves what it needs before it reads anything and gives it back when it
/// is done, so that two runs that do not fit side by side never both start. Cloning shares the budget.
///
/// ```
/// use calotype::memory::MemoryBudget;
///
/// let budget = MemoryBudget::with_limit(1 << 30);
/// let first = budget.reserve(700 << 20)?;
/// assert!(budget.reserve(700 << 20).is_err_and(|error| error.is_out_of_memory()));
/// drop(first);
/// assert!(budget.reserve(700 << 20).is_ok());
/// # Ok::<(), calotype::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MemoryBudget(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Bytes that may be reserved in all, if not what the system has.
    limit: Option<u64>,
    /// Bytes that are reserved.
    reserved: u64,
    /// What the process held when nothing was reserved.
    resident_before: u64,
}

impl MemoryBudget {
    /// The budget of the program: what the system can still give, which is the least of the memory that is available, the
    /// limits of the process's control groups (v1 and v2) and its resource limits. Pipelines take it if they are given no
    /// other. Where the system does not say what it has (outside of Linux), nothing is refused.
    #[must_use]
    pub fn system() -> Self {
        static SYSTEM: OnceLock<MemoryBudget> = OnceLock::new();
        SYSTEM.get_or_init(|| Self::new(None)).clone()
    }

    /// A budget of so many bytes.
    #[must_use]
    pub fn with_limit(bytes: u64) -> Self {
        Self::new(Some(bytes))
    }

    fn new(limit: Option<u64>) -> Self {
        Self(Arc::new(Mutex::new(State { limit, reserved: 0, resident_before: 0 })))
    }

    /// Reserves so many bytes until the reservation is dropped.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]: less is free.
    pub fn reserve(&self, bytes: u64) -> Result<Reservation> {
        let mut state = self.state();
        if state.reserved == 0 {
            state.resident_before = system::resident().unwrap_or(0);
        }
        state.check(bytes)?;
        state.reserved = state.reserved.saturating_add(bytes);
        Ok(Reservation { budget: self.clone(), bytes })
    }

    /// Checks that so many bytes could be reserved now.
    ///
    /// # Errors
    /// As [`Self::reserve`].
    pub fn check(&self, bytes: u64) -> Result<()> {
        self.state().check(bytes)
    }

    /// Bytes that are reserved.
    #[must_use]
    pub fn reserved(&self) -> u64 {
        self.state().reserved
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryBudget {
    fn default() -> Self {
        Self::system()
    }
}

impl State {
    fn check(&self, needed: u64) -> Result<()> {
        let free = match self.limit {
            Some(limit) => limit.saturating_sub(self.reserved),
            None => {
                let Some(available) = system::available() else { return Ok(()) };
                // What is reserved and already held is no longer available; what is not yet held still seems to be.
                let held = system::resident().unwrap_or(0).saturating_sub(self.resident_before).min(self.reserved);
                available.saturating_sub(self.reserved - held)
            }
        };
        if needed <= free { Ok(()) } else { Err(Error::OutOfMemory { needed, free }) }
    }
}

/// A part of a [`MemoryBudget`], given back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: MemoryBudget,
    bytes: u64,
}

impl Reservation {
    /// How many bytes it is for.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes so many bytes out of it as a reservation of their own; at most all.
    #[must_use]
    pub fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { budget: self.budget.clone(), bytes }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.budget.state();
        state.reserved = state.reserved.saturating_sub(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_that_do_not_fit_together_are_refused() {
        let budget = MemoryBudget::with_limit(100);
        let mut first = budget.reserve(60).unwrap();
        let refused = budget.reserve(50).unwrap_err();
        assert!(matches!(refused, Error::OutOfMemory { needed: 50, free: 40 }), "{refused}");
        let kept = first.split(10);
        drop(first);
        assert_eq!((budget.reserved(), kept.bytes()), (10, 10));
        assert!(budget.reserve(91).is_err());
        let second = budget.reserve(90).unwrap();
        drop((kept, second));
        assert_eq!(budget.reserved(), 0);
    }

    #[test]
    fn of_many_threads_only_as_many_pass_as_fit() {
        let budget = MemoryBudget::with_limit(100);
        let passed = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| budget.reserve(30).ok())).collect();
            // The reservations are held until all threads have asked.
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect::<Vec<_>>().len()
        });
        assert_eq!(passed, 3);
        assert_eq!(budget.reserved(), 0);
    }

    #[test]
    fn the_system_does_not_give_more_than_it_has() {
        if let Some(free) = system::available() {
            assert!(MemoryBudget::new(None).reserve(free.saturating_mul(4)).is_err());
        }
        assert!(MemoryBudget::new(None).reserve(1).is_ok());
    }
}
