//! Logins of browsers.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::{Address, COOKIE, LOGIN_MS, MaybeCaller, login as cookie},
    extract::JsonBody,
    hub::blocking,
    keys::Key,
    problem::{Problem, ProblemBody, Result},
};

/// Who is logged in, and what this server is.
#[derive(Serialize, ToSchema)]
pub(crate) struct Session {
    /// Whether nothing works without a key.
    login_required: bool,
    /// The key of whoever asks, if there is one: its `id`, `name` and `scopes`.
    key: Option<Value>,
    /// The version of the server.
    version: &'static str,
    /// Whether images are judged before they are shown.
    safety: bool,
    /// The most that a request may ask for.
    limits: Value,
}

fn session(app: &App, key: Option<&Key>) -> Session {
    let scopes = |key: &Key| crate::keys::Scope::ALL.into_iter().filter(|scope| key.has(*scope)).collect::<Vec<_>>();
    Session {
        login_required: app.needs_key,
        key: key.map(|key| json!({"id": key.id, "name": key.name, "scopes": scopes(key)})),
        version: env!("CARGO_PKG_VERSION"),
        safety: app.engine.publisher().hides_images(),
        limits: json!(app.engine.limits()),
    }
}

/// Who is logged in.
#[utoipa::path(get, path = "/v1/session", tag = "session", security(()), responses((status = 200, body = Session)))]
pub(crate) async fn get(State(app): State<App>, MaybeCaller(caller): MaybeCaller) -> Json<Session> {
    Json(session(&app, caller.as_ref().map(|caller| &*caller.key)))
}

/// A key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    /// `calo_…`.
    key: String,
}

/// Logs a browser in: its cookie then stands for the key.
#[utoipa::path(post, path = "/v1/session", tag = "session", security(()), request_body = Login,
    responses((status = 200, body = Session), (status = 401, description = "The key is not known", body = ProblemBody)))]
pub(crate) async fn login(
    State(app): State<App>,
    Address(address): Address,
    headers: HeaderMap,
    JsonBody(Login { key }): JsonBody<Login>,
) -> Result<Response> {
    let found = {
        let app = app.clone();
        blocking(move || app.keys.find(key.trim()).map_err(|_| Problem::internal())).await?
    };
    let key = found.ok_or_else(|| {
        let detail = "the key is not known here, has ended or was revoked";
        app.limiter.wrong_key(address, Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail))
    })?;
    // Behind a proxy that has TLS the cookie never goes without it.
    let has_tls = app.config.behind_proxy && headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let secure = if has_tls { "; Secure" } else { "" };
    let cookie = format!(
        "{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{secure}",
        cookie(&app, &key),
        LOGIN_MS / 1000
    );
    let cookie = HeaderValue::from_str(&cookie).map_err(|_| Problem::internal())?;
    Ok(([(header::SET_COOKIE, cookie)], Json(session(&app, Some(&key)))).into_response())
}

/// Logs a browser out.
#[utoipa::path(delete, path = "/v1/session", tag = "session", security(()), responses((status = 204, description = "Logged out")))]
pub(crate) async fn logout() -> Response {
    let cookie = "calotype=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0";
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, HeaderValue::from_static(cookie))]).into_response()
}
