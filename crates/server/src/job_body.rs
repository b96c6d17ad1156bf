//! From the body of a request to an order: names of other programs, images in all the ways that they come.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use calotype::Request;
use calotype_engine::{Asked, Engine, Order, OutputFormat, random_seed};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::{
    auth::Caller,
    problem::{Problem, Result},
};

/// A job, as it is sent: the members of a request by diffusers' names, and a few of the job's own. What is left out is as by default.
///
/// Only the members that most people use are listed; every other member of the library's `Request` is taken too.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct JobBody {
    /// What is to be seen.
    #[schema(example = "a fox")]
    prompt: String,
    /// What is not to be seen.
    negative_prompt: Option<String>,
    /// The id of a model (`GET /v1/models`).
    model: Option<String>,
    /// The id of another autoencoder.
    vae: Option<String>,
    /// Images.
    #[schema(minimum = 1, maximum = 1024)]
    n: Option<u32>,
    /// The seed of the first image; a random one if none is given, or −1.
    #[schema(minimum = -1, maximum = 9007199254740991_i64)]
    seed: Option<i64>,
    /// Width in pixels.
    width: Option<u32>,
    /// Height in pixels.
    height: Option<u32>,
    /// Steps of the sampler; `steps` is the same.
    num_inference_steps: Option<u32>,
    /// How strongly the prompt pulls; `cfg_scale` is the same.
    guidance_scale: Option<f32>,
    /// The id of a sampler (`GET /v1/samplers`); `sampler_name` is the same.
    sampler: Option<String>,
    /// The id of a schedule of sigmas (`GET /v1/schedulers`); `scheduler` is the same.
    schedule: Option<String>,
    /// `plain` or `a1111`: how weights and the like in prompts are read.
    prompt_style: Option<String>,
    /// An image to start from, with `picture`, `strength`, `inpaint` and `outpaint`. A picture is `{"blob": SHA-256}`, `{"data": base64}`,
    /// `{"result": "JOB/N"}`, or `{"part": NAME}` in a multipart body.
    init: Option<Value>,
    /// A second, larger pass.
    hires: Option<Value>,
    /// `png`, `jpeg` or `webp`.
    output_format: Option<String>,
    /// How like the image a JPEG is, 1 to 100.
    #[schema(minimum = 1, maximum = 100)]
    quality: Option<u8>,
    /// Of one's own jobs those with more come first.
    #[schema(minimum = -1000, maximum = 1000)]
    priority: Option<i32>,
    /// Seconds after which nobody wants it any more.
    expires_in_s: Option<u64>,
    /// An address that is told when the job is over or held, on a host that the server's config allows (Standard Webhooks).
    webhook: Option<String>,
}

/// What was made of a body.
pub(crate) struct ParsedJob {
    pub(crate) order: Order,
    pub(crate) priority: i32,
    pub(crate) expires_in_s: Option<u64>,
}

/// The parts of a multipart body that are files.
pub(crate) type Parts = HashMap<String, Vec<u8>>;

/// The names that other programs have for members, beside ours.
const ALIASES: [(&str, &str); 7] = [
    ("steps", "num_inference_steps"),
    ("cfg_scale", "guidance_scale"),
    ("sampler_name", "sampler"),
    ("scheduler", "schedule"),
    ("n", "batch_size"),
    ("num_images_per_prompt", "batch_size"),
    ("num_images", "batch_size"),
];

/// Reads a body. Images in it are kept as input images of the engine.
pub(crate) fn parse(
    engine: &Engine,
    caller: &Caller,
    mut body: Map<String, Value>,
    parts: &Parts,
    asked: Asked,
) -> Result<ParsedJob> {
    // Null is as if it were left out.
    body.retain(|_, value| !value.is_null());
    for (alias, name) in ALIASES {
        let Some(value) = body.remove(alias) else { continue };
        if body.insert(name.to_owned(), value).is_some() {
            return Err(Problem::invalid(alias, format!("{alias} and {name} are the same: send one of them")));
        }
    }
    if !body.contains_key("prompt") {
        return Err(Problem::invalid("prompt", "prompt is missing"));
    }
    let model: Option<String> = take(&mut body, "model")?;
    let model = model.unwrap_or_else(|| engine.catalogue().default_model());
    let vae = take(&mut body, "vae")?;
    let output = OutputFormat {
        format: take(&mut body, "output_format")?.unwrap_or_default(),
        quality: take(&mut body, "quality")?.unwrap_or(OutputFormat::default().quality),
    };
    if !(1..=100).contains(&output.quality) {
        return Err(Problem::invalid("quality", "quality is out of range: give 1 to 100"));
    }
    let priority: i32 = take(&mut body, "priority")?.unwrap_or(0);
    if !(-1000..=1000).contains(&priority) {
        return Err(Problem::invalid("priority", "priority is out of range: give -1000 to 1000"));
    }
    let expires_in_s = take(&mut body, "expires_in_s")?;
    if let Some(seed) = body.get("seed").and_then(Value::as_i64).filter(|&seed| seed < 0) {
        if seed != -1 {
            return Err(Problem::invalid("seed", "seed is out of range: give 0 or more, or -1 for a random one"));
        }
        body.remove("seed");
    }
    if !body.contains_key("seed") {
        body.insert("seed".to_owned(), json!(random_seed()?));
    }
    if let Some(init) = body.get_mut("init") {
        pictures(engine, caller, init, parts)?;
    }
    let webhook = take(&mut body, "webhook")?;
    let request = request(&Value::Object(body))?;
    Ok(ParsedJob { order: Order { request, model, vae, output, asked, webhook }, priority, expires_in_s })
}

