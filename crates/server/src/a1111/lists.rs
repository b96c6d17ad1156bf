//! What there is to choose from, in A1111's lists. Paths are names of files, without folders.

use axum::{Json, extract::State};
use calotype::{
    checkpoint::ListedKind,
    memory::{available_memory, resident_memory},
    request::Upscaler,
    sampling::{SAMPLERS, SCHEDULES, ScheduleKind, StepNoise},
};
use calotype_engine::Entry;
use serde_json::{Map, Value, json};

use super::models;
use crate::{
    app::App,
    auth::{Can, READ},
    hub::blocking,
    problem::Result,
};

/// The models.
#[utoipa::path(get, path = "/sdapi/v1/sd-models", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn sd_models(State(app): State<App>, Can(_caller): Can<READ>) -> Result<Json<Value>> {
    blocking(move || {
        let view = |entry: Entry| {
            let sha256 = models::sha256(&app, &entry);
            let hash = sha256.as_deref().map(models::short);
            let title = models::title(&entry, hash.as_deref());
            let file = entry.file_name();
            json!({"title": title, "model_name": entry.id, "hash": hash, "sha256": sha256, "filename": file, "config": null})
        };
        Ok(Json(app.engine.catalogue().all(ListedKind::Model).into_iter().map(view).collect()))
    })
    .await
}

/// The autoencoders.
#[utoipa::path(get, path = "/sdapi/v1/sd-vae", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn sd_vae(State(app): State<App>, Can(_caller): Can<READ>) -> Result<Json<Value>> {
    let view = |entry: Entry| json!({"model_name": entry.id, "filename": entry.file_name()});
    Ok(Json(app.engine.catalogue().all(ListedKind::Vae).into_iter().map(view).collect()))
}

/// LoRAs and LyCORIS.
#[utoipa::path(get, path = "/sdapi/v1/loras", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn loras(State(app): State<App>, Can(_caller): Can<READ>) -> Result<Json<Value>> {
    let view = |entry: Entry| json!({"name": entry.id, "alias": entry.id, "path": entry.file_name(), "metadata": {}});
    Ok(Json(app.engine.catalogue().all(ListedKind::Lora).into_iter().map(view).collect()))
}

/// Hypernetworks.
#[utoipa::path(get, path = "/sdapi/v1/hypernetworks", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn hypernetworks(State(app): State<App>, Can(_caller): Can<READ>) -> Result<Json<Value>> {
    let view = |entry: Entry| json!({"name": entry.id, "path": entry.file_name()});
    Ok(Json(app.engine.catalogue().all(ListedKind::Hypernetwork).into_iter().map(view).collect()))
}

/// Textual inversions; how many vectors each has is not read for a list.
#[utoipa::path(get, path = "/sdapi/v1/embeddings", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn embeddings(State(app): State<App>, Can(_caller): Can<READ>) -> Result<Json<Value>> {
    let about =
        json!({"step": null, "sd_checkpoint": null, "sd_checkpoint_name": null, "shape": null, "vectors": null});
    let all = app.engine.catalogue().all(ListedKind::Embedding).into_iter();
    let loaded: Map<String, Value> = all.map(|entry| (entry.id, about.clone())).collect();
    Ok(Json(json!({"loaded": loaded, "skipped": {}})))
}

/// The samplers.
#[utoipa::path(get, path = "/sdapi/v1/samplers", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn samplers(Can(_caller): Can<READ>) -> Result<Json<Value>> {
    let known = SAMPLERS.iter().filter(|sampler| sampler.kind.has_schedule(ScheduleKind::Automatic));
    let view = |sampler: &calotype::sampling::SamplerInfo| {
        let mut options = Map::new();
        if sampler.own_schedule != ScheduleKind::Automatic {
            options.insert("scheduler".to_owned(), json!(sampler.own_schedule.id()));
        }
        if matches!(sampler.noise, StepNoise::Ancestral) {
            options.insert("uses_ensd".to_owned(), json!("True"));
        }
        json!({"name": sampler.label, "aliases": [format!("k_{}", sampler.id)], "options": options})
    };
    Ok(Json(known.map(view).collect()))
}

