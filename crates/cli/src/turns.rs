//! Timed runs: some in a row, or one for each line on stdin, so that programs take turns.

use std::io;

use calotype::memory::peak_memory;
use calotype_bench::median;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{bench::gigabytes, failure::Failure, progress, stdout};

/// Runs in a row.
const RUNS: usize = 3;

/// Decides about another run, and keeps what the last ones took.
pub(crate) struct Turns {
    serve: bool,
    /// What is timed.
    what: &'static str,
    seconds: Vec<f64>,
    failure: Option<Failure>,
    spinner: indicatif::ProgressBar,
}

impl Turns {
    /// Runs for each line on stdin with `serve`, else [`RUNS`].
    pub(crate) fn new(serve: bool, what: &'static str) -> Self {
        let spinner = progress::spinner(serve, &format!("{what}: warm-up"));
        Self { serve, what, seconds: Vec::new(), failure: None, spinner }
    }

    /// Takes the seconds of the last run, none after the warm-up; whether to run again.
    pub(crate) fn next(&mut self, work: &impl Serialize, seconds: Option<f64>) -> bool {
        self.seconds.extend(seconds);
        self.spinner.set_message(format!("{}: {} of {RUNS}", self.what, self.seconds.len() + 1));
        if !self.serve {
            return self.seconds.len() < RUNS;
        }
        let answer = seconds.map_or_else(|| json!({"ready": work}), |seconds| json!({"seconds": seconds}));
        match stdout::print(&answer.to_string()).and_then(|()| line_on_stdin()) {
            Ok(another) => another,
            Err(failure) => {
                self.failure = Some(failure);
                false
            }
        }
    }

    /// Prints the report of runs in a row.
    pub(crate) fn finish(self, work: &impl Serialize, as_json: bool) -> Result<(), Failure> {
        self.spinner.finish_and_clear();
        match self.failure {
            Some(failure) => return Err(failure),
            None if self.serve => return Ok(()),
            None => {}
        }
        let mut report = json!({
            "seconds": median(&self.seconds),
            "runs_seconds": self.seconds,
            "peak_memory_bytes": peak_memory(),
        });
        if let (Some(report), Ok(Value::Object(work))) = (report.as_object_mut(), serde_json::to_value(work)) {
            report.extend(work);
        }
        if as_json {
            return stdout::print(&report.to_string());
        }
        let label = |key: &str| report[key].as_str().unwrap_or_default().to_owned();
        stdout::print(
            &[
                format!(
                    "{}, {} parameters, {}, {}",
                    label("name"),
                    report["parameters"],
                    label("precision"),
                    label("isa")
                ),
                format!("{:<25} {:9.3} s", self.what, median(&self.seconds)),
                format!("peak memory               {:>11}", gigabytes(peak_memory())),
            ]
            .join("\n"),
        )
    }
}

/// Waits for a line; none at the end of stdin.
fn line_on_stdin() -> Result<bool, Failure> {
    let read = io::stdin().read_line(&mut String::new());
    read.map(|bytes| bytes > 0).map_err(|error| Failure::Failed(format!("stdin: cannot be read: {error}")))
}
