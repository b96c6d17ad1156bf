//! Keys, for administrators.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::{ADMIN, Can},
    extract::JsonBody,
    hub::blocking,
    keys::{Key, NewKey, Quotas, Scope},
    problem::{Problem, ProblemBody, Result},
};

/// A key without its secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyView {
    /// By which it is named.
    id: String,
    /// Whose it is, or what for.
    name: String,
    /// What it is for.
    scopes: Vec<Scope>,
    /// When it was made, in milliseconds since 1970.
    created: u64,
    /// When it ends.
    expires: Option<u64>,
    /// When it was revoked.
    revoked: Option<u64>,
    /// What it may use.
    quotas: Quotas,
}

impl From<&Key> for KeyView {
    fn from(key: &Key) -> Self {
        let Key { id, name, scopes, created, expires, revoked, quotas, .. } = key.clone();
        Self { id, name, scopes, created, expires, revoked, quotas }
    }
}

/// All keys.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyList {
    /// Also those that no longer count.
    keys: Vec<KeyView>,
}

/// The keys of the server.
#[utoipa::path(get, path = "/v1/keys", tag = "keys", responses((status = 200, body = KeyList)))]
pub(crate) async fn list(State(app): State<App>, Can(_caller): Can<ADMIN>) -> Result<Json<KeyList>> {
    blocking(move || {
        let keys = app.keys.all().map_err(|_| Problem::internal())?;
        Ok(Json(KeyList { keys: keys.iter().map(KeyView::from).collect() }))
    })
    .await
}

/// What a key is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKeyBody {
    /// Whose it is, or what for.
    name: String,
    /// What it is for: `generate` and `read` if nothing is said.
    #[serde(default)]
    scopes: Vec<Scope>,
    /// After how many days it ends.
    expires_in_days: Option<u64>,
    /// What it may use.
    #[serde(default)]
    quotas: Quotas,
}

/// A key that was made, with its secret, which is shown this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct MadeKey {
    /// The secret: `calo_…`.
    key: String,
    #[serde(flatten)]
    about: KeyView,
}

/// Makes a key.
#[utoipa::path(post, path = "/v1/keys", tag = "keys", request_body = NewKeyBody, responses((status = 201, body = MadeKey), (status = 422, description = "It has no name", body = ProblemBody)))]
pub(crate) async fn new(
    State(app): State<App>,
    Can(caller): Can<ADMIN>,
    JsonBody(body): JsonBody<NewKeyBody>,
) -> Result<(StatusCode, Json<MadeKey>)> {
    blocking(move || {
        let NewKeyBody { name, scopes, expires_in_days, quotas } = body;
        let made = app.keys.new_key(NewKey { name, scopes, expires_in_days, quotas });
        let (key, secret) = made.map_err(|error| Problem::invalid("name", error.to_string()))?;
        tracing::info!(key = %key.id, by = %caller.key.id, "a key was made");
        Ok((StatusCode::CREATED, Json(MadeKey { key: secret, about: KeyView::from(&key) })))
    })
    .await
}

/// Revokes a key: it counts no more.
#[utoipa::path(delete, path = "/v1/keys/{id}", tag = "keys", params(("id" = String, Path, description = "The id of the key")),
    responses((status = 200, body = KeyView), (status = 404, description = "There is none", body = ProblemBody)))]
pub(crate) async fn revoke(
    State(app): State<App>,
    Can(caller): Can<ADMIN>,
    Path(id): Path<String>,
) -> Result<Json<KeyView>> {
    blocking(move || {
        let key = app.keys.revoke(&id).map_err(|_| Problem::not_found("key"))?;
        tracing::info!(key = %key.id, by = %caller.key.id, "a key was revoked");
        Ok(Json(KeyView::from(&key)))
    })
    .await
}
