//! The options of a key, and what is done to the models.

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use super::fields::Warnings;
use crate::{
    app::App,
    auth::{ADMIN, Caller, Can, GENERATE, READ},
    extract::JsonBody,
    hub::blocking,
    problem::{Problem, Result, warn_header},
};

/// The options of the key.
#[utoipa::path(get, path = "/sdapi/v1/options", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn get(State(app): State<App>, Can(caller): Can<READ>) -> Result<Json<Value>> {
    blocking(move || Ok(Json(Value::Object(app.a1111.settings(&caller.key.id).view(&app))))).await
}

/// Sets options of the key; those that mean nothing here are named in a header.
#[utoipa::path(post, path = "/sdapi/v1/options", tag = "a1111", request_body = Value, responses((status = 200, description = "null", body = Value), (status = 500, description = "There is no such model", body = Value)))]
pub(super) async fn set(
    State(app): State<App>,
    Can(caller): Can<GENERATE>,
    JsonBody(body): JsonBody<Map<String, Value>>,
) -> Result<Response> {
    app.limiter.check_request(&caller.key)?;
    blocking(move || {
        let warnings = Warnings::default();
        let mut settings = app.a1111.settings(&caller.key.id);
        settings.set(&app, &body, &warnings).map_err(|problem| match &*problem.code {
            "model_not_found" => Problem { code: "unknown_option_value".into(), ..problem },
            _ => problem,
        })?;
        app.a1111.set_settings(&caller.key.id, settings);
        let mut headers = HeaderMap::new();
        warnings.take().iter().for_each(|warning| warn_header(&mut headers, warning));
        Ok((headers, Json(Value::Null)).into_response())
    })
    .await
}

/// Looks for models and adapters again.
async fn look_again(app: App, caller: Caller) -> Result<Json<Value>> {
    app.limiter.check_request(&caller.key)?;
    blocking(move || {
        app.engine.refresh()?;
        app.a1111.forget_hashes();
        Ok(Json(Value::Null))
    })
    .await
}

/// Looks for models again.
#[utoipa::path(post, path = "/sdapi/v1/refresh-checkpoints", tag = "a1111", responses((status = 200, description = "null", body = Value)))]
pub(super) async fn refresh_checkpoints(State(app): State<App>, Can(caller): Can<GENERATE>) -> Result<Json<Value>> {
    look_again(app, caller).await
}

/// Looks for autoencoders again.
#[utoipa::path(post, path = "/sdapi/v1/refresh-vae", tag = "a1111", responses((status = 200, description = "null", body = Value)))]
pub(super) async fn refresh_vae(State(app): State<App>, Can(caller): Can<GENERATE>) -> Result<Json<Value>> {
    look_again(app, caller).await
}

/// Looks for embeddings again.
#[utoipa::path(post, path = "/sdapi/v1/refresh-embeddings", tag = "a1111", responses((status = 200, description = "null", body = Value)))]
pub(super) async fn refresh_embeddings(State(app): State<App>, Can(caller): Can<GENERATE>) -> Result<Json<Value>> {
    look_again(app, caller).await
}

/// Looks for LoRAs again.
#[utoipa::path(post, path = "/sdapi/v1/refresh-loras", tag = "a1111", responses((status = 200, description = "null", body = Value)))]
pub(super) async fn refresh_loras(State(app): State<App>, Can(caller): Can<GENERATE>) -> Result<Json<Value>> {
    look_again(app, caller).await
}

/// Frees the memory of models that are not used, which slows others' next jobs down; so it takes the scope `admin`.
#[utoipa::path(post, path = "/sdapi/v1/unload-checkpoint", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn unload(State(app): State<App>, Can(_caller): Can<ADMIN>) -> Result<Json<Value>> {
    blocking(move || {
        app.engine.unload();
        Ok(Json(json!({})))
    })
    .await
}

/// A model is loaded by the job that needs it; there is nothing to do.
#[utoipa::path(post, path = "/sdapi/v1/reload-checkpoint", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn reload(Can(_caller): Can<GENERATE>) -> Result<Json<Value>> {
    Ok(Json(json!({})))
}
