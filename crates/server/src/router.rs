//! All routes.

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::{
    Json, Router,
    http::StatusCode,
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::FutureExt;
use utoipa_axum::router::OpenApiRouter;

use crate::{a1111, app::App, auth, guard, metrics, openai, page, problem::Problem, v1};

/// The API as OpenAPI describes it.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes().split_for_parts().1
}

fn routes() -> OpenApiRouter<App> {
    v1::router().merge(a1111::router()).merge(openai::router())
}

pub(crate) fn router(app: &App) -> Router {
    let (routes, openapi) = routes().split_for_parts();
    let openapi = Arc::new(openapi);
    Router::new()
        .merge(routes)
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
    // Not on a task of its own: when the client goes, what is done for it ends.
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!("a request ended in a panic");
            Problem::internal().into_response()
        }
    }
}
