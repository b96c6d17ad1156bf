//! All routes.

use std::sync::Arc;

use axum::{
    Json, Router,
    http::StatusCode,
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::{app::App, auth, guard, metrics, page, problem::Problem, v1};

/// The API as OpenAPI describes it.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    v1::router().split_for_parts().1
}

pub(crate) fn router(app: &App) -> Router {
    let (v1, openapi) = v1::router().split_for_parts();
    let openapi = Arc::new(openapi);
    Router::new()
        .merge(v1)
        .route("/openapi.json", get(async move || Json((*openapi).clone())))
        .route("/metrics", get(metrics::metrics))
        .merge(page::router())
        .fallback(async || Problem::not_found("route"))
        .method_not_allowed_fallback(async || {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "the route is there, but not for this method",
            )
        })
        .layer(from_fn_with_state(Arc::clone(app), auth::identify))
        .layer(from_fn(catch_panic))
        .layer(from_fn_with_state(Arc::clone(app), guard::watch))
        .with_state(Arc::clone(app))
}

/// A fault of this program is an answer like any other, and the connection goes on.
async fn catch_panic(request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, "a request ended in a panic");
            Problem::internal().into_response()
        }
    }
}
