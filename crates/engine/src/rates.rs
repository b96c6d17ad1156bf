//! How long jobs take, as learned from those that were done.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How much a new job counts beside those before it.
const SHARE: f64 = 0.3;

/// Seconds for a pixel and a step, by model.
#[derive(Default)]
pub(crate) struct Rates(Mutex<HashMap<String, f64>>);

impl Rates {
    /// A job of so many pixel-steps took this long.
    pub(crate) fn learn(&self, model: &str, pixel_steps: f64, took: Duration) {
        let rate = took.as_secs_f64() / pixel_steps.max(1.0);
        let mut rates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = rates.entry(model.to_owned()).or_insert(rate);
        *known += SHARE * (rate - *known);
    }

    /// Seconds that a job will take, if there was one of its model.
    pub(crate) fn estimate(&self, model: &str, pixel_steps: f64) -> Option<f64> {
        let rates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rates.get(model).map(|rate| rate * pixel_steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_follows_what_jobs_took() {
        let rates = Rates::default();
        assert_eq!(rates.estimate("m", 10.0), None);
        rates.learn("m", 100.0, Duration::from_secs(10));
        assert_eq!(rates.estimate("m", 50.0), Some(5.0));
        (0..50).for_each(|_| rates.learn("m", 100.0, Duration::from_secs(20)));
        assert!((rates.estimate("m", 50.0).unwrap() - 10.0).abs() < 1e-3);
        assert_eq!(rates.estimate("other", 1.0), None);
    }
}
