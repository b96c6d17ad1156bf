//! How an engine works.

use std::{path::PathBuf, time::Duration};

use calotype::memory::MemoryBudget;
use calotype_publish::Publisher;

use crate::{Card, Limits};

/// How an [`Engine`] works.
pub struct EngineOptions {
    /// The folder of everything that it keeps: the queue, results, input images.
    pub data: PathBuf,
    /// Folders of models and adapters.
    pub models: Vec<PathBuf>,
    /// What every image goes through on its way out.
    pub publisher: Publisher,
    /// The most that a request may ask for.
    pub limits: Limits,
    /// At most so many jobs wait.
    pub max_queued: u64,
    /// Bytes of the disk that are left free: below it no jobs are taken.
    pub disk_floor: u64,
    /// How long jobs and their results are kept after they are over.
    pub keep_results: Duration,
    /// How long held images wait for a person.
    pub keep_held: Duration,
    /// Threads that compute; all of the machine if 0.
    pub threads: usize,
    /// The number type; the fastest if none is given.
    pub precision: Option<calotype::Precision>,
    /// The graphics card that computes; the processor if none is given.
    pub card: Option<Card>,
    /// The memory of all jobs.
    pub memory: MemoryBudget,
}

impl EngineOptions {
    /// The usual ones, with what is kept in `data`.
    #[must_use]
    pub fn new(data: PathBuf, publisher: Publisher) -> Self {
        Self {
            data,
            models: Vec::new(),
            publisher,
            limits: Limits::default(),
            max_queued: 1000,
            disk_floor: 1 << 30,
            keep_results: Duration::from_secs(30 * 24 * 3600),
            keep_held: Duration::from_secs(30 * 24 * 3600),
            threads: 0,
            precision: None,
            card: None,
            memory: MemoryBudget::system(),
        }
    }
}
