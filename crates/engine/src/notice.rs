//! What an engine tells whoever watches it.

use std::time::Duration;

use calotype_queue::{Event, JobId};

use crate::Progress;

/// Something that happened. Events are on the disk and can be asked for later; the rest is told once.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notice {
    /// A job is in another state.
    Event(Event),
    /// A job is further.
    Progress {
        /// The job.
        job: JobId,
        /// Whose it is.
        owner: String,
        /// How far.
        progress: Progress,
    },
    /// How long something took.
    Took {
        /// `text`, `image`, `load`, `denoise`, `decode`, `check`, `file` or `store`; `step` for each step; `wait` for the time in the queue.
        stage: &'static str,
        /// How long.
        time: Duration,
    },
    /// Images were made.
    Images {
        /// How many.
        count: usize,
        /// Pixels times steps of all.
        pixel_steps: f64,
    },
    /// A classifier said something.
    Verdict {
        /// Which.
        classifier: String,
        /// The policy's action: `allow`.
        verdict: String,
    },
}

/// Who is told.
pub(crate) type Watch = Box<dyn Fn(&Notice) + Send + Sync>;
