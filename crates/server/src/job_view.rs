//! A job as clients see it.

use std::collections::HashMap;

use calotype_engine::{Engine, Order};
use calotype_queue::{Job, JobId, ResultFile, State};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::problem::Result;

/// Jobs before one whose time is added up.
const MAX_AHEAD: usize = 100;

/// A job.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobView {
    /// Its id.
    id: String,
    /// Its place in the order of arrival.
    seq: u64,
    /// `queued`, `leased`, `running`, `checking`, `held`, `succeeded`, `failed`, `cancelled`, `expired` or `rejected`.
    state: &'static str,
    /// The id of the model.
    model: String,
    /// When it came, in milliseconds since 1970.
    submitted: u64,
    /// When its state began.
    since: u64,
    /// Of a key's jobs those with more come first.
    priority: i32,
    /// How often a worker has taken it.
    attempt: u32,
    /// How many come before it, counted from 1; only while it is queued.
    position: Option<usize>,
    /// Seconds until it is done, as far as that is known.
    estimate_s: Option<f64>,
    /// How far it is, while it is worked on.
    progress: Option<Value>,
    /// What was asked for.
    request: Value,
    /// Its images, as soon as it has succeeded.
    results: Vec<ResultView>,
    /// Why it is held.
    held: Option<Value>,
    /// Why it failed: `code` and `message`.
    error: Option<Value>,
    /// What should be known of it.
    warnings: Vec<String>,
    /// Where to go from here.
    urls: Value,
}

/// An image.
#[derive(Serialize, ToSchema)]
pub(crate) struct ResultView {
    /// Its number in the job.
    n: u64,
    /// SHA-256 of its file.
    sha256: String,
    /// Bytes of its file.
    bytes: u64,
    /// `image/png`.
    media_type: String,
    /// Width in pixels.
    width: u64,
    /// Height in pixels.
    height: u64,
    /// Its seed.
    seed: u64,
    /// What the policy made of it, if there is one.
    verdict: Option<String>,
    /// Where its file is.
    url: String,
    /// How it was made, as A1111 writes it.
    infotext: String,
    /// How it was made.
    metadata: Value,
}

/// Where the jobs stand that wait: read once for a list of jobs.
pub(crate) struct Waiting(HashMap<JobId, (usize, Option<f64>)>);

impl Waiting {
    /// As of now; nothing is read where none of the jobs waits.
    pub(crate) fn of(engine: &Engine, jobs: &[Job]) -> Result<Self> {
        if jobs.iter().all(|job| job.state != State::Queued) {
            return Ok(Self(HashMap::new()));
        }
        let (mut places, mut time) = (HashMap::new(), Some(0.0));
        for (at, id) in engine.waiting()?.into_iter().enumerate() {
            if at < MAX_AHEAD {
                let order = engine.job(id)?.and_then(|job| Order::of_job(&job).ok());
                let own = order.and_then(|order| engine.estimate(&order));
                time = time.zip(own).map(|(before, own)| before + own);
            } else {
                time = None;
            }
            places.insert(id, (at + 1, time));
        }
        Ok(Self(places))
    }
}

impl JobView {
    pub(crate) fn new(engine: &Engine, job: &Job, waiting: &Waiting) -> Self {
        let order = Order::of_job(job).ok();
        let place = waiting.0.get(&job.id).filter(|_| job.state == State::Queued);
        let progress = engine.progress(job.id).map(|progress| progress_view(job.id, &progress));
        let is_seen = job.state == State::Succeeded;
        let id = job.id.to_string();
        let url = |rest: &str| format!("/v1/jobs/{id}{rest}");
        Self {
            seq: job.seq,
            state: job.state.id(),
            model: job.model.clone(),
            submitted: job.submitted,
            since: job.since,
            priority: job.priority,
            attempt: job.attempt,
            position: place.map(|(place, _)| *place),
            estimate_s: match (&progress, place) {
                (Some(progress), _) => progress["eta_s"].as_f64(),
                (None, place) => place.and_then(|(_, time)| *time),
            },
            request: order.as_ref().map_or(Value::Null, request_view),
            results: job.results.iter().filter(|_| is_seen).map(|result| result_view(job.id, result)).collect(),
            held: job.held.as_ref().filter(|_| job.state == State::Held).map(|held| json!({"reason": held.reason})),
            error: job.error.as_ref().map(|error| json!({"code": error.code, "message": error.message})),
            warnings: job
                .results
                .first()
                .and_then(|result| serde_json::from_value(result.about["warnings"].clone()).ok())
                .unwrap_or_default(),
            urls: json!({"self": url(""), "events": url("/events"), "cancel": url(""), "preview": url("/preview")}),
            progress,
            id,
        }
    }
}

/// How far a job is, with the address of its preview.
pub(crate) fn progress_view(id: JobId, progress: &calotype_engine::Progress) -> Value {
    let mut view = serde_json::to_value(progress).unwrap_or_default();
    view["preview"] =
        progress.preview.map_or(Value::Null, |version| json!(format!("/v1/jobs/{id}/preview?v={version}")));
    view
}

/// The request by which the job can be sent again.
fn request_view(order: &Order) -> Value {
    let mut view = serde_json::from_str::<Value>(&order.request.to_json()).unwrap_or_default();
    if let Some(init) = view.get_mut("init") {
        let blob = |image: &Value| json!({"blob": image["sha256"]});
        init["picture"] = blob(&init["picture"]);
        if init["inpaint"]["mask"].is_object() {
            init["inpaint"]["mask"] = blob(&init["inpaint"]["mask"]);
        }
    }
    view["model"] = json!(order.model);
    if let Some(vae) = &order.vae {
        view["vae"] = json!(vae);
    }
    view["n"] = json!(order.request.batch_size);
    if let Some(members) = view.as_object_mut() {
        members.remove("batch_size");
    }
    view["output_format"] = json!(order.output.format);
    view["quality"] = json!(order.output.quality);
    view
}

fn result_view(job: JobId, result: &ResultFile) -> ResultView {
    let about = &result.about;
    let number = |name: &str| about[name].as_u64().unwrap_or(0);
    ResultView {
        n: number("n"),
        sha256: result.sha256.clone(),
        bytes: result.bytes,
        media_type: result.media_type.clone(),
        width: number("width"),
        height: number("height"),
        seed: number("seed"),
        verdict: about["verdict"].as_str().map(str::to_owned),
        url: format!("/v1/jobs/{job}/results/{}", number("n")),
        infotext: about["infotext"].as_str().unwrap_or_default().to_owned(),
        metadata: about["metadata"].clone(),
    }
}
