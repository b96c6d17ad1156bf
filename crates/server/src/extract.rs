//! Bodies within their limits of size and time.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Multipart, Query, Request},
    http::{HeaderMap, StatusCode, header, request::Parts as Head},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{
    app::App,
    job_body::Parts,
    problem::{Problem, Result},
};

/// The longest idempotency key, in bytes.
const MAX_KEY: usize = 255;

/// The whole body, read within the limits.
pub(crate) struct Whole(pub(crate) Bytes);

impl FromRequest<App> for Whole {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self> {
        read(app, request.into_body()).await.map(Self)
    }
}

async fn read(app: &App, body: Body) -> Result<Bytes> {
    let limits = app.config.http;
    let most = limits.max_body_mb << 20;
    let reading = axum::body::to_bytes(body, most);
    match tokio::time::timeout(Duration::from_secs(limits.body_seconds), reading).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            let is_long =
                std::error::Error::source(&error).is_some_and(|source| source.to_string().contains("length limit"));
            Err(if is_long {
                too_large(limits.max_body_mb)
            } else {
                Problem::bad_request("invalid_body", "the body broke off")
            })
        }
        Err(_) => {
            let detail = format!("the body did not come within {} seconds", limits.body_seconds);
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", detail))
        }
    }
}

fn too_large(most: usize) -> Problem {
    let detail = format!("the body is larger than the {most} MiB that are taken");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
}

/// A body of JSON, by its type.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self> {
        require_json(request.headers().get(header::CONTENT_TYPE))?;
        let bytes = read(app, request.into_body()).await?;
        from_json(&bytes).map(Self)
    }
}

/// What JSON says; the member at fault is named.
pub(crate) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (path, inner) = (error.path().to_string(), error.inner());
        match inner.classify() {
            serde_json::error::Category::Data => Problem::invalid(&path, inner.to_string()),
            _ => Problem::bad_request("invalid_json", format!("the body is no JSON: {inner}")),
        }
    })?;
    json.end().map_err(|error| Problem::bad_request("invalid_json", format!("the body is no JSON: {error}")))?;
    Ok(value)
}

/// Browsers send other types to other sites without asking first.
fn require_json(content_type: Option<&axum::http::HeaderValue>) -> Result<()> {
    let media_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") || media_type.to_ascii_lowercase().ends_with("+json") {
        return Ok(());
    }
    let detail = "the body is not said to be JSON: send content-type: application/json";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail))
}

/// JSON, or a form with JSON in the part `request` and files in others; the whole JSON as it came, for its hash.
pub(crate) struct JobForm {
    pub(crate) body: Map<String, Value>,
    pub(crate) parts: Parts,
    /// What makes two bodies the same.
    pub(crate) bytes: Vec<u8>,
}

impl FromRequest<App> for JobForm {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self> {
        let content_type = request.headers().get(header::CONTENT_TYPE).cloned();
        let is_form = content_type.as_ref().is_some_and(|value| value.as_bytes().starts_with(b"multipart/form-data"));
        if !is_form {
            require_json(content_type.as_ref())?;
            let bytes = read(app, request.into_body()).await?;
            return Ok(Self { body: from_json(&bytes)?, parts: Parts::new(), bytes: bytes.to_vec() });
        }
        let mut parts = form(app, request).await?;
        let bytes = parts.iter().fold(Vec::new(), |mut all, (name, part)| {
            all.extend([name.as_bytes(), &[0], part].concat());
            all
        });
        let json = parts.iter().position(|(name, _)| name == "request");
        let json =
            json.ok_or_else(|| Problem::invalid("request", "the form has no part request with the job's JSON"))?;
        let body = from_json(&parts.swap_remove(json).1)?;
        Ok(Self { body, parts: parts.into_iter().collect(), bytes })
    }
}

/// The parts of a form, each a name and its bytes.
pub(crate) async fn form(app: &App, request: Request) -> Result<Vec<(String, Vec<u8>)>> {
    let broken = |error: axum::extract::multipart::MultipartError| {
        Problem::bad_request("invalid_body", format!("the form can't be read: {}", error.body_text()))
    };
    // Read as a whole first, so that the limits of size and time are those of any body.
    let (head, body): (Head, Body) = request.into_parts();
    let bytes = read(app, body).await?;
    let request = Request::from_parts(head, Body::from(bytes));
    let mut form = Multipart::from_request(request, app).await.map_err(|error| {
        Problem::bad_request("invalid_body", format!("the form can't be read: {}", error.body_text()))
    })?;
    let mut parts = Vec::new();
    while let Some(field) = form.next_field().await.map_err(broken)? {
        let name = field.name().unwrap_or_default().to_owned();
        parts.push((name, field.bytes().await.map_err(broken)?.to_vec()));
    }
    Ok(parts)
}

/// What the header `Idempotency-Key` says of a body in one of the APIs; in another it is another request.
pub(crate) fn once(headers: &HeaderMap, api: &str, body: &[u8]) -> Result<Option<(String, [u8; 32])>> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let key = key.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > MAX_KEY {
        let detail = "Idempotency-Key is empty, longer than 255 bytes, or no plain text";
        return Err(Problem::invalid("Idempotency-Key", detail));
    }
    let hash = Sha256::new().chain_update(api).chain_update([0]).chain_update(body).finalize();
    Ok(Some((key.to_owned(), hash.into())))
}

/// The query of an address, by its type.
pub(crate) struct Asking<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> axum::extract::FromRequestParts<S> for Asking<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Head, _: &S) -> Result<Self> {
        let query = Query::<T>::try_from_uri(&parts.uri);
        let Query(value) = query.map_err(|error| Problem::invalid("query", error.body_text()))?;
        Ok(Self(value))
    }
}
