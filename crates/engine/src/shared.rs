//! What the parts of an engine share.

use std::{
    path::PathBuf,
    sync::{
        Condvar, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use calotype_publish::Publisher;
use calotype_queue::{Embedded, Queue, ResultFile, Results};

use crate::{Catalogue, Error, Limits, Notice, Result, live::Live, loaded::Loaded, notice::Watch, rates::Rates};

/// Most events that are told at once.
const EVENTS: usize = 1000;

pub(crate) struct Shared {
    pub(crate) queue: Embedded,
    pub(crate) catalogue: Catalogue,
    pub(crate) loaded: Loaded,
    pub(crate) live: Live,
    pub(crate) rates: Rates,
    pub(crate) results: Results,
    /// Images that wait for a person, apart from those that may be seen.
    pub(crate) held: Results,
    pub(crate) inputs: Results,
    pub(crate) publisher: Publisher,
    pub(crate) options: Kept,
    pub(crate) watch: Watch,
    /// The last event that was told.
    pub(crate) told: Mutex<u64>,
    /// Held for reading while a job is taken in, so that its input images stay.
    pub(crate) submitting: RwLock<()>,
    pub(crate) is_draining: AtomicBool,
    /// When the worker was seen last, in milliseconds since `started`.
    pub(crate) ticked: AtomicU64,
    pub(crate) started: Instant,
    pub(crate) news: (Mutex<()>, Condvar),
}

/// What is still needed of the options.
pub(crate) struct Kept {
    pub(crate) data: PathBuf,
    pub(crate) limits: Limits,
    pub(crate) max_queued: u64,
    pub(crate) disk_floor: u64,
    pub(crate) keep_results: Duration,
    pub(crate) keep_held: Duration,
}

impl Shared {
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::SeqCst)
    }

    /// No job is begun from now on.
    pub(crate) fn go(&self) {
        self.is_draining.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub(crate) fn tell(&self, notice: &Notice) {
        (self.watch)(notice);
    }

    /// Tells the events that were not told yet.
    pub(crate) fn tell_events(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match self.queue.events(None, None, *told, EVENTS) {
                Ok(events) => {
                    let is_last = events.len() < EVENTS;
                    for event in events {
                        *told = event.seq;
                        self.tell(&Notice::Event(event));
                    }
                    if is_last {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "events can't be read");
                    return;
                }
            }
        }
    }

    /// The number of the last event that was told.
    pub(crate) fn last_event(&self) -> u64 {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The worker is alive.
    pub(crate) fn tick(&self) {
        self.ticked.store(self.now(), Ordering::Relaxed);
    }

    /// How long ago the worker was seen.
    pub(crate) fn since_tick(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.ticked.load(Ordering::Relaxed)))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn wake(&self) {
        drop(self.news.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.news.1.notify_all();
    }

    pub(crate) fn wait_for_work(&self, most: Duration) {
        let guard = self.news.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What came while nobody waited is found by the next claim.
        drop(self.news.1.wait_timeout(guard, most));
    }

    pub(crate) fn input(&self, sha256: &str) -> Result<Vec<u8>> {
        let none = |_| Error::NoInput { sha256: sha256.chars().take(64).collect() };
        self.inputs.get(sha256).map_err(none)
    }

    /// The file of a held result; one that the policy let through lies with the others.
    pub(crate) fn held_original(&self, result: &ResultFile) -> Result<Vec<u8>> {
        let folder = if result.about["blurred"].is_string() { &self.held } else { &self.results };
        Ok(folder.get(&result.sha256)?)
    }

    pub(crate) fn check_disk(&self) -> Result<()> {
        let Kept { data, disk_floor, .. } = &self.options;
        let free = fs4::available_space(data)
            .map_err(|error| Error::Folder { folder: data.clone(), problem: error.to_string() })?;
        if free < *disk_floor {
            return Err(Error::DiskFull { free_mb: free >> 20, floor_mb: disk_floor >> 20 });
        }
        Ok(())
    }
}
