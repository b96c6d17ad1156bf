//! Networks in memory, as long as they are in use.

use std::sync::{Mutex, PoisonError};

use calotype_tensor::cpu::Cpu;

use crate::{Result, adapters::Key};

/// Which networks stay in memory between their uses; one that does not is read again when it is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// None: the least memory.
    #[default]
    Nothing,
    /// The UNet, for several runs in a row.
    UNet,
    /// All, for a program that makes pictures all day.
    All,
}

/// A network, and the backend that it is on. It has its own, so that with the network all memory goes that it used.
#[derive(Clone)]
pub(crate) struct Resident<N> {
    pub(crate) backend: Cpu,
    pub(crate) network: N,
}

/// The place of a network that may be in memory.
pub(crate) struct Slot<N> {
    kept: Mutex<Option<(Key, Resident<N>)>>,
    keeps: bool,
}

impl<N: Clone> Slot<N> {
    /// A place that `keeps` the network once it is read, or never does.
    pub(crate) fn new(keeps: bool) -> Self {
        Self { kept: Mutex::new(None), keeps }
    }

    /// The network, read with `load` on a `backend` of its own if it is not there as by `key`. Clones share the weights.
    pub(crate) fn get(
        &self,
        key: Key,
        backend: impl FnOnce() -> Result<Cpu>,
        load: impl FnOnce(&Cpu) -> Result<N>,
    ) -> Result<Resident<N>> {
        // Held while reading, so that it is read once.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, resident)) = kept.as_ref().filter(|(of, _)| *of == key) {
            return Ok(resident.clone());
        }
        // Another's memory is free before this one is read.
        *kept = None;
        let backend = backend()?;
        let resident = Resident { network: load(&backend)?, backend };
        if self.keeps {
            *kept = Some((key, resident.clone()));
        }
        Ok(resident)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_reads_once_if_it_keeps_and_each_time_if_not() {
        for (keeps, expected) in [(true, [1, 1]), (false, [1, 2])] {
            let slot = Slot::new(keeps);
            let mut reads = 0;
            let mut read = |_: &Cpu| {
                reads += 1;
                Ok(reads)
            };
            let got = [
                slot.get(Key::default(), || Ok(Cpu::new(1)?), &mut read).unwrap().network,
                slot.get(Key::default(), || Ok(Cpu::new(1)?), &mut read).unwrap().network,
            ];
            assert_eq!(got, expected);
            let other = slot.get(Key::of_text("other"), || Ok(Cpu::new(1)?), &mut read).unwrap().network;
            assert_eq!(other, expected[1] + 1);
        }
    }
}
