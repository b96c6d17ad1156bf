//! OpenAI's clients send a request again by themselves when its connection breaks: all of these are one job.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::HeaderMap;
use calotype_engine::Submission;
use calotype_queue::{Job, JobId, State};
use sha2::{Digest, Sha256};

use super::images::Route;
use crate::{
    app::App,
    attend::{self, Attendance, Unattended},
    auth::Caller,
    extract::once,
    hub::blocking,
    job_body::ParsedJob,
    problem::Result,
};

/// How often a client has sent it before.
const RETRY_COUNT: &str = "x-stainless-retry-count";
/// Clients come back within 8 seconds.
const GRACE: Duration = Duration::from_secs(10);
/// How long a request is known, and how many are.
const KNOWN_FOR: Duration = Duration::from_secs(3600);
const MAX_KNOWN: usize = 10_000;

/// The jobs of requests that may come again: by the key and what was asked for.
#[derive(Default)]
pub(crate) struct Running(Mutex<HashMap<Request, (JobId, Instant)>>);

/// A key, and the hash of what it asked for.
type Request = (String, [u8; 32]);

impl Running {
    fn find(&self, owner: &str, hash: [u8; 32]) -> Option<JobId> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(owner.to_owned(), hash)).filter(|(_, since)| since.elapsed() < KNOWN_FOR).map(|(job, _)| *job)
    }

    fn add(&self, owner: &str, hash: [u8; 32], job: JobId) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.retain(|_, (_, since)| since.elapsed() < KNOWN_FOR);
        }
        if known.len() < MAX_KNOWN {
            known.insert((owner.to_owned(), hash), (job, Instant::now()));
        }
    }
}

/// Takes a job in, or joins the one that the same request was taken in as; also the size of its images.
pub(super) async fn submit(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    route: Route,
    bytes: &[u8],
    parsed: ParsedJob,
) -> Result<(Attendance, [usize; 2])> {
    let hash: [u8; 32] = Sha256::new().chain_update([route as u8]).chain_update(bytes).finalize().into();
    let tries = headers.get(RETRY_COUNT).and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
    let unattended = Unattended::Ends(if tries.is_some() { GRACE } else { Duration::ZERO });
    let owner = caller.key.id.clone();
    let known = tries.filter(|tries| *tries > 0).and_then(|_| app.openai.find(&owner, hash));
    if let Some(id) = known {
        let engine = app.engine.clone();
        let order = parsed.order.clone();
        let found = blocking(move || Ok((engine.job(id)?, engine.prepare(&order)?.size))).await?;
        // One that was cancelled or has failed is made again.
        let is_wanted = |job: &Job| !job.state.is_over() || job.state == State::Succeeded;
        if let (Some(job), size) = (found.0.filter(is_wanted), found.1) {
            return Ok((Attendance::new(app, job, unattended), size));
        }
    }
    let submission = Submission {
        priority: parsed.priority,
        expires: parsed.expires_in_s.map(Duration::from_secs),
        once: once(headers, "openai", bytes)?,
        ..Submission::new(parsed.order, owner.clone())
    };
    let (attendance, preparation) = attend::submit(app, caller, submission, unattended).await?;
    if tries.is_some() {
        app.openai.add(&owner, hash, attendance.job.id);
    }
    Ok((attendance, preparation.size))
}
