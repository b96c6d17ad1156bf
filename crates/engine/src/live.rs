//! What is known of the jobs that are being worked on: kept in memory, and gone with the process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use calotype::CancelToken;
use calotype_queue::{JobId, Lease};
use serde::Serialize;

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Progress {
    /// What is done now, in words.
    pub stage: String,
    /// Steps that were taken.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// From 0 to 1.
    pub fraction: f64,
    /// Seconds that are left, as far as that is known.
    pub eta_s: Option<f64>,
    /// The number of the newest preview, if there is one.
    pub preview: Option<u64>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { stage: "starting".to_owned(), step: 0, steps: 0, fraction: 0.0, eta_s: None, preview: None }
    }
}

/// A small image of where a job is going.
#[derive(Clone, Debug)]
pub struct Preview {
    /// Its number: it grows with each.
    pub version: u64,
    /// A JPEG file.
    pub jpeg: Arc<Vec<u8>>,
}

pub(crate) struct LiveJob {
    pub(crate) lease: Lease,
    pub(crate) cancel: CancelToken,
    pub(crate) progress: Progress,
    pub(crate) preview: Option<Preview>,
    told: Option<Instant>,
}

/// The jobs that are being worked on.
#[derive(Default)]
pub(crate) struct Live(Mutex<HashMap<JobId, LiveJob>>);

impl Live {
    /// A job begins; the token stops it.
    pub(crate) fn begin(&self, lease: Lease) -> CancelToken {
        let cancel = CancelToken::new();
        let job = LiveJob { lease, cancel: cancel.clone(), progress: Progress::new(), preview: None, told: None };
        self.jobs().insert(lease.job, job);
        cancel
    }

    pub(crate) fn end(&self, id: JobId) {
        self.jobs().remove(&id);
    }

    /// Stops a job, if it is worked on.
    pub(crate) fn cancel(&self, id: JobId) {
        if let Some(job) = self.jobs().get(&id) {
            job.cancel.cancel();
        }
    }

    /// Changes what is known, and gives it if it is time to tell it: `often` says how long not to.
    pub(crate) fn update(&self, id: JobId, often: Duration, change: impl FnOnce(&mut LiveJob)) -> Option<Progress> {
        let mut jobs = self.jobs();
        let job = jobs.get_mut(&id)?;
        change(job);
        if job.told.is_some_and(|told| told.elapsed() < often) {
            return None;
        }
        job.told = Some(Instant::now());
        Some(job.progress.clone())
    }

    pub(crate) fn progress(&self, id: JobId) -> Option<Progress> {
        self.jobs().get(&id).map(|job| job.progress.clone())
    }

    pub(crate) fn preview(&self, id: JobId) -> Option<Preview> {
        self.jobs().get(&id).and_then(|job| job.preview.clone())
    }

    /// All leases, and what stops their jobs.
    pub(crate) fn leases(&self) -> Vec<(Lease, CancelToken)> {
        self.jobs().values().map(|job| (job.lease, job.cancel.clone())).collect()
    }

    /// Stops every job that has longer than `left` to go.
    pub(crate) fn stop_all_but_the_last(&self, left: Duration) {
        for job in self.jobs().values() {
            if job.progress.eta_s.is_none_or(|eta| eta > left.as_secs_f64()) {
                job.cancel.cancel();
            }
        }
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<JobId, LiveJob>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
