//! Images that wait for a person.

use axum::{
    Extension, Json,
    extract::{Path, State},
    response::Response,
};
use calotype_engine::Order;
use calotype_queue::{Decision, Job, List, State as JobState};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::file;
use crate::{
    app::App,
    auth::{Can, REVIEW},
    extract::JsonBody,
    guard::RequestId,
    hub::blocking,
    job_view::{JobView, Waiting},
    problem::{Problem, ProblemBody, Result},
};

/// Held jobs in a list.
const LISTED: usize = 500;

/// An image that waits.
#[derive(Serialize, ToSchema)]
pub(crate) struct HeldView {
    /// The job.
    job: String,
    /// Which of its images.
    n: u64,
    /// Since when, in milliseconds since 1970.
    since: u64,
    /// The id of the key that asked for it.
    owner: String,
    /// What the classifiers said of the job's images.
    reason: Value,
    /// Where a blurred copy is.
    blurred: String,
    /// Where it is as it was made.
    original: String,
    /// What was asked for.
    prompt: String,
}

/// What waits.
#[derive(Serialize, ToSchema)]
pub(crate) struct HeldList {
    /// Who waits longest first.
    held: Vec<HeldView>,
}

/// The images that wait for a decision.
#[utoipa::path(get, path = "/v1/review", tag = "review", responses((status = 200, body = HeldList)))]
pub(crate) async fn list(State(app): State<App>, Can(_caller): Can<REVIEW>) -> Result<Json<HeldList>> {
    blocking(move || {
        let list = List { state: Some(JobState::Held), limit: LISTED, ..List::default() };
        let jobs = app.engine.list(&list)?;
        let held = jobs.iter().rev().flat_map(of_job).collect();
        Ok(Json(HeldList { held }))
    })
    .await
}

fn of_job(job: &Job) -> Vec<HeldView> {
    let prompt = Order::of_job(job).map(|order| order.request.prompt).unwrap_or_default();
    let waits = job.results.iter().filter(|result| result.about["blurred"].is_string());
    waits
        .map(|result| {
            let n = result.about["n"].as_u64().unwrap_or(0);
            HeldView {
                job: job.id.to_string(),
                n,
                since: job.since,
                owner: job.owner.clone(),
                reason: job.held.as_ref().map(|held| held.reason.clone()).unwrap_or_default(),
                blurred: format!("/v1/review/{}/{n}/blurred", job.id),
                original: format!("/v1/review/{}/{n}/original", job.id),
                prompt: prompt.clone(),
            }
        })
        .collect()
}

/// What a person says.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Verdict {
    /// `release` or `reject`.
    decision: Said,
    /// Why.
    #[serde(default)]
    reason: String,
}

/// Whether the images may be seen.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Said {
    /// They may.
    Release,
    /// They are removed.
    Reject,
}

/// The longest reason, in bytes.
const MAX_REASON: usize = 2000;

/// Decides on all images of a job.
#[utoipa::path(post, path = "/v1/review/{id}", tag = "review", request_body = Verdict, params(("id" = String, Path, description = "The job")),
    responses((status = 200, body = JobView), (status = 409, description = "It is not held", body = ProblemBody)))]
pub(crate) async fn decide(
    State(app): State<App>,
    Can(caller): Can<REVIEW>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    Path(id): Path<String>,
    JsonBody(verdict): JsonBody<Verdict>,
) -> Result<Json<JobView>> {
    if verdict.reason.len() > MAX_REASON {
        return Err(Problem::invalid("reason", format!("reason is longer than {MAX_REASON} bytes")));
    }
    let id = id.parse().map_err(|()| Problem::not_found("job"))?;
    blocking(move || {
        let release = verdict.decision == Said::Release;
        tracing::info!(job = %id, reviewer = %caller.key.id, release, request = %request_id, "a held job was decided on");
        let decision = Decision { release, by: caller.key.id.clone(), why: verdict.reason };
        let job = app.engine.decide(id, decision)?;
        Ok(Json(JobView::new(&app.engine, &job, &Waiting::of(&app.engine, &[])?)))
    })
    .await
}

/// A blurred copy of an image that waits.
#[utoipa::path(get, path = "/v1/review/{id}/{n}/blurred", tag = "review", params(("id" = String, Path, description = "The job"), ("n" = usize, Path, description = "Which of its images")),
    responses((status = 200, description = "A JPEG", content_type = "image/jpeg", body = Vec<u8>), (status = 404, description = "None waits", body = ProblemBody)))]
pub(crate) async fn blurred(
    state: State<App>,
    Can(_caller): Can<REVIEW>,
    path: Path<(String, String)>,
) -> Result<Response> {
    image(state, path, true).await
}

/// An image that waits, as it was made.
#[utoipa::path(get, path = "/v1/review/{id}/{n}/original", tag = "review", params(("id" = String, Path, description = "The job"), ("n" = usize, Path, description = "Which of its images")),
    responses((status = 200, description = "The file", content_type = "image/png", body = Vec<u8>), (status = 404, description = "None waits", body = ProblemBody)))]
pub(crate) async fn original(
    state: State<App>,
    Can(_caller): Can<REVIEW>,
    path: Path<(String, String)>,
) -> Result<Response> {
    image(state, path, false).await
}

async fn image(State(app): State<App>, Path((id, n)): Path<(String, String)>, is_blurred: bool) -> Result<Response> {
    let none = || Problem::not_found("held image");
    let (id, number) = (id.parse().map_err(|()| none())?, n.parse().map_err(|_| none())?);
    blocking(move || {
        let job = app.engine.job(id)?.ok_or_else(none)?;
        let (result, bytes) = app.engine.held(&job, number, is_blurred).map_err(|_| none())?;
        Ok(file(bytes, &result.media_type, "no-store", None))
    })
    .await
}
