//! What the file of an image says of how it was made.

use axum::{Json, extract::State};
use calotype::metadata;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::{Can, READ},
    extract::Whole,
    hub::blocking,
    problem::Result,
};

/// What was read.
#[derive(Serialize, ToSchema)]
pub(crate) struct Settings {
    /// The members of a job that makes such an image; nothing if the file says nothing.
    request: Option<Value>,
    /// The settings as A1111 writes them.
    parameters: Option<String>,
    /// The program that made it.
    program: Option<String>,
    /// What could not be taken over.
    warnings: Vec<String>,
}

/// Reads the settings in a file: of this program, A1111 and its successors, ComfyUI, InvokeAI and others.
#[utoipa::path(post, path = "/v1/png-info", tag = "results", request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "An image file"), responses((status = 200, body = Settings)))]
pub(crate) async fn read(
    State(app): State<App>,
    Can(caller): Can<READ>,
    Whole(bytes): Whole,
) -> Result<Json<Settings>> {
    app.limiter.check_request(&caller.key)?;
    blocking(move || Ok(Json(settings(&bytes)))).await
}

fn settings(bytes: &[u8]) -> Settings {
    let reading = match metadata::read(bytes) {
        Ok(reading) => reading,
        Err(error) => {
            return Settings { request: None, parameters: None, program: None, warnings: vec![error.to_string()] };
        }
    };
    let mut request = serde_json::from_str::<Value>(&reading.metadata.request.to_json()).unwrap_or_default();
    if let Some(members) = request.as_object_mut() {
        // The images that it started from are not here.
        if members.remove("init").is_some() {
            members.insert("init_missing".to_owned(), json!(true));
        }
        members.remove("latents");
    }
    let is_missing = request.as_object_mut().is_some_and(|members| members.remove("init_missing").is_some());
    let unread = reading.unread.iter().map(|(name, value)| format!("not taken over: {name} {value}"));
    let init = is_missing.then(|| "it started from another image, which has to be given again".to_owned());
    Settings {
        request: Some(request),
        parameters: Some(reading.metadata.parameters()),
        program: Some(reading.program.name().to_owned()),
        warnings: reading.notes.iter().cloned().chain(unread).chain(init).collect(),
    }
}
