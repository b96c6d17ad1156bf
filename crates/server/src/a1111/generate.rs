//! txt2img and img2img.

use std::{sync::Arc, time::Duration};

use axum::{Extension, extract::State, response::Response};
use calotype_engine::{Asked, Submission, random_seed};
use calotype_queue::State as JobState;
use serde_json::{Map, Value};

use super::{
    answer::Answer,
    fields::Fields,
    memory::Task,
    models,
    request::{self, Kind, Parsed},
};
use crate::{
    app::App,
    attend::{self, Attendance, Unattended},
    auth::{Caller, Can, GENERATE},
    extract::JsonBody,
    guard::RequestId,
    hub::blocking,
    problem::{Problem, Result},
};

/// The longest name of a task.
const MAX_TASK: usize = 200;

/// Images from text.
#[utoipa::path(post, path = "/sdapi/v1/txt2img", tag = "a1111", request_body = Value,
    responses((status = 200, description = "`images`, `parameters` and `info`", body = Value), (status = 404, description = "Sampler not found", body = Value), (status = 422, description = "It can't be made as it was asked for", body = Value)))]
pub(super) async fn txt2img(
    State(app): State<App>,
    Can(caller): Can<GENERATE>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    JsonBody(body): JsonBody<Map<String, Value>>,
) -> Result<Response> {
    generate(app, caller, request_id, Kind::Txt2Img, body).await
}

/// Images from an image.
#[utoipa::path(post, path = "/sdapi/v1/img2img", tag = "a1111", request_body = Value,
    responses((status = 200, description = "`images`, `parameters` and `info`", body = Value), (status = 404, description = "Init image not found", body = Value), (status = 422, description = "It can't be made as it was asked for", body = Value)))]
pub(super) async fn img2img(
    State(app): State<App>,
    Can(caller): Can<GENERATE>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    JsonBody(body): JsonBody<Map<String, Value>>,
) -> Result<Response> {
    generate(app, caller, request_id, Kind::Img2Img, body).await
}

async fn generate(
    app: App,
    caller: Caller,
    request_id: String,
    kind: Kind,
    body: Map<String, Value>,
) -> Result<Response> {
    app.limiter.check_request(&caller.key)?;
    let asked = Asked { key: caller.key.id.clone(), request: request_id, api: "a1111".to_owned() };
    let (task, is_own_task) = task(kind, &body)?;
    let (parsed, body) = {
        let (app, key) = (Arc::clone(&app), caller.key.id.clone());
        blocking(move || Ok((request::parse(&app, &key, kind, &body, asked)?, body))).await?
    };
    let Parsed { order, styles, warnings, settings } = parsed;
    // Who gave the task a name follows it by that, and comes back for its images.
    let unattended = if is_own_task { Unattended::Stays } else { Unattended::Ends(Duration::ZERO) };
    let submission = Submission::new(order.clone(), caller.key.id.clone());
    let (attendance, _) = attend::submit(&app, &caller, submission, unattended).await?;
    app.a1111.add_task(Task { owner: caller.key.id.clone(), name: task, job: attendance.job.id });
    if let Some(settings) = settings {
        app.a1111.set_settings(&caller.key.id, settings);
    }
    let mut warnings = warnings.take();
    let (images, submitted) = images(&app, attendance, &mut warnings).await?;
    let (request, vae) = (&order.request, order.vae.as_deref());
    let answer = Answer {
        kind,
        body: &body,
        request,
        model: &order.model,
        vae,
        styles: &styles,
        submitted,
        images: &images,
        warnings,
    };
    Ok(answer.into_response(&app))
}

/// The images of a job when it is over. One that was interrupted has none, which is no error.
async fn images(app: &App, attendance: Attendance, warnings: &mut Vec<String>) -> Result<(Vec<attend::Made>, u64)> {
    let job = attendance.wait().await?;
    let (submitted, model) = (job.submitted, job.model.clone());
    if job.state == JobState::Cancelled {
        warnings.push("it was interrupted before an image was ready".to_owned());
        return Ok((Vec::new(), submitted));
    }
    let asked = calotype_engine::Order::of_job(&job)?.request.batch_size;
    let images = attend::images(&app.engine, job).await?;
    if let Some(first) = images.first() {
        models::learn(app, &model, &first.result.about["metadata"]);
        let said = first.result.about["warnings"].as_array().cloned().unwrap_or_default();
        warnings.extend(said.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    if images.len() < asked {
        warnings.push(format!("{} of {asked} images were blocked by this server's policy", asked - images.len()));
    }
    Ok((images, submitted))
}

/// The name of the task, and whether the client gave it.
fn task(kind: Kind, body: &Map<String, Value>) -> Result<(String, bool)> {
    if let Some(name) = Fields::new(body).word("force_task_id")? {
        if name.len() > MAX_TASK {
            return Err(Problem::invalid("force_task_id", format!("force_task_id is longer than {MAX_TASK} bytes")));
        }
        return Ok((name, true));
    }
    let kind = match kind {
        Kind::Txt2Img => "txt2img",
        Kind::Img2Img => "img2img",
    };
    Ok((format!("task({kind}-{:08X}{:08X})", random_seed()?, random_seed()?), false))
}
