//! The web page: its files are inside the program.

use std::{
    collections::HashMap,
    io::Write,
    sync::{Mutex, OnceLock, PoisonError},
};

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use flate2::{Compression, write::GzEncoder};
use rust_embed::RustEmbed;

use crate::{app::App, keys::hex, problem::Problem};

#[derive(RustEmbed)]
#[folder = "web/"]
#[exclude = "tests/*"]
#[exclude = "*.md"]
struct Files;

/// The page at `/`, and what it loads from `/web/`.
pub(crate) fn router() -> Router<App> {
    Router::new()
        .route("/", get(async |headers: HeaderMap| file("index.html", &headers)))
        .route("/favicon.ico", get(async |headers: HeaderMap| file("icon.svg", &headers)))
        .route("/web/{*name}", get(async |Path(name): Path<String>, headers: HeaderMap| file(&name, &headers)))
}

fn file(name: &str, headers: &HeaderMap) -> Response {
    let Some(found) = Files::get(name) else { return Problem::not_found("page").into_response() };
    let etag = format!("\"{}\"", hex(&found.metadata.sha256_hash()[..16]));
    let media_type = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json" | "webmanifest") => "application/json",
        _ => "text/plain; charset=utf-8",
    };
    // A new version of the program has new files under the same names.
    let mut fixed = vec![
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
    ];
    fixed.extend(HeaderValue::from_str(&etag).ok().map(|etag| (header::ETAG, etag)));
    let said = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if said(header::IF_NONE_MATCH).split(',').any(|known| known.trim() == etag) {
        return (StatusCode::NOT_MODIFIED, to_map(fixed)).into_response();
    }
    let takes_gzip = said(header::ACCEPT_ENCODING).split(',').any(|coding| coding.trim().starts_with("gzip"));
    if takes_gzip && let Some(compressed) = compressed(name, &found.data) {
        fixed.push((header::CONTENT_ENCODING, HeaderValue::from_static("gzip")));
        return (to_map(fixed), compressed).into_response();
    }
    (to_map(fixed), found.data.into_owned()).into_response()
}

fn to_map(headers: Vec<(header::HeaderName, HeaderValue)>) -> HeaderMap {
    headers.into_iter().collect()
}

/// A file compressed, once.
fn compressed(name: &str, data: &[u8]) -> Option<Vec<u8>> {
    static ALL: OnceLock<Mutex<HashMap<String, Vec<u8>>>> = OnceLock::new();
    let mut all = ALL.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = all.get(name) {
        return Some(known.clone());
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).ok()?;
    let bytes = encoder.finish().ok()?;
    // In a development build files change while the program runs.
    if !cfg!(debug_assertions) {
        all.insert(name.to_owned(), bytes.clone());
    }
    Some(bytes)
}
