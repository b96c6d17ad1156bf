//! What a job is.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{JobId, Lease};

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for its turn.
    Queued,
    /// A worker has it, but has not begun.
    Leased,
    /// It is worked on.
    Running,
    /// Its pictures are there, and are looked at.
    Checking,
    /// Its pictures wait for a person.
    Held,
    /// Its pictures can be had.
    Succeeded,
    /// It could not be done.
    Failed,
    /// Somebody did not want it any more.
    Cancelled,
    /// Its time was over.
    Expired,
    /// A person did not let its pictures through.
    Rejected,
}

impl State {
    /// Its id: `queued`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Leased => "leased",
            Self::Running => "running",
            Self::Checking => "checking",
            Self::Held => "held",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
        }
    }

    /// Whether a worker has it.
    #[must_use]
    pub const fn is_with_worker(self) -> bool {
        matches!(self, Self::Leased | Self::Running | Self::Checking)
    }

    /// Whether nothing more happens to it by itself.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Expired | Self::Rejected)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// Whose it is: the id of a key.
    pub owner: String,
    /// Of an owner's jobs those with more come first.
    pub priority: i32,
    /// The model that it needs, by which workers that have it loaded are preferred.
    pub model: String,
    /// What is to be made.
    pub request: Value,
    /// Milliseconds since 1970 after which nobody wants it any more.
    pub not_after: Option<u64>,
    /// At most so many of its owner's jobs wait: one more is refused.
    pub max_queued: Option<u64>,
    /// At most so many of its owner's jobs are with workers: it waits.
    pub max_running: Option<u64>,
    /// Makes sending it twice the same as once.
    pub once: Option<Once>,
}

impl NewJob {
    /// With nothing special about it.
    #[must_use]
    pub fn new(owner: impl Into<String>, request: Value) -> Self {
        Self {
            owner: owner.into(),
            priority: 0,
            model: String::new(),
            request,
            not_after: None,
            max_queued: None,
            max_running: None,
            once: None,
        }
    }
}

/// An idempotency key of an owner, and what was sent with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    /// The key.
    pub key: String,
    /// SHA-256 of the body that came with it.
    pub body: [u8; 32],
    /// Milliseconds since 1970 after which the key is forgotten.
    pub expires: u64,
}

/// A job, as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its name.
    pub id: JobId,
    /// Its place in the order of arrival.
    pub seq: u64,
    /// Whose it is.
    pub owner: String,
    /// Of an owner's jobs those with more come first.
    pub priority: i32,
    /// The model that it needs.
    pub model: String,
    /// What is to be made.
    pub request: Value,
    /// When it came, in milliseconds since 1970.
    pub submitted: u64,
    /// When nobody wants it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<u64>,
    /// At most so many of its owner's jobs are with workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_running: Option<u64>,
    /// Where it stands.
    pub state: State,
    /// When that began.
    pub since: u64,
    /// How often a worker has taken it, and the number of the attempt that counts.
    pub attempt: u32,
    /// Attempts whose workers died.
    pub deaths: u32,
    /// How often a job that came later was taken first, for the sake of a loaded model.
    #[serde(default)]
    pub passed_over: u32,
    /// The worker that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Running>,
    /// Why the worker that has it should stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<ResultFile>,
    /// Why its results are held, and what was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// Why it has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<JobError>,
}

impl Job {
    /// The right to say what came of the attempt that counts.
    #[must_use]
    pub const fn lease(&self) -> Lease {
        Lease { job: self.id, attempt: self.attempt }
    }
}

/// A worker that has a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Its name.
    pub worker: String,
    /// Whether it is part of the program that has the queue, and so has died when that program starts.
    pub is_local: bool,
    /// When it is taken for dead, in milliseconds since 1970.
    pub until: u64,
    /// How long it may be silent.
    pub lease_ms: u64,
}

/// Why a worker should stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// The job was cancelled.
    Cancelled,
    /// Its time is over.
    Expired,
}

/// A file that a job has ended in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultFile {
    /// The SHA-256 of its bytes, in hexadecimal: where [`Results`](crate::Results) has it.
    pub sha256: String,
    /// How many bytes.
    pub bytes: u64,
    /// `image/png`.
    pub media_type: String,
    /// What else is known of it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub about: Value,
}

/// Why results are held for a person, and what that person said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// What the check found.
    pub reason: Value,
    /// Who decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Why a job has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// For programs: `out_of_memory`.
    pub code: String,
    /// For people, in one line.
    pub message: String,
}
