//! What a queue promises, held to by its engine: the rules, the same rules in a model of their own under random use, storage that fails
//! or loses its power, and processes that are killed.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests")]

mod kills;
mod model;
mod rules;
mod storage;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use calotype_queue::{Clock, EmbeddedOptions};

/// A clock that stands still until it is set.
#[derive(Clone, Default)]
pub(crate) struct Time(Arc<AtomicU64>);

impl Time {
    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn pass(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }

    pub(crate) fn clock(&self) -> Clock {
        let time = self.clone();
        Arc::new(move || time.now())
    }

    pub(crate) fn options(&self) -> EmbeddedOptions {
        EmbeddedOptions { clock: self.clock(), ..EmbeddedOptions::default() }
    }
}

/// A number from the environment: how large a test is.
pub(crate) fn size(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}
