//! OpenAI's image API, as its clients use it: a request becomes the body of a job.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

mod body;
mod fold;
mod form;
mod images;
mod models;
mod stream;

use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use fold::Running;

use crate::app::App;

/// All routes, each with its description.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(images::generations))
        .routes(routes!(images::edits))
        .routes(routes!(images::variations))
        .routes(routes!(models::get))
}
