//! What to do when a server fails: wait, longer each time, and try again a bounded number of times.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{Error, Event, Result, Watch};

/// How often in a row something may fail before it is given up.
const MOST: u32 = 5;

/// The longest that a server may ask to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// How often a [`Watch`] is asked, while waiting, whether to go on.
const TICK: Duration = Duration::from_millis(50);

/// Why an attempt failed.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It may work later.
    Passing {
        /// The server.
        host: String,
        problem: String,
        /// When to come back, if the server said so.
        after: Option<Duration>,
    },
    /// It never will.
    Lasting(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Lasting(error)
    }
}

/// Failures in a row.
pub(crate) struct Retries {
    failures: u32,
    /// The wait after the first failure.
    backoff: Duration,
}

impl Retries {
    pub(crate) fn new(backoff: Duration) -> Self {
        Self { failures: 0, backoff }
    }

    /// Something came of it: the failures before don't count.
    pub(crate) fn progressed(&mut self) {
        self.failures = 0;
    }

    /// Waits until it is time for the next attempt.
    pub(crate) fn wait(&mut self, trouble: Trouble, watch: &mut dyn Watch) -> Result<()> {
        let (host, problem, after) = match trouble {
            Trouble::Passing { host, problem, after } => (host, problem, after),
            Trouble::Lasting(error) => return Err(error),
        };
        if let Some(after) = after.filter(|after| *after > LONGEST_WAIT) {
            let problem = format!("{problem}, and asks to come back in {} s: try again then", after.as_secs());
            return Err(Error::Network { host, problem });
        }
        if self.failures == MOST {
            let problem = format!("{problem}, {} times in a row; the same command goes on later", MOST + 1);
            return Err(Error::Network { host, problem });
        }
        let wait = after.unwrap_or(self.backoff * 2_u32.pow(self.failures));
        self.failures += 1;
        let problem = format!("{host}: {problem}");
        let end = Instant::now() + wait;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if watch.event(Event::Retrying { problem: &problem, wait: left }).is_break() {
                return Err(Error::Stopped);
            }
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(TICK));
        }
    }
}

/// The first success of `attempt`.
pub(crate) fn retrying<T>(
    backoff: Duration,
    watch: &mut dyn Watch,
    mut attempt: impl FnMut() -> Result<T, Trouble>,
) -> Result<T> {
    let mut retries = Retries::new(backoff);
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(trouble) => retries.wait(trouble, watch)?,
        }
    }
}
