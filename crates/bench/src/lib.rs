//! How long the parts of a run take on this machine, and where the time goes.

mod machine;
mod part;
mod profile;
mod whole;

pub use machine::{Machine, Work};
pub use part::{BenchPart, PartWork, bench_part};
pub use profile::{BenchProfile, PartProfile, Peak, Peaks, ProfileRow};
pub use whole::{BenchOptions, BenchReport, BenchSource, BenchWork, bench, median};
