//! Images by OpenAI's routes.

use std::sync::Arc;

use axum::{
    Json,
    extract::FromRequestParts,
    http::{self, HeaderMap, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use calotype_engine::Asked;
use calotype_queue::{JobId, wall_clock};
use serde_json::{Value, json};

use super::{
    body::Wanted,
    fold,
    form::{ImageForm, missing},
    stream,
};
use crate::{
    app::App,
    attend::{self, Made},
    auth::{Caller, Can, GENERATE},
    extract::JobForm,
    guard::RequestId,
    hub::blocking,
    job_body,
    problem::{Problem, Result, warn_header},
    v1::link,
};

/// How long a link is good for.
const LINK_MS: u64 = 3600 * 1000;

/// What is done, by which events are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Generations,
    Edits,
    Variations,
}

/// Who asks.
pub(super) struct Client {
    app: App,
    caller: Caller,
    request_id: String,
    headers: HeaderMap,
}

impl FromRequestParts<App> for Client {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut http::request::Parts, app: &App) -> Result<Self> {
        let Can(caller) = Can::<GENERATE>::from_request_parts(parts, app).await?;
        let id = parts.extensions.get::<RequestId>().map(|RequestId(id)| id.clone());
        Ok(Self { app: app.clone(), caller, request_id: id.unwrap_or_default(), headers: parts.headers.clone() })
    }
}

/// Images from text. Beside OpenAI's members those of a job are taken: `seed`, `negative_prompt`, `steps`, `cfg_scale`, `sampler`, and so on.
#[utoipa::path(post, path = "/v1/images/generations", tag = "openai", request_body = Value,
    responses((status = 200, description = "`created` and `data`, or a stream of events", body = Value), (status = 400, description = "It can't be made as it was asked for", body = Value), (status = 404, description = "There is no such model", body = Value)))]
pub(super) async fn generations(client: Client, form: JobForm) -> Result<Response> {
    make(client, Route::Generations, form).await
}

/// An image made from another: with a mask what is transparent in it, else all of it. `strength` says how much.
#[utoipa::path(post, path = "/v1/images/edits", tag = "openai", request_body(content = Value, content_type = "multipart/form-data"),
    responses((status = 200, description = "`created` and `data`, or a stream of events", body = Value), (status = 400, description = "It can't be made as it was asked for", body = Value)))]
pub(super) async fn edits(client: Client, form: ImageForm) -> Result<Response> {
    make(client, Route::Edits, blocking(move || form.edit()).await?).await
}

/// An image like another.
#[utoipa::path(post, path = "/v1/images/variations", tag = "openai", request_body(content = Value, content_type = "multipart/form-data"),
    responses((status = 200, description = "`created` and `data`", body = Value), (status = 400, description = "It can't be made as it was asked for", body = Value)))]
pub(super) async fn variations(client: Client, form: ImageForm) -> Result<Response> {
    make(client, Route::Variations, form.vary()?).await
}

async fn make(client: Client, route: Route, form: JobForm) -> Result<Response> {
    let Client { app, caller, request_id, headers } = client;
    let JobForm { mut body, parts, bytes } = form;
    app.limiter.check_request(&caller.key)?;
    let asked = Asked { key: caller.key.id.clone(), request: request_id, api: "openai".to_owned() };
    let (wanted, parsed) = {
        let (app, caller) = (Arc::clone(&app), caller.clone());
        blocking(move || {
            let wanted = Wanted::take(&app, &mut body)?;
            if !body.contains_key("prompt") {
                return Err(missing("prompt"));
            }
            Ok((wanted, job_body::parse(&app.engine, &caller, body, &parts, asked)?))
        })
        .await?
    };
    let (attendance, size) = fold::submit(&app, &caller, &headers, route, &bytes, parsed).await?;
    if let Some(partial) = wanted.stream {
        return stream::respond(app, &caller, attendance, route, wanted, size, partial);
    }
    let job = attendance.wait().await?;
    let id = job.id;
    let images = attend::images(&app.engine, job).await?;
    let base = base_url(&app, &headers);
    let data: Vec<Value> = images.iter().map(|image| datum(&app, id, image, &wanted, &base)).collect();
    let size = images.first().map(size_of);
    let mut extra = HeaderMap::new();
    wanted.warnings.iter().for_each(|warning| warn_header(&mut extra, warning));
    let body = json!({
        "created": now(),
        "data": data,
        "background": "opaque",
        "output_format": wanted.format,
        "quality": wanted.quality,
        "size": size,
        "usage": usage(),
    });
    Ok((extra, Json(body)).into_response())
}

/// An image in an answer.
fn datum(app: &App, job: JobId, image: &Made, wanted: &Wanted, base: &str) -> Value {
    let about = &image.result.about;
    if !wanted.as_urls {
        return json!({"b64_json": STANDARD.encode(&image.bytes), "seed": about["seed"]});
    }
    let number = about["n"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    json!({"url": format!("{base}{}", link(app, job, number, LINK_MS)), "seed": about["seed"]})
}

/// Where this server is, as the client calls it.
fn base_url(app: &App, headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST.as_str()).unwrap_or_default();
    let forwarded = text("x-forwarded-proto").filter(|_| app.config.behind_proxy);
    let scheme = forwarded.filter(|scheme| *scheme == "https").unwrap_or("http");
    if host.is_empty() { String::new() } else { format!("{scheme}://{host}") }
}

/// `64x64`.
pub(super) fn size_of(image: &Made) -> String {
    let side = |name: &str| image.result.about[name].as_u64().unwrap_or(0);
    format!("{}x{}", side("width"), side("height"))
}

/// Nothing is counted in tokens here.
pub(super) fn usage() -> Value {
    json!({
        "input_tokens": 0, "output_tokens": 0, "total_tokens": 0,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    })
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    wall_clock()() / 1000
}
