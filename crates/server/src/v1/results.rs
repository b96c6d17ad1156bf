//! Images: results of jobs, previews of those that are worked on, what they start from.

use axum::{
    extract::{Path, State},
    response::Response,
};
use calotype_engine::Order;
use calotype_queue::wall_clock;
use serde::Deserialize;
use utoipa::IntoParams;

use super::file;
use crate::{
    app::App,
    auth::{Can, READ},
    extract::Asking,
    hub::blocking,
    problem::{Problem, ProblemBody, Result},
};

/// What never changes; a proxy must not keep it for others.
const FOR_EVER: &str = "private, max-age=31536000, immutable";
/// The use of signatures of links.
const LINK: &str = "link";

/// How a result is sent.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct How {
    /// 1: to be saved, under a name.
    #[serde(default)]
    download: u8,
}

/// A result of a job that has succeeded.
#[utoipa::path(get, path = "/v1/jobs/{id}/results/{n}", tag = "results", params(("id" = String, Path, description = "The job"), ("n" = usize, Path, description = "Which of its images"), How),
    responses((status = 200, description = "The file", content_type = "image/png", body = Vec<u8>), (status = 404, description = "There is none", body = ProblemBody)))]
pub(crate) async fn get(
    State(app): State<App>,
    Can(caller): Can<READ>,
    Path((id, n)): Path<(String, String)>,
    Asking(how): Asking<How>,
) -> Result<Response> {
    let number: usize = n.parse().map_err(|_| Problem::not_found("result"))?;
    let job = app.job(&caller, &id).await?;
    blocking(move || {
        let (result, bytes) = app.engine.result(&job, number)?;
        let ending = result.media_type.rsplit('/').next().unwrap_or("png");
        let seed = result.about["seed"].as_u64().unwrap_or(0);
        let name =
            (how.download != 0).then(|| format!("calotype-{seed}.{}", if ending == "jpeg" { "jpg" } else { ending }));
        Ok(file(bytes, &result.media_type, FOR_EVER, name))
    })
    .await
}

/// Which preview.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Version {
    /// Its number, so that a browser keeps none for another. The newest is sent whatever it says.
    v: Option<u64>,
}

/// The newest preview of a job that is worked on: a JPEG of a pixel for each latent.
#[utoipa::path(get, path = "/v1/jobs/{id}/preview", tag = "results", params(("id" = String, Path, description = "The job"), Version),
    responses((status = 200, description = "A small JPEG", content_type = "image/jpeg", body = Vec<u8>), (status = 404, description = "There is none now", body = ProblemBody)))]
pub(crate) async fn preview(
    State(app): State<App>,
    Can(caller): Can<READ>,
    Path(id): Path<String>,
    Asking(version): Asking<Version>,
) -> Result<Response> {
    let _ = version.v;
    let job = app.job(&caller, &id).await?;
    let preview = app.engine.preview(job.id).ok_or_else(|| Problem::not_found("preview"))?;
    Ok(file(preview.jpeg.to_vec(), "image/jpeg", "no-store", None))
}

/// An image that a job starts from, or its mask.
#[utoipa::path(get, path = "/v1/jobs/{id}/inputs/{sha256}", tag = "results", params(("id" = String, Path, description = "The job"), ("sha256" = String, Path, description = "The SHA-256 of the image's file")),
    responses((status = 200, description = "The file", content_type = "image/png", body = Vec<u8>), (status = 404, description = "There is none", body = ProblemBody)))]
pub(crate) async fn input(
    State(app): State<App>,
    Can(caller): Can<READ>,
    Path((id, sha256)): Path<(String, String)>,
) -> Result<Response> {
    let job = app.job(&caller, &id).await?;
    blocking(move || {
        let none = || Problem::not_found("input image");
        let mut request = Order::of_job(&job)?.request;
        if !request.images_mut().any(|image| image.reference().sha256 == sha256) {
            return Err(none());
        }
        let bytes = app.engine.input(&sha256).map_err(|_| none())?;
        let media_type = media_type(&bytes);
        Ok(file(bytes, media_type, FOR_EVER, None))
    })
    .await
}

/// By the first bytes of a file that was decoded before.
pub(crate) fn media_type(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, ..] => "image/jpeg",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        [b'G', b'I', b'F', ..] => "image/gif",
        _ => "application/octet-stream",
    }
}

/// A link to a result, good for so long without a key.
pub(crate) fn link(app: &App, job: calotype_queue::JobId, number: usize, good_for_ms: u64) -> String {
    let end = wall_clock()().saturating_add(good_for_ms);
    let signature = app.secret.sign(LINK, &format!("{job}/{number}/{end}"));
    format!("/v1/blobs/{job}/{number}?exp={end}&sig={signature}")
}

/// The end of a link and its signature.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Signed {
    /// When it ends, in milliseconds since 1970.
    exp: u64,
    /// Who may follow it may see the image.
    sig: String,
}

/// A result, by a link that was given in an answer and is good for an hour.
#[utoipa::path(get, path = "/v1/blobs/{id}/{n}", tag = "results", security(()), params(("id" = String, Path, description = "The job"), ("n" = usize, Path, description = "Which of its images"), Signed),
    responses((status = 200, description = "The file", content_type = "image/png", body = Vec<u8>), (status = 404, description = "There is none, or the link has ended", body = ProblemBody)))]
pub(crate) async fn signed(
    State(app): State<App>,
    Path((id, n)): Path<(String, String)>,
    Asking(signed): Asking<Signed>,
) -> Result<Response> {
    let none = || Problem::not_found("result, or the link to it has ended");
    let text = format!("{id}/{n}/{}", signed.exp);
    if !app.secret.is_signed(LINK, &text, &signed.sig) || signed.exp < wall_clock()() {
        return Err(none());
    }
    blocking(move || {
        let (id, number) = (id.parse().map_err(|()| none())?, n.parse().map_err(|_| none())?);
        let job = app.engine.job(id)?.ok_or_else(none)?;
        let (result, bytes) = app.engine.result(&job, number)?;
        Ok(file(bytes, &result.media_type, FOR_EVER, None))
    })
    .await
}
