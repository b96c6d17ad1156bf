//! The backend on a driver: that of a card, or one that computes on the processor.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod agreement;
mod bits;
mod counts;
mod faults;
mod judged;
mod kept;
mod memory;
mod setup;
mod wide;
