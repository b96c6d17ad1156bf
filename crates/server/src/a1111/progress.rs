//! How far a key's jobs are, and their ends: A1111 has one job at a time, here each key has its own.

use std::sync::Arc;

use axum::{Json, extract::State};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use calotype_engine::Progress;
use calotype_queue::{Job, JobId, List, State as JobState, wall_clock};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::IntoParams;

use super::fields::{Fields, timestamp};
use crate::{
    app::App,
    auth::{Caller, Can, GENERATE, READ},
    extract::{Asking, JsonBody},
    hub::blocking,
    keys::Scope,
    problem::Result,
};

/// Jobs of a key that are looked at, from the newest on.
const LOOKED_AT: usize = 200;

/// Whose jobs, and what is told of them.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Everybody's, for the scope `admin`.
    #[serde(default, deserialize_with = "flag")]
    all: bool,
    /// Whether there is to be no preview.
    #[serde(default, deserialize_with = "flag")]
    skip_current_image: bool,
}

/// Python writes `True`.
fn flag<'de, D: serde::Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    match String::deserialize(from)?.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" | "" => Ok(false),
        other => Err(serde::de::Error::custom(format!("{other:?} is neither true nor false"))),
    }
}

impl Which {
    fn owner(&self, caller: &Caller) -> Result<Option<String>> {
        if self.all {
            caller.require(Scope::Admin)?;
            return Ok(None);
        }
        Ok(Some(caller.key.id.clone()))
    }
}

/// The jobs that are not over, the newest first.
fn open_jobs(app: &App, owner: Option<String>) -> Result<Vec<Job>> {
    let list = List { owner, limit: LOOKED_AT, ..List::default() };
    let jobs = app.engine.list(&list)?;
    Ok(jobs.into_iter().filter(|job| job.state == JobState::Queued || job.state.is_with_worker()).collect())
}

/// The job that a client means: the newest that is worked on, else the newest that waits.
fn newest(jobs: &[Job]) -> Option<&Job> {
    jobs.iter().find(|job| job.state.is_with_worker()).or(jobs.first())
}

/// How far the newest job is.
#[utoipa::path(get, path = "/sdapi/v1/progress", tag = "a1111", params(Which), responses((status = 200, body = Value)))]
pub(super) async fn progress(
    State(app): State<App>,
    Can(caller): Can<READ>,
    Asking(which): Asking<Which>,
) -> Result<Json<Value>> {
    let owner = which.owner(&caller)?;
    blocking(move || {
        let jobs = open_jobs(&app, owner)?;
        let shows = !which.skip_current_image && app.a1111.settings(&caller.key.id).shows_previews();
        Ok(Json(progress_view(&app, newest(&jobs), shows)))
    })
    .await
}

fn progress_view(app: &App, job: Option<&Job>, shows: bool) -> Value {
    let Some(job) = job else {
        return json!({"progress": 0.0, "eta_relative": 0.0, "state": state(None, 0, "", None), "current_image": null, "textinfo": null});
    };
    let name = format!("job {}", job.id);
    let timestamp = timestamp(Some(job.submitted));
    let Some(live) = app.engine.progress(job.id).filter(|_| job.state.is_with_worker()) else {
        // It is not known yet how much there is to do.
        let state = state(Some(&name), -1, &timestamp, None);
        return json!({"progress": 0.0, "eta_relative": 0.0, "state": state, "current_image": null, "textinfo": "Waiting..."});
    };
    let done = fraction(&live);
    let elapsed = wall_clock()().saturating_sub(job.since) as f64 / 1000.0;
    let preview = app.engine.preview(job.id).filter(|_| shows).map(|preview| STANDARD.encode(&*preview.jpeg));
    json!({
        "progress": done,
        "eta_relative": elapsed / done - elapsed,
        "state": state(Some(&name), 1, &timestamp, Some(&live)),
        "current_image": preview,
        "textinfo": live.stage,
    })
}

/// A1111's fraction: a little more than 0 as soon as it is worked on.
fn fraction(live: &Progress) -> f64 {
    let steps = live.step as f64 / live.steps.max(1) as f64;
    (0.01 + steps).min(1.0)
}

fn state(job: Option<&str>, count: i64, timestamp: &str, live: Option<&Progress>) -> Value {
    json!({
        "skipped": false,
        "interrupted": false,
        "stopping_generation": false,
        "job": job.unwrap_or_default(),
        "job_count": count,
        "job_timestamp": if timestamp.is_empty() { "0" } else { timestamp },
        "job_no": 0,
        "sampling_step": live.map_or(0, |live| live.step),
        "sampling_steps": live.map_or(0, |live| live.steps),
    })
}

