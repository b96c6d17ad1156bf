//! Durable jobs: what is to be made, for whom, in which order, and what came of it. No HTTP and no pipelines: who takes jobs, and who
//! brings them, is others' business.
//!
//! ```text
//! queued → leased → running → checking → held → succeeded
//!    │        └────────┴────────┴─────────┴──→ failed, cancelled, expired, rejected
//! ```
//!
//! | part | what |
//! |---|---|
//! | [`Queue`] | what any engine does; its tests are written against it |
//! | [`Embedded`] | the engine in a file of its own, by `redb` |
//! | [`Results`] | the files that jobs end in, by their SHA-256 |
//!
//! What an engine has answered is on the disk: [`Queue::submit`] returns after the commit, so a job that was accepted outlives a
//! process that is killed and a power cut. A job that ran when its worker died runs again with the same request, and so the same seed; after the
//! third death it has failed. A worker that comes too late is told so: each attempt has a number, and only the last one counts.
//!
//! ```
//! use calotype_queue::{Embedded, EmbeddedOptions, NewJob, Outcome, Queue, State, Worker};
//!
//! # fn main() -> calotype_queue::Result<()> {
//! # let folder = std::env::temp_dir().join(format!("calotype-queue-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder).unwrap();
//! let queue = Embedded::open(&folder.join("queue.redb"), EmbeddedOptions::default())?;
//! let job = queue.submit(NewJob::new("alice", serde_json::json!({"prompt": "a fox"})))?.job;
//!
//! let worker = Worker::new("gpu-0");
//! let leased = queue.claim(&worker)?.expect("a job is ready");
//! assert_eq!(leased.id, job.id);
//! queue.start(leased.lease())?;
//! queue.finish(leased.lease(), Outcome::Succeeded(Vec::new()))?;
//! assert_eq!(queue.get(job.id)?.map(|job| job.state), Some(State::Succeeded));
//! # drop(queue);
//! # std::fs::remove_dir_all(&folder).unwrap();
//! # Ok(())
//! # }
//! ```

mod embedded;
mod error;
mod id;
mod job;
mod queue;
mod results;
mod transition;

pub use embedded::{Embedded, EmbeddedOptions};
pub use error::{Error, Result};
pub use id::JobId;
pub use job::{Held, Job, JobError, NewJob, Once, ResultFile, Running, State, Stop};
pub use queue::{
    Beat, Clock, Counts, Decision, Event, Lease, List, MAX_ATTEMPTS, Outcome, Queue, Submitted, Worker, wall_clock,
};
pub use redb::StorageBackend;
pub use results::Results;
