//! Images enlarged without a network, and what files say of how they were made.

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use calotype::{RgbImage, metadata, request::Upscaler};
use calotype_engine::Limits;
use calotype_image::{FileFormat, Fit, Limits as ImageLimits, PictureTexts, decode_rgba, encode, fit};
use serde_json::{Map, Value, json};

use super::{
    fields::{Fields, Warnings},
    hires::{unknown_upscaler, upscaler},
};
use crate::{
    app::App,
    auth::{Can, GENERATE, READ},
    extract::JsonBody,
    hub::blocking,
    job_body::decode_base64,
    problem::{Problem, Result, warn_header},
};

/// Images of a batch.
const MAX_IMAGES: usize = 16;

/// An image, enlarged.
#[utoipa::path(post, path = "/sdapi/v1/extra-single-image", tag = "a1111", request_body = Value, responses((status = 200, description = "`html_info` and `image`", body = Value), (status = 422, description = "It can't be done as it was asked for", body = Value)))]
pub(super) async fn single(
    State(app): State<App>,
    Can(caller): Can<GENERATE>,
    JsonBody(body): JsonBody<Map<String, Value>>,
) -> Result<Response> {
    app.limiter.check_request(&caller.key)?;
    blocking(move || {
        let (fields, warnings) = (Fields::new(&body), Warnings::default());
        let enlarging = Enlarging::new(&fields, *app.engine.limits(), &warnings)?;
        let image = enlarging.image(&fields.text("image")?.unwrap_or_default(), "image")?;
        Ok(answer(json!({"html_info": "", "image": image}), warnings))
    })
    .await
}

/// Several images, enlarged.
#[utoipa::path(post, path = "/sdapi/v1/extra-batch-images", tag = "a1111", request_body = Value, responses((status = 200, description = "`html_info` and `images`", body = Value), (status = 422, description = "It can't be done as it was asked for", body = Value)))]
pub(super) async fn batch(
    State(app): State<App>,
    Can(caller): Can<GENERATE>,
    JsonBody(body): JsonBody<Map<String, Value>>,
) -> Result<Response> {
    app.limiter.check_request(&caller.key)?;
    blocking(move || {
        let (fields, warnings) = (Fields::new(&body), Warnings::default());
        let enlarging = Enlarging::new(&fields, *app.engine.limits(), &warnings)?;
        let list = fields.get("imageList").and_then(Value::as_array).cloned().unwrap_or_default();
        if list.len() > MAX_IMAGES {
            return Err(Problem::invalid("imageList", format!("there are more than {MAX_IMAGES} images: send fewer")));
        }
        let image = |item: &Value| enlarging.image(item["data"].as_str().unwrap_or_default(), "imageList");
        let images: Vec<String> = list.iter().map(image).collect::<Result<_>>()?;
        Ok(answer(json!({"html_info": "", "images": images}), warnings))
    })
    .await
}

fn answer(body: Value, warnings: Warnings) -> Response {
    let mut headers = HeaderMap::new();
    warnings.take().iter().for_each(|warning| warn_header(&mut headers, warning));
    (headers, Json(body)).into_response()
}

/// How images are enlarged.
struct Enlarging {
    first: Option<Upscaler>,
    /// Another, and how much of it is mixed in.
    second: Option<(Upscaler, f64)>,
    to: To,
    limits: Limits,
}

enum To {
    Factor(f64),
    Size { width: u32, height: u32, is_cropped: bool },
}

impl Enlarging {
    fn new(fields: &Fields<'_>, limits: Limits, warnings: &Warnings) -> Result<Self> {
        for name in ["gfpgan_visibility", "codeformer_visibility"] {
            if fields.float(name)?.is_some_and(|visibility| visibility > 0.0) {
                warnings.add(format!("{name}: there is no face restoration here"));
            }
        }
        let named = |name: &str| match fields.word(name)?.filter(|label| !label.eq_ignore_ascii_case("none")) {
            None => Ok(None),
            Some(label) => {
                let of_pixels = upscaler(&label).filter(|of| matches!(of, Upscaler::Lanczos | Upscaler::Nearest));
                of_pixels.map(Some).ok_or_else(|| unknown_upscaler(name, &label))
            }
        };
        let visibility = fields.float("extras_upscaler_2_visibility")?.unwrap_or(0.0).clamp(0.0, 1.0);
        let second = named("upscaler_2")?.map(|upscaler| (upscaler, visibility)).filter(|_| visibility > 0.0);
        let side = |name: &str| Ok::<_, Problem>(u32::try_from(fields.count(name)?.unwrap_or(512)).unwrap_or(u32::MAX));
        let to = match fields.int("resize_mode")?.unwrap_or(0) {
            0 => {
                let factor = fields.float("upscaling_resize")?.unwrap_or(2.0);
                if !(1.0..=16.0).contains(&factor) {
                    let detail = format!("upscaling_resize {factor} is out of range: give 1 to 16");
                    return Err(Problem::invalid("upscaling_resize", detail));
                }
                To::Factor(factor)
            }
            1 => {
                let is_cropped = fields.get("upscaling_crop").is_none() || fields.flag("upscaling_crop")?;
                To::Size { width: side("upscaling_resize_w")?, height: side("upscaling_resize_h")?, is_cropped }
            }
            other => return Err(Problem::invalid("resize_mode", format!("resize_mode {other} is neither 0 nor 1"))),
        };
        Ok(Self { first: named("upscaler_1")?, second, to, limits })
    }