/// Ends the newest job; with `all` every job that is worked on.
#[utoipa::path(post, path = "/sdapi/v1/interrupt", tag = "a1111", params(Which), responses((status = 200, description = "Also when there is nothing to end", body = Value)))]
pub(super) async fn interrupt(
    State(app): State<App>,
    Can(caller): Can<GENERATE>,
    Asking(which): Asking<Which>,
) -> Result<Json<Value>> {
    end(app, caller, which).await?;
    Ok(Json(json!({})))
}

/// Ends the newest job: the images of a job are one batch here, so there is no next one to skip to.
#[utoipa::path(post, path = "/sdapi/v1/skip", tag = "a1111", params(Which), responses((status = 200, description = "Also when there is nothing to end", body = Value)))]
pub(super) async fn skip(
    State(app): State<App>,
    Can(caller): Can<GENERATE>,
    Asking(which): Asking<Which>,
) -> Result<Json<Value>> {
    end(app, caller, which).await?;
    Ok(Json(Value::Null))
}

async fn end(app: App, caller: Caller, which: Which) -> Result<()> {
    app.limiter.check_request(&caller.key)?;
    let owner = which.owner(&caller)?;
    blocking(move || {
        let jobs = open_jobs(&app, owner)?;
        let ended: Vec<JobId> = match which.all {
            true => jobs.iter().filter(|job| job.state.is_with_worker()).map(|job| job.id).collect(),
            false => newest(&jobs).map(|job| job.id).into_iter().collect(),
        };
        // One may be over by now.
        ended.into_iter().for_each(|id| drop(app.engine.cancel(id)));
        Ok(())
    })
    .await
}

/// How far a task of the key is, by the name that its request had.
#[utoipa::path(post, path = "/internal/progress", tag = "a1111", request_body = Value, responses((status = 200, body = Value)))]
pub(super) async fn of_task(
    State(app): State<App>,
    Can(caller): Can<READ>,
    JsonBody(body): JsonBody<Map<String, Value>>,
) -> Result<Json<Value>> {
    let fields = Fields::new(&body);
    let task = fields.text("id_task")?.unwrap_or_default();
    let known = fields.int("id_live_preview")?.unwrap_or(-1);
    let shows = fields.get("live_preview").is_none() || fields.flag("live_preview")?;
    blocking(move || Ok(Json(task_view(&app, &caller, &task, known, shows)?))).await
}

fn task_view(app: &App, caller: &Caller, task: &str, known: i64, shows: bool) -> Result<Value> {
    let id = app.a1111.task(&caller.key.id, task);
    let job = id.map(|id| app.engine.job(id)).transpose()?.flatten();
    let mut view = json!({
        "active": false, "queued": false, "completed": false, "progress": null, "eta": null, "live_preview": null,
        "id_live_preview": known, "textinfo": "Waiting...",
    });
    let Some(job) = job else { return Ok(view) };
    if job.state == JobState::Queued {
        let waiting = app.engine.waiting()?;
        let place = waiting.iter().position(|id| *id == job.id).map_or(1, |at| at + 1);
        view["queued"] = json!(true);
        view["textinfo"] = json!(format!("In queue: {place}/{}", waiting.len().max(place)));
        return Ok(view);
    }
    view["textinfo"] = Value::Null;
    view["active"] = json!(job.state.is_with_worker());
    view["completed"] = json!(!job.state.is_with_worker());
    let Some(live) = app.engine.progress(job.id).filter(|_| job.state.is_with_worker()) else { return Ok(view) };
    view["progress"] = json!(fraction(&live));
    view["eta"] = json!(live.eta_s);
    view["textinfo"] = json!(live.stage);
    let preview = app.engine.preview(job.id).filter(|preview| shows && i64::try_from(preview.version) != Ok(known));
    if let Some(preview) = preview {
        view["live_preview"] = json!(format!("data:image/jpeg;base64,{}", STANDARD.encode(&*preview.jpeg)));
        view["id_live_preview"] = json!(preview.version);
    }
    Ok(view)
}

/// The tasks of the key that wait.
#[utoipa::path(get, path = "/internal/pending-tasks", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn pending(State(app): State<App>, Can(caller): Can<READ>) -> Result<Json<Value>> {
    blocking(move || {
        let app = Arc::clone(&app);
        let waiting = app.engine.waiting()?;
        let tasks = app.a1111.tasks(&caller.key.id).into_iter().filter(|task| waiting.contains(&task.job));
        let names: Vec<String> = tasks.map(|task| task.name).collect();
        Ok(Json(json!({"size": names.len(), "tasks": names})))
    })
    .await
}
