//! Our own API.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

mod audit;
mod blobs;
mod describe;
mod events;
mod jobs;
mod keys;
mod lists;
mod png_info;
mod results;
mod review;
mod session;

use axum::http::header;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{Http, HttpAuthScheme, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use lists::openai_model;
pub(crate) use results::link;

use crate::{app::App, health, problem::ProblemBody};

/// What is said of the API as a whole.
#[derive(OpenApi)]
#[openapi(
    info(title = "Calotype", description = "Images by latent diffusion: jobs, their results and events."),
    components(schemas(ProblemBody, super::job_body::JobBody)),
    modifiers(&Security),
    security(("bearer" = []), ("basic" = []))
)]
struct Api;

struct Security;

impl Modify for Security {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let schemes = [("bearer", HttpAuthScheme::Bearer), ("basic", HttpAuthScheme::Basic)];
        for (name, scheme) in schemes {
            components.add_security_scheme(name, SecurityScheme::Http(Http::new(scheme)));
        }
    }
}

/// All routes, each with its description.
pub(crate) fn router() -> OpenApiRouter<App> {
    let mut router = OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::startupz))
        .routes(routes!(session::get, session::login, session::logout))
        .routes(routes!(jobs::submit, jobs::list))
        .routes(routes!(jobs::estimate))
        .routes(routes!(jobs::get, jobs::cancel))
        .routes(routes!(jobs::retry))
        .routes(routes!(jobs::prioritise))
        .routes(routes!(events::of_job))
        .routes(routes!(events::of_key))
        .routes(routes!(results::get))
        .routes(routes!(results::preview))
        .routes(routes!(results::input))
        .routes(routes!(results::signed))
        .routes(routes!(blobs::put))
        .routes(routes!(png_info::read))
        .routes(routes!(lists::models))
        .routes(routes!(lists::samplers))
        .routes(routes!(lists::schedulers))
        .routes(routes!(lists::upscalers))
        .routes(routes!(lists::adapters))
        .routes(routes!(lists::styles))
        .routes(routes!(review::list))
        .routes(routes!(review::decide))
        .routes(routes!(review::blurred))
        .routes(routes!(review::original))
        .routes(routes!(audit::lines))
        .routes(routes!(keys::list, keys::new))
        .routes(routes!(keys::revoke));
    describe::complete(router.get_openapi_mut());
    router
}

/// Bytes of a file, as an answer: shown in a page, or saved.
fn file(bytes: Vec<u8>, media_type: &str, cache: &'static str, name: Option<String>) -> axum::response::Response {
    use axum::response::IntoResponse;
    let headers = [(header::CONTENT_TYPE, media_type.to_owned()), (header::CACHE_CONTROL, cache.to_owned())];
    let disposition = name.map(|name| [(header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\""))]);
    match disposition {
        Some(disposition) => (headers, disposition, bytes).into_response(),
        None => (headers, bytes).into_response(),
    }
}
