//! Images that jobs start from, sent before them.

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::results::media_type;
use crate::{
    app::App,
    auth::{Can, GENERATE},
    extract::Whole,
    hub::blocking,
    job_body::not_an_image,
    problem::{ProblemBody, Result},
};

/// An image that was taken in.
#[derive(Serialize, ToSchema)]
pub(crate) struct Blob {
    /// By which jobs refer to it: `{"blob": …}`.
    blob: String,
    /// Width in pixels.
    width: u32,
    /// Height in pixels.
    height: u32,
    /// `image/png`.
    media_type: &'static str,
}

/// Takes an image in, for jobs that start from it. One that no job refers to is kept for a day.
#[utoipa::path(post, path = "/v1/blobs", tag = "results", request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "A PNG, JPEG, WebP, GIF, BMP or TIFF file"),
    responses((status = 201, body = Blob), (status = 422, description = "It is no such image", body = ProblemBody)))]
pub(crate) async fn put(
    State(app): State<App>,
    Can(caller): Can<GENERATE>,
    Whole(bytes): Whole,
) -> Result<(StatusCode, Json<Blob>)> {
    app.limiter.check_request(&caller.key)?;
    blocking(move || {
        let input = app.engine.put_input(&bytes).map_err(not_an_image)?;
        let blob =
            Blob { blob: input.sha256, width: input.width, height: input.height, media_type: media_type(&bytes) };
        Ok((StatusCode::CREATED, Json(blob)))
    })
    .await
}
