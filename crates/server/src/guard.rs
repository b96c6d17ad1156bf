//! What every request goes through: its id, the checks that keep other sites out, the headers of answers, the log and the metrics.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use calotype_queue::wall_clock;

use crate::{
    app::App,
    auth::{COOKIE, KeyId},
    dialect::Dialect,
    keys::hex,
    problem::Problem,
};

/// Scripts and styles come from this server alone, and nobody may frame it.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; \
                   base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A1111's clients read it.
const PROCESS_TIME: HeaderName = HeaderName::from_static("x-process-time");

/// The id of a request, for the log and the audit log.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) String);

/// Around every request.
pub(crate) async fn watch(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let id = request_id(request.headers());
    request.extensions_mut().insert(RequestId(id.clone()));
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route =
        request.extensions().get::<MatchedPath>().map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let mut response = match check(&app, &method, request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let key = response.extensions().get::<KeyId>().cloned();
    if let Some(dialect) = Dialect::of(&path) {
        response = dialect.translate(response);
    }
    let took = begin.elapsed();
    let status = response.status();
    let labels = [
        ("http_request_method", known(&method).to_owned()),
        ("http_route", route.clone()),
        ("http_response_status_code", status.as_u16().to_string()),
    ];
    metrics::histogram!("http_server_request_duration_seconds", &labels).record(took.as_secs_f64());
    // Probes come every few seconds.
    if !matches!(route.as_str(), "/livez" | "/readyz" | "/startupz" | "/metrics") {
        let ms = took.as_secs_f64() * 1e3;
        let key = key.map(|id| id.0);
        tracing::info!(request = %id, key, %method, %route, status = status.as_u16(), ms, "request");
    }
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, CSP),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let values = [(REQUEST_ID, id), (PROCESS_TIME, format!("{:.4}", took.as_secs_f64()))];
    for (name, value) in values {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}

/// A method as a label: whoever sends made-up ones must not fill the memory.
fn known(method: &Method) -> &str {
    let all = [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::HEAD, Method::OPTIONS, Method::PATCH];
    if all.contains(method) { method.as_str() } else { "_OTHER" }
}

/// The id that a proxy gave a request, if it is one, or a new one.
fn request_id(headers: &HeaderMap) -> String {
    let is_id = |text: &&str| {
        (1..=64).contains(&text.len())
            && text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
    };
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(is_id);
    given.map_or_else(new_id, str::to_owned)
}

fn new_id() -> String {
    let mut random = [0; 12];
    match getrandom::fill(&mut random) {
        Ok(()) => hex(&random),
        // An id need not be secret.
        Err(_) => format!("{:024x}", wall_clock()()),
    }
}

/// Refuses names that this server does not have, and requests that other sites make a browser send.
fn check(app: &App, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).or(uri.host()).unwrap_or_default();
    if !is_ours(app, host) {
        let detail = "this server is not called by that name (Host)";
        return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "wrong_host", detail)
            .hint("add the name to hosts in calotype.toml"));
    }
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let foreign = || Problem::forbidden("foreign_origin", "the request comes from a page of another site (Origin)");
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("origin") {
        Some(origin) => {
            let of = origin.split_once("://").map_or("", |(_, host)| host);
            if of.eq_ignore_ascii_case(host) { Ok(()) } else { Err(foreign()) }
        }
        None => match text("sec-fetch-site") {
            Some("cross-site" | "same-site") => Err(foreign()),
            Some(_) => Ok(()),
            // Only browsers send cookies, and they say where a write comes from.
            None if has_login(headers) => Err(foreign()),
            None => Ok(()),
        },
    }
}

fn has_login(headers: &HeaderMap) -> bool {
    let has = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains(COOKIE));
    !headers.contains_key(header::AUTHORIZATION) && headers.get_all(header::COOKIE).iter().any(has)
}

/// Whether a server is called so. Without a login only by names of this machine, for a name of another site may lead here too.
fn is_ours(app: &App, host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|c| c.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    let named =
        app.config.hosts.iter().any(|known| known.eq_ignore_ascii_case(name) || known.eq_ignore_ascii_case(host));
    let is_loopback = name.eq_ignore_ascii_case("localhost")
        || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    named || is_loopback || (app.needs_key && app.config.hosts.is_empty())
}
