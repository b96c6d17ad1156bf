//! The audit log.

use axum::{Json, extract::State};
use calotype_safety::audit::Newest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    auth::{AUDIT, Can},
    extract::Asking,
    hub::blocking,
    problem::{Problem, ProblemBody, Result},
};

/// Lines in an answer, at most.
const MAX_LINES: usize = 1000;
const LINES: usize = 100;

/// Which lines.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// At most so many, 1 to 1000.
    limit: Option<usize>,
    /// With a smaller number than this.
    before: Option<u64>,
    /// That have this text in them.
    q: Option<String>,
}

/// Lines of the log.
#[derive(Serialize, ToSchema)]
pub(crate) struct Lines {
    /// The newest first.
    lines: Vec<Value>,
    /// What to give as `before` for older ones.
    next: Option<u64>,
    /// The hash of the last line, by which it is known that none was changed.
    head: Option<String>,
}

/// The audit log, the newest lines first.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", params(Which), responses((status = 200, body = Lines), (status = 404, description = "There is no log", body = ProblemBody)))]
pub(crate) async fn lines(
    State(app): State<App>,
    Can(_caller): Can<AUDIT>,
    Asking(which): Asking<Which>,
) -> Result<Json<Lines>> {
    let limit = which.limit.unwrap_or(LINES);
    if !(1..=MAX_LINES).contains(&limit) {
        return Err(Problem::invalid("limit", format!("limit is out of range: give 1 to {MAX_LINES}")));
    }
    blocking(move || {
        let publisher = app.engine.publisher();
        let path = publisher.audit().ok_or_else(|| Problem::not_found("audit log"))?;
        let unreadable = |error| {
            tracing::error!(%error, "the audit log can't be read");
            Problem::internal()
        };
        let before = which.before.unwrap_or(u64::MAX);
        let mut lines: Vec<Value> = Vec::new();
        for line in Newest::open(path).map_err(unreadable)? {
            let line = line.map_err(unreadable)?;
            if which.q.as_ref().is_some_and(|q| !line.contains(q.as_str())) {
                continue;
            }
            // What is no line is told by `audit verify`.
            let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
            if line["seq"].as_u64().is_some_and(|seq| seq < before) {
                lines.push(line);
            }
            if lines.len() == limit {
                break;
            }
        }
        let next = lines.last().filter(|_| lines.len() == limit).and_then(|line| line["seq"].as_u64());
        let head = publisher.audit_head().ok().flatten().map(|head| head.hash);
        Ok(Json(Lines { lines, next, head }))
    })
    .await
}
