//! Probes: is the process alive, does it take jobs, has it started.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{app::App, hub::blocking, problem::Problem};

/// Whether the worker is alive.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, description = "Alive"), (status = 503, description = "The worker is stuck")))]
pub(crate) async fn livez(State(app): State<App>) -> Response {
    match app.engine.is_alive() {
        true => (StatusCode::OK, Json(json!({"status": "ok"}))).into_response(),
        false => failing("worker", "the worker was not seen for a minute"),
    }
}

/// Whether jobs are taken.
#[utoipa::path(get, path = "/readyz", tag = "health", responses((status = 200, description = "Jobs are taken"), (status = 503, description = "None are taken: the body says why")))]
pub(crate) async fn readyz(State(app): State<App>) -> Response {
    let ready = blocking(move || app.engine.check_ready().map_err(Problem::from)).await;
    match ready {
        Ok(()) => (StatusCode::OK, Json(json!({"status": "ok"}))).into_response(),
        Err(problem) => failing(&problem.code, &problem.detail),
    }
}

/// Whether the server has started.
#[utoipa::path(get, path = "/startupz", tag = "health", responses((status = 200, description = "Started")))]
pub(crate) async fn startupz() -> Response {
    // It listens when everything is open.
    (StatusCode::OK, Json(json!({"status": "ok"}))).into_response()
}

fn failing(check: &str, detail: &str) -> Response {
    let body = json!({"status": "failing", "check": check, "detail": detail});
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}
