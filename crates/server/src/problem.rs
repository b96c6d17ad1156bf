//! Errors as clients see them: problem details (RFC 9457) with a code for programs.

use std::borrow::Cow;

use axum::{
    Json,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use calotype_engine::Error;
use calotype_queue::JobError;
use serde::Serialize;
use utoipa::ToSchema;

/// Why a request was not met. No path, address or secret of the machine is in it.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    /// For programs: `out_of_range`.
    pub(crate) code: Cow<'static, str>,
    /// For people, in one line.
    pub(crate) detail: String,
    /// The member or parameter at fault.
    pub(crate) param: Option<String>,
    /// What to do.
    pub(crate) hint: Option<String>,
    /// After how many seconds to try again.
    pub(crate) retry_after: Option<u64>,
}

/// The body of an error.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProblemBody {
    /// Always `about:blank`: the status and `code` say what it is.
    r#type: &'static str,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong, in one line.
    detail: String,
    /// What programs know the problem by.
    code: String,
    /// The member of the request, or the parameter, at fault.
    param: Option<String>,
    /// What to do.
    hint: Option<String>,
}

pub(crate) type Result<T, E = Problem> = std::result::Result<T, E>;

impl Problem {
    pub(crate) fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        let one_line = detail.into().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Self { status, code: code.into(), detail: one_line, param: None, hint: None, retry_after: None }
    }

    pub(crate) fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// The request is understood, and can't be met as it is.
    pub(crate) fn invalid(param: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", detail).param(param)
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("there is no such {what}"))
    }

    pub(crate) fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, detail)
    }

    pub(crate) fn internal() -> Self {
        let detail = "it failed on this machine: the server's log says more";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    pub(crate) fn too_many(code: &'static str, detail: impl Into<String>, retry_after: u64) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, code, detail);
        Self { retry_after: Some(retry_after.max(1)), ..problem }
    }

    pub(crate) fn param(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// The status of a code of the engine, of an error or of a job that failed, and after how many seconds to try again.
fn status_of(code: &str) -> (StatusCode, Option<u64>) {
    match code {
        "not_found" | "model_not_found" | "input_not_found" => (StatusCode::NOT_FOUND, None),
        "wrong_state" | "stale_attempt" => (StatusCode::CONFLICT, None),
        "queue_full" | "quota_queued" => (StatusCode::TOO_MANY_REQUESTS, Some(10)),
        "draining" => (StatusCode::SERVICE_UNAVAILABLE, Some(10)),
        "storage" => (StatusCode::SERVICE_UNAVAILABLE, Some(5)),
        "disk_full" => (StatusCode::INSUFFICIENT_STORAGE, None),
        "prompt_refused" | "image_refused" | "image_blocked" => (StatusCode::FORBIDDEN, None),
        "internal" | "cancelled" | "non_finite" | "crashed_repeatedly" => (StatusCode::INTERNAL_SERVER_ERROR, None),
        _ => (StatusCode::UNPROCESSABLE_ENTITY, None),
    }
}

impl From<JobError> for Problem {
    fn from(error: JobError) -> Self {
        let (status, retry_after) = status_of(&error.code);
        Self { retry_after, ..Self::new(status, error.code, error.message) }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let code = error.code();
        let (status, retry_after) = status_of(code);
        if status.is_server_error() && matches!(code, "internal" | "storage") {
            tracing::error!(%error, "a request failed");
            return Self { status, retry_after, ..Self::internal() };
        }
        let problem = Self::new(status, code, error.to_string());
        Self { param: error.field().map(str::to_owned), retry_after, ..problem }
    }
}

impl From<calotype_queue::Error> for Problem {
    fn from(error: calotype_queue::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<calotype::Error> for Problem {
    fn from(error: calotype::Error) -> Self {
        Error::from(error).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let kept = self.clone();
        let Self { status, code, detail, param, hint, retry_after } = self;
        let title = status.canonical_reason().unwrap_or("Error");
        let code = code.into_owned();
        let body = ProblemBody { r#type: "about:blank", title, status: status.as_u16(), detail, code, param, hint };
        let mut response = (status, Json(body)).into_response();
        // Other APIs say it in their own words.
        response.extensions_mut().insert(kept);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"calotype\""));
        }
        response
    }
}

/// Names something that is not done as it was asked for, in a header of the answer.
pub(crate) fn warn_header(headers: &mut HeaderMap, warning: &str) {
    const WARNING: HeaderName = HeaderName::from_static("x-calotype-warning");
    const MOST: usize = 400;
    let plain: String =
        warning.chars().take(MOST).map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect();
    if let Ok(value) = HeaderValue::from_str(&plain) {
        headers.append(WARNING, value);
    }
}
