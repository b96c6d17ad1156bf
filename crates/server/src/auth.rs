//! Who asks: a key as `Bearer`, as the password of `Basic`, or in the cookie of a browser that has logged in.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, FromRequestParts, Request, State},
    http::{Extensions, HeaderMap, StatusCode, header, request::Parts},
    middleware::Next,
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use calotype_queue::wall_clock;

use crate::{
    app::App,
    hub::blocking,
    keys::{Key, Scope},
    problem::{Problem, Result},
};

/// The cookie of a login.
pub(crate) const COOKIE: &str = "calotype";
/// What its signature is for.
const LOGIN: &str = "login";
/// How long a login is good for.
pub(crate) const LOGIN_MS: u64 = 30 * 24 * 3600 * 1000;

/// Whoever asks, as far as it is known.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) key: Arc<Key>,
}

impl Caller {
    /// Refuses what the key is not for.
    pub(crate) fn require(&self, scope: Scope) -> Result<()> {
        if self.key.has(scope) {
            return Ok(());
        }
        let detail = format!("this key is not for that: it takes the scope {scope}");
        Err(Problem::forbidden("missing_scope", detail).param(scope.id()))
    }

    /// Whether the jobs of an owner are its own, or everybody's are.
    pub(crate) fn may_see(&self, owner: &str) -> bool {
        self.key.id == owner || self.key.has(Scope::Admin)
    }
}

/// What [`identify`] found, for the handlers.
#[derive(Clone)]
struct Identity(Result<Caller>);

/// The id of the key that a request came with, for the log.
#[derive(Clone)]
pub(crate) struct KeyId(pub(crate) String);

/// Finds out who asks. Whether that is enough is each handler's business.
pub(crate) async fn identify(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let address = address(&app, request.headers(), request.extensions());
    let headers = request.headers().clone();
    let identity = {
        let app = Arc::clone(&app);
        blocking(move || Ok(caller(&app, &headers, address))).await
    };
    let identity = identity.and_then(|found| found);
    let key = identity.as_ref().ok().map(|caller| KeyId(caller.key.id.clone()));
    request.extensions_mut().insert(Identity(identity));
    let mut response = next.run(request).await;
    if let Some(key) = key {
        response.extensions_mut().insert(key);
    }
    response
}

/// Where a request came from.
pub(crate) fn address(app: &App, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
    let direct = extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    if !app.config.behind_proxy {
        return direct;
    }
    // The last one is what the proxy itself has seen.
    let forwarded = headers.get("x-forwarded-for").and_then(|value| value.to_str().ok());
    let last = forwarded.and_then(|list| list.rsplit(',').next()).and_then(|text| text.trim().parse().ok());
    last.or(direct)
}

/// Where a request came from, for handlers.
pub(crate) struct Address(pub(crate) Option<IpAddr>);

impl FromRequestParts<App> for Address {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        Ok(Self(address(app, &parts.headers, &parts.extensions)))
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self> {
        match parts.extensions.get::<Identity>() {
            Some(Identity(found)) => found.clone(),
            None => Err(Problem::internal()),
        }
    }
}

/// A caller whose key is for something: [`GENERATE`] and the like. Whoever may not is refused before the body is read.
pub(crate) struct Can<const SCOPE: u8>(pub(crate) Caller);

/// Making images.
pub(crate) const GENERATE: u8 = Scope::Generate as u8;
/// Looking at one's jobs, and at what the server has.
pub(crate) const READ: u8 = Scope::Read as u8;
/// Deciding on images that are held.
pub(crate) const REVIEW: u8 = Scope::Review as u8;
/// Reading the audit log.
pub(crate) const AUDIT: u8 = Scope::Audit as u8;
/// Keys, and everybody's jobs.
pub(crate) const ADMIN: u8 = Scope::Admin as u8;

impl<const SCOPE: u8> FromRequestParts<App> for Can<SCOPE> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let caller = Caller::from_request_parts(parts, app).await?;
        let scope = Scope::ALL.into_iter().find(|scope| *scope as u8 == SCOPE).ok_or_else(Problem::internal)?;
        caller.require(scope)?;
        Ok(Self(caller))
    }
}

/// The caller, where being nobody is no error.
pub(crate) struct MaybeCaller(pub(crate) Option<Caller>);

impl FromRequestParts<App> for MaybeCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        Ok(Self(Caller::from_request_parts(parts, app).await.ok()))
    }
}

fn caller(app: &App, headers: &HeaderMap, address: Option<IpAddr>) -> Result<Caller> {
    if !app.needs_key {
        // Some clients send an empty or made-up login where none is asked for.
        return Ok(Caller { key: Arc::new(Key::local()) });
    }
    let wrong = || app.limiter.wrong_key(address, unauthorized("the key is not known here, has ended or was revoked"));
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    if let Some(value) = given.next() {
        if given.next().is_some() {
            return Err(Problem::bad_request("invalid_request", "there are two Authorization headers: send one"));
        }
        let secret = value.to_str().ok().and_then(secret).ok_or_else(wrong)?;
        let key = find(app.keys.find(&secret))?.ok_or_else(wrong)?;
        return Ok(Caller { key: Arc::new(key) });
    }
    let Some(login) = cookie(headers) else {
        return Err(unauthorized("a key is needed: send it as Authorization: Bearer calo_…"));
    };
    let id = of_login(app, login).ok_or_else(wrong)?;
    let key = find(app.keys.by_id(id))?.ok_or_else(wrong)?;
    Ok(Caller { key: Arc::new(key) })
}

fn find(found: crate::Result<Option<Key>>) -> Result<Option<Key>> {
    found.map_err(|error| {
        tracing::error!(%error, "the keys can't be read");
        Problem::internal()
    })
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
}

/// The key in an `Authorization` header. The user of `Basic` does not matter.
fn secret(value: &str) -> Option<String> {
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(';')).find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// The value of the cookie of a key, and when it ends.
pub(crate) fn login(app: &App, key: &Key) -> String {
    let end = wall_clock()().saturating_add(LOGIN_MS);
    let text = format!("{}.{end}", key.id);
    format!("{text}.{}", app.secret.sign(LOGIN, &text))
}

/// The id of the key that a login is for.
fn of_login<'a>(app: &App, login: &'a str) -> Option<&'a str> {
    let (text, signature) = login.rsplit_once('.')?;
    let (id, end) = text.split_once('.')?;
    let is_good = app.secret.is_signed(LOGIN, text, signature) && end.parse::<u64>().ok()? > wall_clock()();
    is_good.then_some(id)
}