    /// An image in base64, enlarged; what its file says is kept.
    fn image(&self, data: &str, param: &str) -> Result<String> {
        let bytes = decode_base64(data, param)?;
        let invalid = |error: calotype_image::Error| Problem::invalid(param, format!("Invalid encoded image: {error}"));
        let image = decode_rgba(&bytes, &ImageLimits::default()).map_err(invalid)?.over([255; 3]);
        let texts = PictureTexts::read(&bytes).map(|texts| texts.texts).unwrap_or_default();
        let texts: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let large = self.enlarge(&image)?;
        // A keyword of another format may be none of PNG's.
        let file = encode(&large, FileFormat::Png, 100, &texts).or_else(|_| encode(&large, FileFormat::Png, 100, &[]));
        Ok(STANDARD.encode(file.map_err(|error| Problem::invalid(param, error.to_string()))?))
    }

    fn enlarge(&self, image: &RgbImage) -> Result<RgbImage> {
        let Some(first) = self.first else { return Ok(image.clone()) };
        let (wide, high) = (image.width().max(1), image.height().max(1));
        let factor = match self.to {
            To::Factor(factor) => factor,
            // What is larger is cut off, or the smaller side decides.
            To::Size { width, height, is_cropped } => {
                let by = [f64::from(width) / f64::from(wide), f64::from(height) / f64::from(high)];
                if is_cropped { by[0].max(by[1]) } else { by[0].min(by[1]) }
            }
        };
        let [width, height] = [wide, high].map(|side| (f64::from(side) * factor).round().max(1.0));
        let (most, pixels) = (self.limits.max_side as f64, self.limits.max_pixels as f64);
        if width > most || height > most || width * height > pixels {
            let detail = format!("{width} x {height} pixels are more than are allowed here: ask for a smaller image");
            return Err(Problem::invalid("upscaling_resize", detail));
        }
        let (width, height) = (width as u32, height as u32);
        let failed = |error: calotype::Error| Problem::from(error);
        let mut large = first.enlarge(image, width, height).map_err(failed)?;
        if let Some((second, share)) = self.second {
            let other = second.enlarge(image, width, height).map_err(failed)?;
            for (value, &other) in large.data_mut().iter_mut().zip(other.data()) {
                *value = (f64::from(*value) * (1.0 - share) + f64::from(other) * share).round() as u8;
            }
        }
        match self.to {
            To::Size { width, height, is_cropped: true } if [width, height] != [large.width(), large.height()] => {
                let cropped = fit(&large, width, height, Fit::Crop);
                cropped.map_err(|error| Problem::invalid("upscaling_resize_w", error.to_string()))
            }
            _ => Ok(large),
        }
    }
}

/// What a file says of how its image was made: by A1111, this program, and others that are read.
#[utoipa::path(post, path = "/sdapi/v1/png-info", tag = "a1111", request_body = Value, responses((status = 200, description = "`info`, `items` and `parameters`", body = Value), (status = 422, description = "It is no image", body = Value)))]
pub(super) async fn png_info(
    State(app): State<App>,
    Can(caller): Can<READ>,
    JsonBody(body): JsonBody<Map<String, Value>>,
) -> Result<Json<Value>> {
    app.limiter.check_request(&caller.key)?;
    blocking(move || {
        let nothing = json!({"info": "", "items": {}, "parameters": {}});
        let Some(data) = Fields::new(&body).word("image")? else { return Ok(Json(nothing)) };
        let bytes = decode_base64(&data, "image")?;
        let texts = PictureTexts::read(&bytes)
            .map_err(|error| Problem::invalid("image", format!("Invalid encoded image: {error}")))?;
        let own = [metadata::PARAMETERS_KEYWORD, "UserComment"];
        let parameters = own.into_iter().find_map(|keyword| texts.get(keyword));
        let items: Map<String, Value> = texts
            .texts
            .iter()
            .filter(|(name, _)| !own.contains(&name.as_str()))
            .map(|(name, text)| (name.clone(), json!(text)))
            .collect();
        let Ok(reading) = metadata::read(&bytes) else {
            return Ok(Json(json!({"info": parameters.unwrap_or_default(), "items": items, "parameters": {}})));
        };
        let said = &reading.metadata;
        let info = parameters.map_or_else(|| said.parameters(), str::to_owned);
        let mut settings = Map::from_iter([
            ("Prompt".to_owned(), json!(said.request.prompt)),
            ("Negative prompt".to_owned(), json!(said.request.negative_prompt)),
        ]);
        settings.extend(said.settings().into_iter().map(|(name, value)| (name.to_owned(), json!(value))));
        settings.extend(reading.unread.iter().map(|(name, value)| (name.clone(), json!(value))));
        if let (Some(width), Some(height)) = (said.request.width, said.request.height) {
            settings.insert("Size-1".to_owned(), json!(width.to_string()));
            settings.insert("Size-2".to_owned(), json!(height.to_string()));
        }
        Ok(Json(json!({"info": info, "items": items, "parameters": settings})))
    })
    .await
}