/// A request of the library from its JSON.
pub(crate) fn request(json: &Value) -> Result<Request> {
    Request::from_json(&json.to_string()).map_err(|error| {
        let field = match &error {
            calotype::Error::Json { field, .. } => field.clone(),
            _ => String::new(),
        };
        // Where in our own text it stands says nothing to who sent another.
        let detail = error.to_string();
        let detail = detail.split(" at line ").next().unwrap_or_default().to_owned();
        Problem::invalid(&field, detail)
    })
}

/// A member that is the job's own.
pub(crate) fn take<T: serde::de::DeserializeOwned>(body: &mut Map<String, Value>, name: &str) -> Result<Option<T>> {
    let Some(value) = body.remove(name) else { return Ok(None) };
    serde_json::from_value(value).map(Some).map_err(|error| Problem::invalid(name, format!("{name}: {error}")))
}

/// Puts references to input images in the place of all images of an `init`.
fn pictures(engine: &Engine, caller: &Caller, init: &mut Value, parts: &Parts) -> Result<()> {
    let Some(init) = init.as_object_mut() else { return Err(Problem::invalid("init", "init is no object")) };
    if let Some(picture) = init.get_mut("picture") {
        *picture = reference(engine, caller, picture, parts, "init.picture")?;
    }
    let mask = init.get_mut("inpaint").and_then(Value::as_object_mut).and_then(|inpaint| inpaint.get_mut("mask"));
    if let Some(mask) = mask.filter(|mask| !mask.is_null()) {
        *mask = reference(engine, caller, mask, parts, "init.inpaint.mask")?;
    }
    Ok(())
}

/// One of the ways in which an image comes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
enum Picture {
    Blob(String),
    Data(String),
    Result(String),
    Part(String),
}

fn reference(engine: &Engine, caller: &Caller, picture: &Value, parts: &Parts, param: &str) -> Result<Value> {
    let picture: Picture = serde_json::from_value(picture.clone()).map_err(|_| {
        let detail = "an image is {\"blob\": SHA-256}, {\"data\": base64}, {\"result\": \"JOB/N\"} or {\"part\": NAME}";
        Problem::invalid(param, detail)
    })?;
    let sha256 = match picture {
        Picture::Blob(sha256) => {
            engine.input(&sha256).map_err(|error| Problem::from(error).param(param))?;
            sha256
        }
        Picture::Data(data) => put(engine, &decode_base64(&data, param)?, param)?,
        Picture::Part(name) => {
            let bytes = parts.get(&name).ok_or_else(|| Problem::invalid(param, "there is no part of that name"))?;
            put(engine, bytes, param)?
        }
        Picture::Result(name) => put(engine, &result(engine, caller, &name, param)?, param)?,
    };
    Ok(json!({"sha256": sha256}))
}

/// Keeps an image.
pub(crate) fn put(engine: &Engine, bytes: &[u8], param: &str) -> Result<String> {
    Ok(engine.put_input(bytes).map_err(|error| not_an_image(error).param(param))?.sha256)
}

/// What is wrong with an image is the sender's business.
pub(crate) fn not_an_image(error: calotype_engine::Error) -> Problem {
    match error {
        calotype_engine::Error::Calotype(error) => Problem::invalid("image", error.to_string()),
        other => other.into(),
    }
}

/// The bytes of base64, also of a data URL.
pub(crate) fn decode_base64(text: &str, param: &str) -> Result<Vec<u8>> {
    let wrong = || Problem::invalid(param, "the image is not valid base64");
    let data = match text.strip_prefix("data:") {
        Some(url) => url.split_once(";base64,").ok_or_else(wrong)?.1,
        None if text.starts_with("http://") || text.starts_with("https://") => {
            return Err(Problem::invalid(param, "images are not fetched from addresses: send the image itself"));
        }
        None => text,
    };
    STANDARD.decode(data.trim()).map_err(|_| wrong())
}

/// A result of a job of the caller: `JOB/N`.
fn result(engine: &Engine, caller: &Caller, name: &str, param: &str) -> Result<Vec<u8>> {
    let none = || Problem::not_found("result").param(param);
    let (id, number) = name.split_once('/').ok_or_else(none)?;
    let (id, number) = (id.parse().map_err(|()| none())?, number.parse().map_err(|_| none())?);
    let job = engine.job(id)?.filter(|job| caller.may_see(&job.owner)).ok_or_else(none)?;
    Ok(engine.result(&job, number)?.1)
}
