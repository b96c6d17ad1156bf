//! Jobs: taken in, looked at, ended, moved.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use calotype_engine::{Asked, Preparation, Submission};
use calotype_queue::{List, State as JobState};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    auth::{Can, GENERATE, READ},
    extract::{Asking, JobForm, JsonBody, once},
    guard::RequestId,
    hub::blocking,
    job_body::{self, JobBody},
    job_view::{JobView, Waiting},
    keys::Scope,
    problem::{Problem, ProblemBody, Result},
};

/// The longest that an answer waits for a job, in seconds.
const MAX_WAIT: u64 = 600;
/// Jobs in a list, if nothing is said, and at most.
const LISTED: usize = 50;
const MAX_LISTED: usize = 500;

/// A job as an answer, with its place in the queue.
async fn view(app: &App, job: calotype_queue::Job) -> Result<JobView> {
    let engine = app.engine.clone();
    blocking(move || {
        let waiting = Waiting::of(&engine, std::slice::from_ref(&job))?;
        Ok(JobView::new(&engine, &job, &waiting))
    })
    .await
}

/// Takes a job in.
///
/// With `Prefer: wait=30` the answer waits so many seconds, and is 200 if the job is over by then.
#[utoipa::path(post, path = "/v1/jobs", tag = "jobs", request_body = JobBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Sending it twice is as sending it once"), ("Prefer" = Option<String>, Header, description = "wait=SECONDS")),
    responses((status = 202, description = "Taken in", body = JobView), (status = 200, description = "Done", body = JobView),
        (status = 422, description = "It can't be made as it was asked for", body = ProblemBody), (status = 429, description = "Too much was asked for", body = ProblemBody)))]
pub(crate) async fn submit(
    State(app): State<App>,
    Can(caller): Can<GENERATE>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    headers: HeaderMap,
    form: JobForm,
) -> Result<Response> {
    app.limiter.check_request(&caller.key)?;
    let once = once(&headers, "v1", &form.bytes)?;
    let asked = Asked { key: caller.key.id.clone(), request: request_id, api: "v1".to_owned() };
    let parsed = {
        let (app, caller) = (Arc::clone(&app), caller.clone());
        blocking(move || job_body::parse(&app.engine, &caller, form.body, &form.parts, asked)).await?
    };
    let submission = Submission {
        priority: parsed.priority,
        expires: parsed.expires_in_s.map(Duration::from_secs),
        once,
        ..Submission::new(parsed.order, caller.key.id.clone())
    };
    let (submitted, _) = app.submit(&caller, submission).await?;
    let wait = headers.get("prefer").and_then(|value| wait_seconds(value.to_str().ok()?));
    let job = match wait {
        Some(seconds) => app.hub.wait(&app.engine, submitted.job.id, Duration::from_secs(seconds)).await?,
        None => submitted.job,
    };
    let status = if job.state.is_over() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let location = HeaderValue::from_str(&format!("/v1/jobs/{}", job.id)).map_err(|_| Problem::internal())?;
    Ok((status, [(header::LOCATION, location)], Json(view(&app, job).await?)).into_response())
}

/// The seconds of `wait=30` among preferences.
fn wait_seconds(prefer: &str) -> Option<u64> {
    let wait = prefer.split([',', ';']).find_map(|part| part.trim().strip_prefix("wait="))?;
    Some(wait.parse::<u64>().ok()?.min(MAX_WAIT))
}

/// What a job comes to.
#[derive(Serialize, ToSchema)]
pub(crate) struct Estimate {
    /// Tokens of the prompt.
    tokens: usize,
    /// Runs of the text encoder that they take.
    chunks: usize,
    /// Seconds that the job will take, as far as that is known.
    estimate_s: Option<f64>,
    /// Width and height of the images.
    size: [usize; 2],
}

/// Says what a job comes to, without taking it in.
#[utoipa::path(post, path = "/v1/jobs/estimate", tag = "jobs", request_body = JobBody,
    responses((status = 200, body = Estimate), (status = 422, description = "It can't be made as it was asked for", body = ProblemBody)))]
pub(crate) async fn estimate(
    State(app): State<App>,
    Can(caller): Can<GENERATE>,
    form: JobForm,
) -> Result<Json<Estimate>> {
    app.limiter.check_request(&caller.key)?;
    blocking(move || {
        let asked = Asked { key: caller.key.id.clone(), ..Asked::default() };
        let order = job_body::parse(&app.engine, &caller, form.body, &form.parts, asked)?.order;
        let prepared = app.engine.prepare(&order)?;
        let Preparation { tokens, chunks, estimate_s, size, .. } = prepared;
        Ok(Json(Estimate { tokens, chunks, estimate_s, size }))
    })
    .await
}

/// Which jobs.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// In one state.
    state: Option<String>,
    /// At most so many, 1 to 500.
    limit: Option<usize>,
    /// Older than this `seq`.
    before: Option<u64>,
    /// Everybody's, for the scope `admin`.
    #[serde(default)]
    all: bool,
}

