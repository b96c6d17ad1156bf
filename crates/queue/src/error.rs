use std::path::Path;

use crate::{JobId, State};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a queue. Each message is one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such job.
    #[error("there is no job {0}")]
    NotFound(JobId),
    /// A job is not in a state from which this can be done.
    #[error("job {id} is {state}: it can't be {done}")]
    WrongState {
        /// The job.
        id: JobId,
        /// What it is in.
        state: State,
        /// What was to be done, as a participle: `cancelled`.
        done: &'static str,
    },
    /// A worker's lease is over: another attempt has begun, or the job has ended.
    #[error("attempt {attempt} of job {id} is over: what it made is not taken")]
    Stale {
        /// The job.
        id: JobId,
        /// The worker's attempt.
        attempt: u32,
    },
    /// An idempotency key was used with another request.
    #[error("the idempotency key {key:?} was used with another request: use a new key")]
    OtherRequest {
        /// The key.
        key: String,
    },
    /// No more jobs are taken for now.
    #[error("{limit} jobs are waiting{}: try again later", if *.of_owner { " of this key" } else { "" })]
    Full {
        /// How many may wait.
        limit: u64,
        /// Whether that is the owner's limit, not that of the whole queue.
        of_owner: bool,
    },
    /// A record was written by a newer version, or is damaged.
    #[error("{what} can't be read: {problem}")]
    Record {
        /// Which record.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The engine could not read or write. Nothing of what was asked for has happened.
    #[error("the queue's storage failed: {0}")]
    Storage(String),
    /// A result can't be written or read.
    #[error("{0}")]
    Results(String),
    /// The queue was closed.
    #[error("the queue is closed")]
    Closed,
}

impl Error {
    pub(crate) fn record(what: impl Into<String>, problem: impl ToString) -> Self {
        Self::Record { what: what.into(), problem: problem.to_string() }
    }

    pub(crate) fn results(path: &Path, action: &str, problem: impl ToString) -> Self {
        Self::Results(format!("{}: cannot {action}: {}", path.display(), problem.to_string()))
    }
}