/// The schedules of sigmas.
#[utoipa::path(get, path = "/sdapi/v1/schedulers", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn schedulers(Can(_caller): Can<READ>) -> Result<Json<Value>> {
    let known =
        SCHEDULES.iter().filter(|schedule| !matches!(schedule.kind, ScheduleKind::Default | ScheduleKind::Compvis));
    let view = |schedule: &calotype::sampling::ScheduleInfo| {
        let aliases: Vec<&str> = schedule.alias.into_iter().collect();
        let rho = schedule.rho.unwrap_or(-1.0);
        json!({"name": schedule.id, "label": schedule.label, "aliases": aliases, "default_rho": rho, "need_inner_model": false})
    };
    Ok(Json(known.map(view).collect()))
}

/// The ways to enlarge pixels. The first is none, as clients expect.
#[utoipa::path(get, path = "/sdapi/v1/upscalers", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn upscalers(Can(_caller): Can<READ>) -> Result<Json<Value>> {
    let labels = ["None"].into_iter().chain(labels(false));
    let view =
        |name: &str| json!({"name": name, "model_name": null, "model_path": null, "model_url": null, "scale": 4.0});
    Ok(Json(labels.map(view).collect()))
}

/// The ways to enlarge latents.
#[utoipa::path(get, path = "/sdapi/v1/latent-upscale-modes", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn latent_upscale_modes(Can(_caller): Can<READ>) -> Result<Json<Value>> {
    Ok(Json(labels(true).map(|name| json!({"name": name})).collect()))
}

fn labels(of_latents: bool) -> impl Iterator<Item = &'static str> {
    let is_latent = |upscaler: Upscaler| !matches!(upscaler, Upscaler::Lanczos | Upscaler::Nearest);
    Upscaler::LABELS.into_iter().filter(move |(upscaler, _)| is_latent(*upscaler) == of_latents).map(|(_, name)| name)
}

/// The styles of the server's config.
#[utoipa::path(get, path = "/sdapi/v1/prompt-styles", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn prompt_styles(State(app): State<App>, Can(_caller): Can<READ>) -> Result<Json<Value>> {
    Ok(Json(json!(app.config.styles)))
}

/// The memory of the server.
#[utoipa::path(get, path = "/sdapi/v1/memory", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn memory(Can(_caller): Can<READ>) -> Result<Json<Value>> {
    blocking(|| {
        let (free, used) = (available_memory().unwrap_or(0), resident_memory().unwrap_or(0));
        let ram = json!({"free": free, "used": used, "total": free.saturating_add(used)});
        Ok(Json(json!({"ram": ram, "cuda": {"error": "unavailable"}})))
    })
    .await
}

/// A few flags that every server has; what it was started with is nobody's business.
#[utoipa::path(get, path = "/sdapi/v1/cmd-flags", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn cmd_flags(Can(_caller): Can<READ>) -> Result<Json<Value>> {
    Ok(Json(json!({"api": true, "nowebui": true, "share": false, "enable_insecure_extension_access": false})))
}

/// No scripts.
#[utoipa::path(get, path = "/sdapi/v1/scripts", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn scripts(Can(_caller): Can<READ>) -> Result<Json<Value>> {
    Ok(Json(json!({"txt2img": [], "img2img": []})))
}

/// No scripts.
#[utoipa::path(get, path = "/sdapi/v1/script-info", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn script_info(Can(_caller): Can<READ>) -> Result<Json<Value>> {
    Ok(Json(json!([])))
}

/// No extensions.
#[utoipa::path(get, path = "/sdapi/v1/extensions", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn extensions(Can(_caller): Can<READ>) -> Result<Json<Value>> {
    Ok(Json(json!([])))
}

/// No networks for faces.
#[utoipa::path(get, path = "/sdapi/v1/face-restorers", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn face_restorers(Can(_caller): Can<READ>) -> Result<Json<Value>> {
    Ok(Json(json!([])))
}

/// No networks for enlarging.
#[utoipa::path(get, path = "/sdapi/v1/realesrgan-models", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn realesrgan_models(Can(_caller): Can<READ>) -> Result<Json<Value>> {
    Ok(Json(json!([])))
}
