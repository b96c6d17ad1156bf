//! Jobs that a connection waits for: when the last one that waits goes away, nobody wants the job any more.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::http::StatusCode;
use calotype_engine::{Engine, Preparation, Submission};
use calotype_queue::{Job, JobError, JobId, ResultFile, State};
use tokio::runtime::Handle;

use crate::{
    app::App,
    auth::Caller,
    hub::blocking,
    problem::{Problem, Result},
};

/// A wait has no end but the job's; this is how often it begins anew.
const LONG: Duration = Duration::from_secs(3600);

/// How many connections wait for each job.
#[derive(Default)]
pub(crate) struct Attended(Mutex<HashMap<JobId, usize>>);

impl Attended {
    fn counts(&self) -> MutexGuard<'_, HashMap<JobId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one less. Whether it was the last.
    fn leave(&self, id: JobId) -> bool {
        let mut counts = self.counts();
        let Some(count) = counts.get_mut(&id) else { return false };
        *count -= 1;
        let is_last = *count == 0;
        if is_last {
            counts.remove(&id);
        }
        is_last
    }
}

/// What becomes of a job when nobody waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unattended {
    /// It is made all the same.
    Stays,
    /// It is cancelled, if nobody comes back within this time.
    Ends(Duration),
}

/// A connection that waits for a job.
pub(crate) struct Attendance {
    app: App,
    /// The job, as it was when it was taken in.
    pub(crate) job: Job,
    unattended: Unattended,
}

impl Attendance {
    pub(crate) fn new(app: &App, job: Job, unattended: Unattended) -> Self {
        *app.attended.counts().entry(job.id).or_default() += 1;
        Self { app: Arc::clone(app), job, unattended }
    }

    /// Waits until the job is over, held, or can't be waited for.
    pub(crate) async fn wait(mut self) -> Result<Job> {
        let job = loop {
            let job = self.app.hub.wait(&self.app.engine, self.job.id, LONG).await?;
            let has_ended = job.state.is_over() || job.state == State::Held;
            if has_ended || *self.app.hub.going().borrow() {
                break job;
            }
        };
        if job.state.is_over() || job.state == State::Held {
            self.unattended = Unattended::Stays;
        }
        Ok(job)
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        let is_last = self.app.attended.leave(self.job.id);
        let (Unattended::Ends(grace), true, Ok(runtime)) = (self.unattended, is_last, Handle::try_current()) else {
            return;
        };
        let (app, id) = (Arc::clone(&self.app), self.job.id);
        let cancel = move |app: &App| {
            // It may be over, which is as well.
            let _ = app.engine.cancel(id);
        };
        // The server does not wait for anybody who may come back.
        if grace.is_zero() || *app.hub.going().borrow() {
            drop(runtime.spawn_blocking(move || cancel(&app)));
            return;
        }
        drop(runtime.spawn(async move {
            tokio::time::sleep(grace).await;
            if !app.attended.counts().contains_key(&id) {
                drop(tokio::task::spawn_blocking(move || cancel(&app)));
            }
        }));
    }
}

/// Takes a job in that a connection then waits for; also what it comes to.
pub(crate) async fn submit(
    app: &App,
    caller: &Caller,
    submission: Submission,
    unattended: Unattended,
) -> Result<(Attendance, Preparation)> {
    let (app, caller) = (Arc::clone(app), caller.clone());
    // On a task of its own, so that a client that goes just now has the job cancelled all the same.
    let submitting = tokio::spawn(async move {
        let (submitted, preparation) = app.submit(&caller, submission).await?;
        Ok((Attendance::new(&app, submitted.job, unattended), preparation))
    });
    submitting.await.map_err(|_| Problem::internal())?
}

/// An image of a job.
pub(crate) struct Made {
    pub(crate) result: ResultFile,
    pub(crate) bytes: Vec<u8>,
}

/// The images of a job that was waited for, or why there are none.
pub(crate) async fn images(engine: &Engine, job: Job) -> Result<Vec<Made>> {
    let id = job.id;
    match job.state {
        State::Succeeded => {
            let engine = engine.clone();
            blocking(move || {
                let read = |result: &ResultFile| {
                    let number = result.about["n"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
                    let (result, bytes) = engine.result(&job, number)?;
                    Ok(Made { result, bytes })
                };
                job.results.iter().map(read).collect()
            })
            .await
        }
        State::Failed => {
            let unknown = || JobError { code: "internal".to_owned(), message: "it failed".to_owned() };
            Err(job.error.unwrap_or_else(unknown).into())
        }
        State::Held => Err(Problem::forbidden("held", format!("the images wait for a person's decision, as job {id}"))),
        State::Rejected => Err(Problem::forbidden("rejected", "a person did not let the images through")),
        State::Cancelled => Err(Problem::new(StatusCode::CONFLICT, "cancelled", "the job was cancelled")),
        State::Expired => Err(Problem::new(StatusCode::GONE, "expired", "the job's time was over")),
        State::Queued | State::Leased | State::Running | State::Checking => {
            let problem = calotype_engine::Error::Draining;
            Err(problem.into())
        }
    }
}
