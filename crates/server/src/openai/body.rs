//! From a body of OpenAI's image API to the body of a job: its own members are taken out, and every other is one of a job.

use calotype::checkpoint::ListedKind;
use calotype_engine::Format;
use serde_json::{Map, Value, json};

use crate::{
    app::App,
    job_body::take,
    problem::{Problem, Result},
};

/// The most images of a request there.
const MAX_IMAGES: u64 = 10;
/// The most partial images of a stream.
const MAX_PARTIAL: usize = 3;
/// Steps of qualities; of others as many as by default.
const STEPS: [(&str, u64); 5] = [("low", 20), ("high", 75), ("hd", 75), ("xhigh", 100), ("max", 100)];
const QUALITIES: [&str; 3] = ["auto", "medium", "standard"];
/// What nothing here makes: animations and drawings.
const NOT_HERE: [&str; 4] = ["complexity", "frame_count", "frame_duration_ms", "svg"];

/// How an answer is to be.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Links in place of the images themselves.
    pub(super) as_urls: bool,
    pub(super) format: Format,
    /// How like the image a JPEG is.
    pub(super) jpeg_quality: u8,
    /// OpenAI's word.
    pub(super) quality: String,
    /// A stream of events with so many partial images.
    pub(super) stream: Option<usize>,
    /// What is not done as it was asked for.
    pub(super) warnings: Vec<String>,
}

impl Wanted {
    /// Takes OpenAI's members out of a body, which then is one of a job.
    pub(super) fn take(app: &App, body: &mut Map<String, Value>) -> Result<Self> {
        body.retain(|_, value| !value.is_null());
        if let Some(name) = NOT_HERE.into_iter().find(|name| body.contains_key(*name)) {
            return Err(unsupported(name, format!("{name}: images are still and of pixels here: leave it out")));
        }
        let mut warnings = Vec::new();
        model(app, body)?;
        size(body)?;
        let n: u64 = take(body, "n")?.unwrap_or(1);
        if !(1..=MAX_IMAGES).contains(&n) {
            return Err(Problem::invalid("n", format!("n is out of range: give 1 to {MAX_IMAGES}")));
        }
        body.insert("n".to_owned(), json!(n));
        let quality = quality(body)?;
        let (format, jpeg_quality) = format(body)?;
        match word(body, "background")?.as_deref() {
            None | Some("auto" | "opaque") => {}
            Some("transparent") => return Err(unsupported("background", "background: images are opaque here")),
            Some(other) => return Err(unknown("background", other, "auto or opaque")),
        }
        let as_urls = match word(body, "response_format")?.as_deref() {
            None | Some("b64_json") => false,
            Some("url") => true,
            Some(other) => return Err(unknown("response_format", other, "b64_json or url")),
        };
        // The policy is the server's, and the prompt says what the style is.
        if word(body, "moderation")?.is_some_and(|moderation| moderation != "auto") {
            warnings.push("moderation: this server's policy is not the client's to choose".to_owned());
        }
        if word(body, "style")?.is_some() {
            warnings.push("style: it is the prompt that says it here".to_owned());
        }
        for name in ["user", "safety_identifier"] {
            word(body, name)?;
        }
        let is_stream: bool = take(body, "stream")?.unwrap_or(false);
        let partial: usize = take(body, "partial_images")?.unwrap_or(0);
        if partial > MAX_PARTIAL {
            let detail = format!("partial_images is out of range: give 0 to {MAX_PARTIAL}");
            return Err(Problem::invalid("partial_images", detail));
        }
        if is_stream && n > 1 {
            return Err(Problem::invalid("n", "n: a stream is of one image"));
        }
        let stream = is_stream.then_some(partial);
        Ok(Self { as_urls, format, jpeg_quality, quality, stream, warnings })
    }
}

fn word(body: &mut Map<String, Value>, name: &str) -> Result<Option<String>> {
    take(body, name)
}

fn unsupported(param: &str, detail: impl Into<String>) -> Problem {
    Problem { code: "unsupported_parameter".into(), ..Problem::invalid(param, detail) }
}

fn unknown(param: &str, value: &str, known: &str) -> Problem {
    let value: String = value.chars().take(50).collect();
    Problem { code: "invalid_value".into(), ..Problem::invalid(param, format!("{param} {value:?} is not {known}")) }
}

/// A model of this server; another name is met by the default one only if the config says so.
fn model(app: &App, body: &mut Map<String, Value>) -> Result<()> {
    let Some(name) = word(body, "model")?.filter(|name| !name.is_empty()) else { return Ok(()) };
    if let Ok(entry) = app.engine.catalogue().find(ListedKind::Model, &name) {
        body.insert("model".to_owned(), json!(entry.id));
        return Ok(());
    }
    if app.config.openai_any_model { Ok(()) } else { Err(no_model(&name)) }
}

/// There is no model of this name.
pub(super) fn no_model(name: &str) -> Problem {
    let name: String = name.chars().take(100).collect();
    let detail = format!("The model `{name}` does not exist: GET /v1/models has those that do");
    Problem::new(axum::http::StatusCode::NOT_FOUND, "model_not_found", detail).param("model")
}

/// `1024x1024`, or `auto` for the model's own.
fn size(body: &mut Map<String, Value>) -> Result<()> {
    let Some(size) = word(body, "size")?.filter(|size| size != "auto" && !size.is_empty()) else { return Ok(()) };
    let side = |text: &str| text.trim().parse::<u32>().ok();
    let sides = size.split_once(['x', 'X', '×']).and_then(|(width, height)| Some((side(width)?, side(height)?)));
    let (width, height) = sides.ok_or_else(|| unknown("size", &size, "auto or WIDTHxHEIGHT"))?;
    body.insert("width".to_owned(), json!(width));
    body.insert("height".to_owned(), json!(height));
    Ok(())
}

fn quality(body: &mut Map<String, Value>) -> Result<String> {
    let quality = word(body, "quality")?.unwrap_or_else(|| "auto".to_owned());
    let steps = STEPS.into_iter().find(|(name, _)| *name == quality);
    if steps.is_none() && !QUALITIES.contains(&quality.as_str()) {
        return Err(unknown("quality", &quality, "auto, low, medium, high, xhigh or max"));
    }
    let are_said = ["steps", "num_inference_steps"].iter().any(|name| body.contains_key(*name));
    if let Some((_, steps)) = steps.filter(|_| !are_said) {
        body.insert("num_inference_steps".to_owned(), json!(steps));
    }
    Ok(quality)
}

fn format(body: &mut Map<String, Value>) -> Result<(Format, u8)> {
    let format = match word(body, "output_format")?.as_deref() {
        None | Some("png") => Format::Png,
        Some("jpeg" | "jpg") => Format::Jpeg,
        Some("webp") => Format::Webp,
        Some(other) => return Err(unknown("output_format", other, "png, jpeg or webp")),
    };
    let compression: u64 = take(body, "output_compression")?.unwrap_or(100);
    if compression > 100 {
        return Err(Problem::invalid("output_compression", "output_compression is out of range: give 0 to 100"));
    }
    let quality = u8::try_from(compression.max(1)).unwrap_or(100);
    body.insert("output_format".to_owned(), json!(format));
    body.insert("quality".to_owned(), json!(quality));
    Ok((format, quality))
}
