//! What the reference makes of every case.

use std::sync::LazyLock;

use calotype_tensor::cases;
pub(crate) use calotype_tensor::cases::truth::{Expected, ROUNDING, TRUTH, Truth, distance, upload, widen};

/// The truth of the whole table, gradients included.
pub(crate) static TRUTHS: LazyLock<Vec<Truth>> = LazyLock::new(|| {
    let truth = |case: &cases::Case| Truth::new(case, true).unwrap_or_else(|error| panic!("{case}: {error}"));
    cases::table().iter().map(truth).collect()
});
