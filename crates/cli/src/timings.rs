//! How long the parts of a batch took.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Takes the times of one batch.
pub(crate) struct Timings {
    process_start: Instant,
    first_step: Option<Instant>,
    steps: Vec<Duration>,
    decode: Duration,
}

impl Timings {
    pub(crate) fn new(process_start: Instant) -> Self {
        Self { process_start, first_step: None, steps: Vec::new(), decode: Duration::ZERO }
    }

    /// A step that began at `begin` is done.
    pub(crate) fn step(&mut self, begin: Instant) {
        self.first_step.get_or_insert_with(Instant::now);
        self.steps.push(begin.elapsed());
    }

    /// The decoding that began at `begin` is done.
    pub(crate) fn decoded(&mut self, begin: Instant) {
        self.decode = begin.elapsed();
    }

    /// Seconds: `first_step` from the start of the process to the end of the batch's first step, `step` the median step,
    /// `decode` from the last step to the pictures.
    pub(crate) fn json(&self) -> Value {
        let mut steps = self.steps.clone();
        steps.sort_unstable();
        json!({
            "first_step": self.first_step.map(|end| (end - self.process_start).as_secs_f64()),
            "step": steps.get(steps.len() / 2).map(Duration::as_secs_f64),
            "decode": self.decode.as_secs_f64(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_step_is_said() {
        let start = Instant::now();
        let mut timings = Timings::new(start);
        timings.steps = [5, 1, 3].map(Duration::from_secs).to_vec();
        timings.first_step = Some(start + Duration::from_secs(2));
        assert_eq!(timings.json(), json!({"first_step": 2.0, "step": 3.0, "decode": 0.0}));
        assert_eq!(Timings::new(start).json(), json!({"first_step": null, "step": null, "decode": 0.0}));
    }
}