/// Jobs, and where the list goes on.
#[derive(Serialize, ToSchema)]
pub(crate) struct Jobs {
    /// The newest first.
    jobs: Vec<JobView>,
    /// What to give as `before` for older ones.
    next: Option<u64>,
}

/// One's jobs, the newest first.
#[utoipa::path(get, path = "/v1/jobs", tag = "jobs", params(Which), responses((status = 200, body = Jobs)))]
pub(crate) async fn list(
    State(app): State<App>,
    Can(caller): Can<READ>,
    Asking(which): Asking<Which>,
) -> Result<Json<Jobs>> {
    if which.all {
        caller.require(Scope::Admin)?;
    }
    let limit = which.limit.unwrap_or(LISTED);
    if !(1..=MAX_LISTED).contains(&limit) {
        return Err(Problem::invalid("limit", format!("limit is out of range: give 1 to {MAX_LISTED}")));
    }
    let state = match which.state.as_deref() {
        Some(text) => {
            let state = serde_json::from_value::<JobState>(text.into());
            Some(state.map_err(|_| Problem::invalid("state", "there is no such state"))?)
        }
        None => None,
    };
    let owner = (!which.all).then(|| caller.key.id.clone());
    blocking(move || {
        let list = List { owner, state, before: which.before, limit };
        let jobs = app.engine.list(&list)?;
        let next = jobs.last().filter(|_| jobs.len() == limit).map(|job| job.seq);
        let waiting = Waiting::of(&app.engine, &jobs)?;
        let jobs = jobs.iter().map(|job| JobView::new(&app.engine, job, &waiting)).collect();
        Ok(Json(Jobs { jobs, next }))
    })
    .await
}

/// A job.
#[utoipa::path(get, path = "/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "The job")),
    responses((status = 200, body = JobView), (status = 404, description = "There is none, or it is another key's", body = ProblemBody)))]
pub(crate) async fn get(
    State(app): State<App>,
    Can(caller): Can<READ>,
    Path(id): Path<String>,
) -> Result<Json<JobView>> {
    let job = app.job(&caller, &id).await?;
    view(&app, job).await.map(Json)
}

/// How a job ends.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ending {
    /// Whether it is over and is to be forgotten, with its results.
    #[serde(default)]
    forget: bool,
}

/// Cancels a job, at once if it is worked on; one that is over stays as it is, or is forgotten.
#[utoipa::path(delete, path = "/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "The job"), Ending),
    responses((status = 200, body = JobView), (status = 404, description = "There is none, or it is another key's", body = ProblemBody)))]
pub(crate) async fn cancel(
    State(app): State<App>,
    Can(caller): Can<GENERATE>,
    Path(id): Path<String>,
    Asking(ending): Asking<Ending>,
) -> Result<Json<JobView>> {
    let job = app.job(&caller, &id).await?;
    let engine = app.engine.clone();
    let job = blocking(move || {
        if ending.forget {
            engine.forget(job.id)?;
            return Ok(job);
        }
        match engine.cancel(job.id) {
            Err(calotype_engine::Error::Queue(calotype_queue::Error::WrongState { .. })) => {
                Ok(engine.job(job.id)?.unwrap_or(job))
            }
            cancelled => Ok(cancelled?),
        }
    })
    .await?;
    view(&app, job).await.map(Json)
}

/// Queues a job once more that failed, was cancelled or expired.
#[utoipa::path(post, path = "/v1/jobs/{id}/retry", tag = "jobs", params(("id" = String, Path, description = "The job")),
    responses((status = 202, body = JobView), (status = 409, description = "It is in another state", body = ProblemBody)))]
pub(crate) async fn retry(
    State(app): State<App>,
    Can(caller): Can<GENERATE>,
    Path(id): Path<String>,
) -> Result<Response> {
    app.limiter.check_request(&caller.key)?;
    let job = app.job(&caller, &id).await?;
    let engine = app.engine.clone();
    let job = blocking(move || Ok(engine.retry(job.id)?)).await?;
    Ok((StatusCode::ACCEPTED, Json(view(&app, job).await?)).into_response())
}

/// Where a job goes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Move {
    /// Of a key's jobs those with more come first.
    #[schema(minimum = -1000, maximum = 1000)]
    priority: i32,
}

/// Moves a job that waits, among those of its key.
#[utoipa::path(post, path = "/v1/jobs/{id}/move", tag = "jobs", request_body = Move, params(("id" = String, Path, description = "The job")),
    responses((status = 200, body = JobView), (status = 409, description = "It does not wait", body = ProblemBody)))]
pub(crate) async fn prioritise(
    State(app): State<App>,
    Can(caller): Can<GENERATE>,
    Path(id): Path<String>,
    JsonBody(to): JsonBody<Move>,
) -> Result<Json<JobView>> {
    if !(-1000..=1000).contains(&to.priority) {
        return Err(Problem::invalid("priority", "priority is out of range: give -1000 to 1000"));
    }
    let job = app.job(&caller, &id).await?;
    let engine = app.engine.clone();
    let job = blocking(move || Ok(engine.prioritise(job.id, to.priority)?)).await?;
    view(&app, job).await.map(Json)
}
