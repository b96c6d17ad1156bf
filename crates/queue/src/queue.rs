//! What any engine does.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Job, JobError, JobId, NewJob, Result, ResultFile, State, Stop};

/// A job whose worker has died so often has failed: it may be what kills them.
pub const MAX_ATTEMPTS: u32 = 3;
/// How many jobs after an owner's first are looked at for one whose model is loaded.
pub(crate) const LOOK_AHEAD: usize = 32;
/// How often a job may be passed over for the sake of a loaded model.
pub(crate) const MAX_PASSED_OVER: u32 = 8;

/// What tells the time, in milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The system's clock.
#[must_use]
pub fn wall_clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Durable jobs. What a method has returned from is on the disk; what it has returned an error for has not happened.
///
/// Whose turn it is: the owner who was served longest ago; of that owner's jobs those of the highest priority; of these the oldest,
/// unless one of the next 32 needs a model that the worker has loaded. A job is passed over for that at most eight times.
pub trait Queue: Send + Sync {
    /// Takes a job in.
    ///
    /// # Errors
    /// Too many wait already, or its idempotency key was used with another body.
    fn submit(&self, job: NewJob) -> Result<Submitted>;

    /// A job, if there is one of this name.
    ///
    /// # Errors
    /// The engine can't read it.
    fn get(&self, id: JobId) -> Result<Option<Job>>;

    /// Jobs, the newest first.
    ///
    /// # Errors
    /// The engine can't read them.
    fn list(&self, list: &List) -> Result<Vec<Job>>;

    /// How many jobs there are.
    ///
    /// # Errors
    /// The engine can't read them.
    fn counts(&self) -> Result<Counts>;

    /// The job whose turn it is, for this worker, if any waits that it can do.
    ///
    /// # Errors
    /// The engine fails.
    fn claim(&self, worker: &Worker) -> Result<Option<Job>>;

    /// A worker begins.
    ///
    /// # Errors
    /// The lease is over.
    fn start(&self, lease: Lease) -> Result<()>;

    /// A worker has pictures, which are looked at now.
    ///
    /// # Errors
    /// The lease is over.
    fn check(&self, lease: Lease) -> Result<()>;

    /// A worker is alive. Its lease begins anew.
    ///
    /// # Errors
    /// The lease is over.
    fn beat(&self, lease: Lease) -> Result<Beat>;

    /// A worker is done. The results' files are there by now.
    ///
    /// # Errors
    /// The lease is over: what the worker made is not taken.
    fn finish(&self, lease: Lease, outcome: Outcome) -> Result<Job>;

    /// Nobody wants a job any more. A worker that has it learns so by its next beat.
    ///
    /// # Errors
    /// There is no such job, or it is over.
    fn cancel(&self, id: JobId) -> Result<Job>;

    /// A job that failed, was cancelled or expired is queued once more.
    ///
    /// # Errors
    /// There is no such job, it is in another state, or too many wait.
    fn retry(&self, id: JobId) -> Result<Job>;

    /// A job that waits gets another priority among its owner's.
    ///
    /// # Errors
    /// There is no such job, or it does not wait.
    fn prioritise(&self, id: JobId, priority: i32) -> Result<Job>;

    /// The jobs that wait, in the order of their turns as far as it is known: other models and limits of owners may change it.
    ///
    /// # Errors
    /// The engine can't read them.
    fn waiting(&self) -> Result<Vec<JobId>>;

    /// What a person says of held results.
    ///
    /// # Errors
    /// There is no such job, or it is not held.
    fn decide(&self, id: JobId, decision: Decision) -> Result<Job>;

    /// Does what time asks for: jobs of workers that are silent for too long are queued again or fail, and jobs whose time is over expire.
    /// Gives those that changed.
    ///
    /// # Errors
    /// The engine fails.
    fn tend(&self) -> Result<Vec<JobId>>;

    /// Forgets jobs that were over before this time, at most so many, with their events, and idempotency keys whose time is over. Gives the
    /// SHA-256 of files that no job has any more.
    ///
    /// # Errors
    /// The engine fails.
    fn prune(&self, over_before: u64, most: usize) -> Result<Vec<String>>;

    /// Forgets a job that is over, with its events. Gives the SHA-256 of files that no job has any more.
    ///
    /// # Errors
    /// There is no such job, or it is not over.
    fn forget(&self, id: JobId) -> Result<Vec<String>>;

    /// Whether any job has a result of this SHA-256.
    ///
    /// # Errors
    /// The engine can't read it.
    fn has_result(&self, sha256: &str) -> Result<bool>;

    /// Changes after event `after`, the oldest first: of an owner, of a job, or all.
    ///
    /// # Errors
    /// The engine can't read them.
    fn events(&self, of: Option<&str>, job: Option<JobId>, after: u64, most: usize) -> Result<Vec<Event>>;
}

/// A job that was taken in.
#[derive(Clone, Debug, PartialEq)]
pub struct Submitted {
    /// The job.
    pub job: Job,
    /// Whether it was not there before.
    pub is_new: bool,
}

/// Which jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// Of one owner.
    pub owner: Option<String>,
    /// In one state.
    pub state: Option<State>,
    /// Older than this one ([`Job::seq`]).
    pub before: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

/// How many jobs there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// That wait.
    pub queued: u64,
    /// That workers have.
    pub with_workers: u64,
}

/// Who asks for jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Its name.
    pub name: String,
    /// Whether it is part of this program.
    pub is_local: bool,
    /// The models that it has loaded.
    pub loaded: Vec<String>,
    /// The models that it can load; any, if none.
    pub available: Option<Vec<String>>,
    /// How long it may be silent, in milliseconds.
    pub lease_ms: u64,
}

impl Worker {
    /// Part of this program, for any model, with a lease of 30 seconds.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), is_local: true, loaded: Vec::new(), available: None, lease_ms: 30_000 }
    }

    pub(crate) fn can_do(&self, job: &Job) -> bool {
        self.available.as_ref().is_none_or(|models| models.contains(&job.model)) || self.has_loaded(job)
    }

    pub(crate) fn has_loaded(&self, job: &Job) -> bool {
        self.loaded.contains(&job.model)
    }
}

/// The right to say what came of an attempt at a job: a fencing token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: u32,
}

/// What a worker learns from a beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// It goes on.
    Continue,
    /// It stops, and says so by [`Outcome::Stopped`].
    Stop(Stop),
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Results that can be had.
    Succeeded(Vec<ResultFile>),
    /// Results that wait for a person, and why.
    Held(Vec<ResultFile>, Value),
    /// Nothing.
    Failed(JobError),
    /// It was stopped: as a beat had asked for, and the job is cancelled or has expired; or since the worker is going, and the job is
    /// queued again, at its place.
    Stopped,
}

/// What a person says of held results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether they can be had now; else they are forgotten.
    pub release: bool,
    /// Who.
    pub by: String,
    /// Why.
    pub why: String,
}

/// Something that happened to a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its place among all events.
    pub seq: u64,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// The job.
    pub job: JobId,
    /// Whose it is.
    pub owner: String,
    /// Where the job stands since.
    pub state: State,
    /// Its attempt.
    pub attempt: u32,
    /// Whether its worker is to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
}
