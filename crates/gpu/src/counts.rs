//! What a device was asked for: figures that need no clock.

use std::{collections::BTreeMap, fmt};

/// What a device was asked for since it was opened, or since other counts were taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Floating-point operations, as [`Op::flops`](calotype_tensor::Op::flops) counts.
    pub flops: f64,
    /// By what is computed.
    pub kernels: BTreeMap<&'static str, Tally>,
}

/// Runs of one kind of kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many there were.
    pub dispatches: u64,
    /// Bytes that they are bound to: each reads its arguments and writes its result once.
    pub bytes: u64,
}

impl Counts {
    /// Runs of kernels.
    #[must_use]
    pub fn dispatches(&self) -> u64 {
        self.kernels.values().map(|tally| tally.dispatches).sum()
    }

    /// Bytes that they are bound to.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.kernels.values().map(|tally| tally.bytes).sum()
    }

    /// What came after `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let tally = |(&name, now): (&&'static str, &Tally)| {
            let before = before.kernels.get(name).copied().unwrap_or_default();
            let [dispatches, bytes] = [now.dispatches - before.dispatches, now.bytes - before.bytes];
            (dispatches > 0).then_some((name, Tally { dispatches, bytes }))
        };
        Self { flops: self.flops - before.flops, kernels: self.kernels.iter().filter_map(tally).collect() }
    }

    pub(crate) fn add(&mut self, name: &'static str, bytes: u64) {
        let tally = self.kernels.entry(name).or_default();
        tally.dispatches += 1;
        tally.bytes += bytes;
    }
}

impl fmt::Display for Counts {
    /// The sums, then a line for each kind of kernel.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        let [dispatches, bytes] = [self.dispatches(), self.bytes()];
        write!(f, "{dispatches} dispatches, {:.0} MB, {:.1} GFLOP", megabytes(bytes), self.flops / 1e9)?;
        for (name, tally) in &self.kernels {
            write!(f, "\n  {name:<20}{:>6}{:>10.1} MB", tally.dispatches, megabytes(tally.bytes))?;
        }
        Ok(())
    }
}
