//! Passes on what the engine tells to whoever listens: streams of events, and requests that wait for a job.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use calotype_engine::{Engine, Notice};
use calotype_queue::{Job, JobId, State};
use tokio::sync::{broadcast, watch};

use crate::problem::{Problem, Result};

/// Notices that a slow listener may be behind.
const BEHIND: usize = 4096;

/// Cloning shares it.
#[derive(Clone)]
pub(crate) struct Hub {
    notices: broadcast::Sender<Arc<Notice>>,
    /// Whether the server goes.
    going: watch::Sender<bool>,
}

impl Hub {
    pub(crate) fn new() -> Self {
        Self { notices: broadcast::Sender::new(BEHIND), going: watch::Sender::new(false) }
    }

    /// Tells everybody. Nobody may be there.
    pub(crate) fn tell(&self, notice: &Notice) {
        let _ = self.notices.send(Arc::new(notice.clone()));
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.notices.subscribe()
    }

    /// The server goes: streams end.
    pub(crate) fn go(&self) {
        self.going.send_replace(true);
    }

    pub(crate) fn going(&self) -> watch::Receiver<bool> {
        self.going.subscribe()
    }

    /// Waits until a job is over or held, or so long. The job as it is then.
    pub(crate) async fn wait(&self, engine: &Engine, id: JobId, most: Duration) -> Result<Job> {
        let mut notices = self.listen();
        let mut going = self.going();
        let end = Instant::now() + most;
        loop {
            let read = engine.clone();
            let job = blocking(move || Ok(read.job(id)?)).await?.ok_or_else(|| Problem::not_found("job"))?;
            if job.state.is_over() || job.state == State::Held {
                return Ok(job);
            }
            let is_news = |notice: &Notice| matches!(notice, Notice::Event(event) if event.job == id && (event.state.is_over() || event.state == State::Held));
            loop {
                let left = end.saturating_duration_since(Instant::now());
                tokio::select! {
                    // Looked at again from time to time, whatever was missed.
                    () = tokio::time::sleep(left.min(Duration::from_secs(5))) => break,
                    () = gone(&mut going) => return Ok(job),
                    notice = notices.recv() => match notice {
                        Ok(notice) if !is_news(&notice) => {}
                        _ => break,
                    },
                }
            }
            if Instant::now() >= end {
                let read = engine.clone();
                return blocking(move || Ok(read.job(id)?)).await?.ok_or_else(|| Problem::not_found("job"));
            }
        }
    }
}

/// Waits until the server goes.
pub(crate) async fn gone(going: &mut watch::Receiver<bool>) {
    // Without a sender it has gone.
    let _ = going.wait_for(|going| *going).await;
}

/// Does what may wait for the disk or compute, on a thread of its own.
pub(crate) async fn blocking<R: Send + 'static>(work: impl FnOnce() -> Result<R> + Send + 'static) -> Result<R> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => {
            tracing::error!(%error, "a request ended in a panic");
            Err(Problem::internal())
        }
    }
}
