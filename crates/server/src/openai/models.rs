//! One model, as OpenAI's clients ask for it.

use axum::{
    Json,
    extract::{Path, State},
};
use calotype::checkpoint::ListedKind;
use serde_json::Value;

use super::body::no_model;
use crate::{
    app::App,
    auth::{Can, READ},
    problem::Result,
    v1::openai_model,
};

/// A model.
#[utoipa::path(get, path = "/v1/models/{id}", tag = "openai", params(("id" = String, Path, description = "The model")),
    responses((status = 200, body = Value), (status = 404, description = "There is none", body = Value)))]
pub(super) async fn get(
    State(app): State<App>,
    Can(_caller): Can<READ>,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let entry = app.engine.catalogue().find(ListedKind::Model, &id).map_err(|_| no_model(&id))?;
    Ok(Json(openai_model(&entry.id)))
}
