//! Problems in the words of the API that was asked: each has its own shape of errors, and clients make exceptions of them.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use serde_json::{Value, json};

use crate::problem::Problem;

/// Tells OpenAI's clients whether sending it again may help.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// An API whose errors are not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    A1111,
    OpenAi,
}

impl Dialect {
    /// That of an address.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let begins = |starts: &[&str]| starts.iter().any(|start| path.starts_with(start));
        if begins(&["/sdapi/", "/internal/", "/controlnet/"]) {
            return Some(Self::A1111);
        }
        begins(&["/v1/images/", "/v1/models/"]).then_some(Self::OpenAi)
    }

    /// An answer as it is, or if it is a problem, that in these words.
    pub(crate) fn translate(self, response: Response) -> Response {
        let Some(problem) = response.extensions().get::<Problem>().cloned() else { return response };
        let (status, body) = match self {
            Self::A1111 => a1111(&problem),
            Self::OpenAi => openai(&problem),
        };
        let (mut parts, _) = response.into_parts();
        parts.status = status;
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self == Self::OpenAi && !may_help(&problem) {
            parts.headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        if self == Self::A1111 && status == StatusCode::UNAUTHORIZED {
            // Its clients log in no other way.
            parts.headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"calotype\""));
        }
        Response::from_parts(parts, Body::from(body.to_string()))
    }
}

/// As FastAPI and A1111's handler of exceptions write them.
fn a1111(problem: &Problem) -> (StatusCode, Value) {
    let Problem { status, code, detail, param, hint, .. } = problem;
    match (&**code, param) {
        ("not_found", None) if *status == StatusCode::NOT_FOUND => (*status, json!({"detail": "Not Found"})),
        ("invalid_type", Some(param)) => {
            let detail = json!([{"loc": ["body", param], "msg": detail, "type": hint}]);
            (*status, json!({"detail": detail}))
        }
        // What setting an option to an unknown model raises there.
        ("unknown_option_value", _) => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            (status, json!({"error": "RuntimeError", "detail": "", "body": "", "errors": detail}))
        }
        _ => {
            let errors = hint.as_deref().unwrap_or_default();
            (*status, json!({"error": "HTTPException", "detail": detail, "body": "", "errors": errors}))
        }
    }
}

/// As OpenAI's clients type them.
fn openai(problem: &Problem) -> (StatusCode, Value) {
    let (status, kind, code) = openai_kind(problem);
    let message = match (&problem.hint, code) {
        (_, "moderation_blocked") => format!("{} safety_violations=[{}]", problem.detail, problem.code),
        (Some(hint), _) => format!("{}: {hint}", problem.detail),
        (None, _) => problem.detail.clone(),
    };
    (status, openai_error(&message, kind, problem.param.as_deref(), code))
}

/// An error in OpenAI's shape, also within a stream.
fn openai_error(message: &str, kind: &str, param: Option<&str>, code: &str) -> Value {
    json!({"error": {"message": message, "type": kind, "param": param, "code": code}})
}

/// A problem in the middle of a stream.
pub(crate) fn openai_body(problem: &Problem) -> Value {
    openai(problem).1
}

fn openai_kind(problem: &Problem) -> (StatusCode, &'static str, &str) {
    const INVALID: &str = "invalid_request_error";
    let (status, code) = (problem.status, &*problem.code);
    match code {
        "prompt_refused" | "image_refused" | "image_blocked" | "held" | "rejected" => {
            (StatusCode::BAD_REQUEST, "image_generation_user_error", "moderation_blocked")
        }
        "unauthorized" => (status, INVALID, "invalid_api_key"),
        "quota_images" | "quota_exceeded" => {
            (StatusCode::TOO_MANY_REQUESTS, "insufficient_quota", "insufficient_quota")
        }
        _ if status == StatusCode::TOO_MANY_REQUESTS => (status, "rate_limit_error", "rate_limit_exceeded"),
        _ if status.is_server_error() => (status, "server_error", code),
        // What is wrong with a body is 400 there.
        _ if status == StatusCode::UNPROCESSABLE_ENTITY => (StatusCode::BAD_REQUEST, INVALID, code),
        _ => (status, INVALID, code),
    }
}

/// Whether the same request may be met later.
fn may_help(problem: &Problem) -> bool {
    matches!(
        &*problem.code,
        "rate_limit_exceeded"
            | "too_many_streams"
            | "queue_full"
            | "quota_queued"
            | "draining"
            | "storage"
            | "body_timeout"
    )
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    fn translated(dialect: Dialect, problem: Problem) -> (u16, bool) {
        let response = dialect.translate(problem.into_response());
        let retries = response.headers().get(SHOULD_RETRY).is_none();
        (response.status().as_u16(), retries)
    }

    #[test]
    fn addresses_have_their_words() {
        for (path, dialect) in [
            ("/sdapi/v1/txt2img", Some(Dialect::A1111)),
            ("/internal/progress", Some(Dialect::A1111)),
            ("/controlnet/version", Some(Dialect::A1111)),
            ("/v1/images/edits", Some(Dialect::OpenAi)),
            ("/v1/models/built-in", Some(Dialect::OpenAi)),
            ("/v1/models", None),
            ("/v1/jobs", None),
        ] {
            assert_eq!(Dialect::of(path), dialect, "{path}");
        }
    }

    #[test]
    fn clients_are_told_what_to_do() {
        let too_many = |code| Problem::too_many(code, "later", 3);
        for (problem, status, retries) in [
            (Problem::invalid("size", "no"), 400, false),
            (Problem::forbidden("prompt_refused", "no"), 400, false),
            (Problem::forbidden("missing_scope", "no"), 403, false),
            (Problem::not_found("model"), 404, false),
            (too_many("rate_limit_exceeded"), 429, true),
            (too_many("queue_full"), 429, true),
            (too_many("quota_images"), 429, false),
            (Problem::internal(), 500, false),
            (Problem::new(StatusCode::SERVICE_UNAVAILABLE, "draining", "soon"), 503, true),
            (Problem::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", "no room"), 507, false),
        ] {
            let code = problem.code.clone();
            assert_eq!(translated(Dialect::OpenAi, problem), (status, retries), "{code}");
        }
        assert_eq!(translated(Dialect::A1111, Problem::invalid("steps", "no")).0, 422);
    }
}
