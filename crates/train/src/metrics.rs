//! `metrics.jsonl`: one line for each step, and the curve drawn from it.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use calotype_formats::write_atomic;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// The step, from 1.
    pub step: u64,
    /// The loss, a mean over the step's pictures.
    pub loss: f64,
    /// The parts of the loss, unweighted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub terms: BTreeMap<String, f64>,
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// The norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Wall-clock time of this step.
    pub seconds: f64,
    /// Pictures seen since the start.
    pub samples_seen: u64,
    /// What was measured on held-out pictures after this step.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub held_out: BTreeMap<String, f64>,
}

/// The open file, and the losses in it.
pub(crate) struct Metrics {
    path: PathBuf,
    file: File,
    pub(crate) losses: Vec<(f64, f64)>,
    pub(crate) last_held_out: BTreeMap<String, f64>,
}

impl Metrics {
    /// Opens the file and forgets what a killed run wrote after `step`, the step of its checkpoint.
    pub(crate) fn open(path: PathBuf, step: u64) -> Result<Self> {
        let text = match fs::read_to_string(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => String::new(),
            text => text.map_err(|e| Error::io(&path, "read the metrics", e))?,
        };
        // A line cut short by the kill doesn't parse, and goes as well.
        let (mut kept, mut losses, mut last_held_out) = (String::new(), Vec::new(), BTreeMap::new());
        for line in text.lines() {
            let Ok(metrics) = serde_json::from_str::<StepMetrics>(line) else { continue };
            if metrics.step <= step {
                kept.extend([line, "\n"]);
                losses.push((metrics.step as f64, metrics.loss));
                if !metrics.held_out.is_empty() {
                    last_held_out = metrics.held_out;
                }
            }
        }
        write_atomic(&path, |writer| writer.write_all(kept.as_bytes()))?;
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.map_err(|e| Error::io(&path, "append to the metrics", e))?;
        Ok(Self { path, file, losses, last_held_out })
    }

    pub(crate) fn push(&mut self, metrics: &StepMetrics) -> Result<()> {
        let failed = |e| Error::io(&self.path, "append to the metrics", e);
        let mut line = serde_json::to_string(metrics).map_err(|e| failed(e.into()))?;
        line.push('\n');
        let length = self.file.metadata().map_err(failed)?.len();
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            // Half a line is no line, and the next may follow.
            let _ = self.file.set_len(length);
            return Err(failed(error));
        }
        self.losses.push((metrics.step as f64, metrics.loss));
        if !metrics.held_out.is_empty() {
            self.last_held_out = metrics.held_out.clone();
        }
        Ok(())
    }
}

/// At most `count` points, each the mean of as many neighbours.
pub(crate) fn thin(points: &[(f64, f64)], count: usize) -> Vec<(f64, f64)> {
    let mean = |chunk: &[(f64, f64)]| {
        let sum = chunk.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (sum.0 / chunk.len() as f64, sum.1 / chunk.len() as f64)
    };
    points.chunks(points.len().div_ceil(count.max(1)).max(1)).map(mean).collect()
}

/// Writes a picture file, whole or not at all.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    Ok(write_atomic(path, |writer| writer.write_all(bytes))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(step: u64) -> StepMetrics {
        StepMetrics {
            step,
            loss: 1.0 / step as f64,
            terms: BTreeMap::new(),
            learning_rate: 1e-3,
            grad_norm: 0.5,
            seconds: 0.1,
            samples_seen: step * 4,
            held_out: if step == 2 { BTreeMap::from([("psnr".into(), 20.0)]) } else { BTreeMap::new() },
        }
    }

    #[test]
    fn lines_after_the_checkpoint_and_half_lines_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut file = Metrics::open(path.clone(), 0).unwrap();
        (1..=5).for_each(|step| file.push(&metrics(step)).unwrap());
        drop(file);
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend(b"{\"step\":6,\"lo");
        fs::write(&path, bytes).unwrap();

        let mut file = Metrics::open(path.clone(), 3).unwrap();
        assert_eq!(file.losses, [(1.0, 1.0), (2.0, 0.5), (3.0, 1.0 / 3.0)]);
        assert_eq!(file.last_held_out["psnr"], 20.0);
        file.push(&metrics(4)).unwrap();
        let lines = fs::read_to_string(&path).unwrap();
        let steps: Vec<u64> =
            lines.lines().map(|line| serde_json::from_str::<StepMetrics>(line).unwrap().step).collect();
        assert_eq!(steps, [1, 2, 3, 4]);
    }

    #[test]
    fn thinned_points_are_means() {
        let points: Vec<_> = (0..10).map(|i| (f64::from(i), 1.0)).collect();
        assert_eq!(thin(&points, 5), [(0.5, 1.0), (2.5, 1.0), (4.5, 1.0), (6.5, 1.0), (8.5, 1.0)]);
        assert_eq!(thin(&points, 100), points);
        assert_eq!(thin(&[], 3), []);
    }
}
