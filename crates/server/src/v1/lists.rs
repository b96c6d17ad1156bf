//! What there is to choose from.

use axum::{Json, extract::State};
use calotype::{
    checkpoint::ListedKind,
    request::Upscaler,
    sampling::{SAMPLERS, SCHEDULES, SamplerFeature, StepNoise},
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::{Can, READ},
    config::Style,
    hub::blocking,
    problem::Result,
};

/// A model, or an autoencoder.
#[derive(Serialize, ToSchema)]
pub(crate) struct ModelView {
    /// By which jobs name it.
    id: String,
    /// `model` or `vae`.
    kind: &'static str,
    /// What it is, in words.
    what: String,
    /// Whether jobs that name none get it.
    is_default: bool,
    /// Whether it is in memory.
    is_loaded: bool,
    /// Width and height of its images, if nothing is said.
    size: Option<[usize; 2]>,
    /// What sides must be multiples of.
    size_multiple: Option<usize>,
    /// Its licence, if it is known.
    license: Option<String>,
    /// Bytes of its files.
    bytes: u64,
    /// Whether it is made for inpainting.
    is_inpainting: bool,
    /// The subjects that it knows, if its files say them.
    subjects: Option<Value>,
    /// Why it can't be used, if so.
    problem: Option<String>,
}

/// The models.
#[utoipa::path(get, path = "/v1/models", tag = "lists", responses((status = 200, description = "`models`, a list of ModelView; for OpenAI's clients also `object` and `data`", body = Value)))]
pub(crate) async fn models(State(app): State<App>, Can(_caller): Can<READ>) -> Result<Json<Value>> {
    blocking(move || {
        let views = model_views(&app);
        let data: Vec<Value> =
            views.iter().filter(|view| view.kind == "model").map(|view| openai_model(&view.id)).collect();
        Ok(Json(json!({"models": views, "object": "list", "data": data})))
    })
    .await
}

/// A model as OpenAI's clients know it.
pub(crate) fn openai_model(id: &str) -> Value {
    json!({"id": id, "object": "model", "created": 0, "owned_by": "calotype"})
}

pub(crate) fn model_views(app: &App) -> Vec<ModelView> {
    let catalogue = app.engine.catalogue();
    let (default, loaded) = (catalogue.default_model(), app.engine.loaded());
    let models = catalogue.all(ListedKind::Model).into_iter().map(|entry| (entry, "model"));
    let vaes = catalogue.all(ListedKind::Vae).into_iter().map(|entry| (entry, "vae"));
    let view = |(entry, kind): (calotype_engine::Entry, &'static str)| {
        let opened = (kind == "model").then(|| app.engine.model(&entry.id, None));
        let problem = opened.as_ref().and_then(|opened| opened.as_ref().err()).map(|_| "it can't be opened".to_owned());
        let model = opened.and_then(Result::<_, _>::ok);
        let vocabulary =
            model.as_ref().and_then(|model| model.vocabulary()).map(|vocabulary| json!(vocabulary.subjects));
        ModelView {
            kind,
            what: entry.what,
            is_default: kind == "model" && entry.id == default,
            is_loaded: kind == "model" && loaded.contains(&entry.id),
            size: model.as_ref().map(|model| model.default_size().into()),
            size_multiple: model.as_ref().map(|model| model.size_multiple()),
            license: entry.license,
            bytes: entry.bytes,
            is_inpainting: model.as_ref().is_some_and(|model| model.is_inpainting()),
            subjects: vocabulary,
            problem,
            id: entry.id,
        }
    };
    models.chain(vaes).map(view).collect()
}

/// The samplers.
#[utoipa::path(get, path = "/v1/samplers", tag = "lists", responses((status = 200, body = Value)))]
pub(crate) async fn samplers(Can(_caller): Can<READ>) -> Result<Json<Value>> {
    let view = |sampler: &calotype::sampling::SamplerInfo| {
        let mut options = Vec::new();
        match sampler.noise {
            StepNoise::Eta | StepNoise::Ancestral | StepNoise::Brownian => options.push("eta"),
            StepNoise::Churn => options.extend(["s_churn", "s_tmin", "s_tmax", "s_noise"]),
            _ => {}
        }
        let is_adaptive = sampler.has(SamplerFeature::Adaptive);
        json!({"id": sampler.id, "name": sampler.label, "options": options, "is_adaptive": is_adaptive})
    };
    Ok(Json(json!({"samplers": SAMPLERS.iter().map(view).collect::<Vec<_>>()})))
}

/// The schedules of sigmas.
#[utoipa::path(get, path = "/v1/schedulers", tag = "lists", responses((status = 200, body = Value)))]
pub(crate) async fn schedulers(Can(_caller): Can<READ>) -> Result<Json<Value>> {
    let views: Vec<Value> =
        SCHEDULES.iter().map(|schedule| json!({"id": schedule.id, "name": schedule.label})).collect();
    Ok(Json(json!({"schedulers": views})))
}

/// The ways to enlarge between two passes.
#[utoipa::path(get, path = "/v1/upscalers", tag = "lists", responses((status = 200, body = Value)))]
pub(crate) async fn upscalers(Can(_caller): Can<READ>) -> Result<Json<Value>> {
    let views: Vec<Value> =
        Upscaler::CHOICES.iter().map(|(_, id, about)| json!({"id": id, "name": about.trim()})).collect();
    Ok(Json(json!({"upscalers": views})))
}

/// LoRAs, hypernetworks and embeddings that prompts may name.
#[utoipa::path(get, path = "/v1/adapters", tag = "lists", responses((status = 200, body = Value)))]
pub(crate) async fn adapters(State(app): State<App>, Can(_caller): Can<READ>) -> Result<Json<Value>> {
    blocking(move || {
        let kinds = [
            (ListedKind::Lora, "lora"),
            (ListedKind::Hypernetwork, "hypernetwork"),
            (ListedKind::Embedding, "embedding"),
        ];
        let mut views = Vec::new();
        for (listed, kind) in kinds {
            for entry in app.engine.catalogue().all(listed) {
                let tag = match listed {
                    ListedKind::Lora => format!("<lora:{}:1>", entry.id),
                    ListedKind::Hypernetwork => format!("<hypernet:{}:1>", entry.id),
                    _ => entry.id.clone(),
                };
                views.push(json!({"kind": kind, "name": entry.id, "tag": tag, "what": entry.what}));
            }
        }
        Ok(Json(json!({"adapters": views})))
    })
    .await
}

/// Words around prompts, as the server's config has them.
#[derive(Serialize, ToSchema)]
pub(crate) struct Styles {
    /// Each with a name.
    styles: Vec<Style>,
}

/// The styles.
#[utoipa::path(get, path = "/v1/styles", tag = "lists", responses((status = 200, body = Styles)))]
pub(crate) async fn styles(State(app): State<App>, Can(_caller): Can<READ>) -> Result<Json<Styles>> {
    Ok(Json(Styles { styles: app.config.styles.clone() }))
}
