//! Networks in memory, as long as they are in use.

use std::{
    sync::{Mutex, MutexGuard, TryLockError},
    thread,
    time::Duration,
};

use calotype_tensor::{CancelToken, Device};

use crate::{Result, adapters::Key, memory::Reservation};

/// Which networks stay in memory between their uses; one that does not is read again when it is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// None: the least memory.
    #[default]
    Nothing,
    /// The UNet, for several runs in a row.
    UNet,
    /// All, for a program that makes images all day.
    All,
}

/// A network, and the backend that it is on. It has its own, so that with the network all memory goes that it used.
#[derive(Clone)]
pub(crate) struct Resident<D: Device, N> {
    pub(crate) backend: D::Backend,
    pub(crate) network: N,
}

/// The place of a network that may be in memory.
pub(crate) struct Slot<D: Device, N> {
    kept: Mutex<Option<Kept<D, N>>>,
    keeps: bool,
}

struct Kept<D: Device, N> {
    key: Key,
    resident: Resident<D, N>,
    /// The memory of its weights.
    _reservation: Reservation,
}

impl<D: Device, N: Clone> Slot<D, N> {
    /// A place that `keeps` the network once it is read, or never does.
    pub(crate) fn new(keeps: bool) -> Self {
        Self { kept: Mutex::new(None), keeps }
    }

    /// The network that is there, if it was read with `key`; a slot whose network is being read counts as empty.
    pub(crate) fn holds(&self, key: &Key) -> bool {
        self.kept.try_lock().is_ok_and(|kept| kept.as_ref().is_some_and(|kept| kept.key == *key))
    }

    /// The network, made by `load` if it is not there as by `key`; `weights` is the memory of its weights, which it holds as
    /// long as it is kept. Clones share the weights.
    ///
    /// Its operations stop when `cancel` is cancelled.
    pub(crate) fn get(
        &self,
        key: Key,
        cancel: &CancelToken,
        weights: impl FnOnce() -> Reservation,
        load: impl FnOnce() -> Result<Resident<D, N>>,
    ) -> Result<Resident<D, N>> {
        // Held while reading, so that it is read once.
        let mut kept = self.lock(cancel)?;
        if let Some(kept) = kept.as_ref().filter(|kept| kept.key == key) {
            let Resident { backend, network } = kept.resident.clone();
            return Ok(Resident { backend: D::with_cancel(&backend, cancel.clone()), network });
        }
        // Another's memory is free before this one is read.
        *kept = None;
        let resident = load()?;
        if self.keeps {
            *kept = Some(Kept { key, resident: resident.clone(), _reservation: weights() });
        }
        Ok(resident)
    }

    /// Waits for whoever reads the network, or until the token is cancelled.
    fn lock(&self, cancel: &CancelToken) -> Result<MutexGuard<'_, Option<Kept<D, N>>>> {
        loop {
            cancel.check()?;
            match self.kept.try_lock() {
                Ok(kept) => return Ok(kept),
                Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use calotype_tensor::{BackendOptions, cpu::CpuDevice};

    use super::*;
    use crate::memory::MemoryBudget;

    #[test]
    fn a_slot_reads_once_if_it_keeps_and_each_time_if_not() {
        let (device, budget) = (CpuDevice::new(Default::default()).unwrap(), MemoryBudget::with_limit(100));
        for (keeps, expected) in [(true, [1, 1]), (false, [1, 2])] {
            let slot = Slot::<CpuDevice, i32>::new(keeps);
            let mut reads = 0;
            let mut get = |key: Key| {
                let load = || {
                    reads += 1;
                    Ok(Resident { backend: device.backend(BackendOptions::default())?, network: reads })
                };
                slot.get(key, &CancelToken::new(), || budget.reserve(10).unwrap(), load).unwrap().network
            };
            assert_eq!([get(Key::default()), get(Key::default())], expected);
            assert_eq!(get(Key::of_text("other")), expected[1] + 1);
            assert_eq!(budget.reserved(), if keeps { 10 } else { 0 });
            assert!(slot.holds(&Key::of_text("other")) == keeps && !slot.holds(&Key::default()));
            let cancelled = CancelToken::new();
            cancelled.cancel();
            let load = || Ok(Resident { backend: device.backend(BackendOptions::default())?, network: 0 });
            let refused = slot.get(Key::default(), &cancelled, || budget.reserve(10).unwrap(), load);
            assert!(refused.is_err_and(|error| error.is_cancelled()));
        }
    }
}
