//! The forms of edits and variations: an image, a mask, and members as texts.

use axum::{
    extract::{FromRequest, Request},
    http::{StatusCode, header},
};
use calotype_image::{Limits, decode_rgba};
use serde_json::{Map, Value, json};

use crate::{
    app::App,
    extract::{JobForm, form},
    job_body::{Parts, take},
    problem::{Problem, Result},
};

/// Members that are texts, whatever they look like.
const TEXTS: [&str; 8] =
    ["prompt", "negative_prompt", "model", "vae", "user", "safety_identifier", "sampler", "scheduler"];
/// How much of an image is made anew, where nothing is said: of a masked part all, of a whole image most, so that it is known again.
const MASKED: f64 = 1.0;
const WHOLE: f64 = 0.8;
const FAITHFUL: f64 = 0.6;
/// Alpha below this is transparent.
const OPAQUE: u8 = 128;

/// A form as it came. Its bytes are without the boundaries: clients choose new ones when they send it again.
pub(super) struct ImageForm(JobForm);

impl FromRequest<App> for ImageForm {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self> {
        let content_type = request.headers().get(header::CONTENT_TYPE).map(|value| value.as_bytes());
        if !content_type.is_some_and(|value| value.starts_with(b"multipart/form-data")) {
            let detail = "the body is no form: send multipart/form-data with the part image";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
        }
        let (mut body, mut parts, mut bytes) = (Map::new(), Parts::new(), Vec::new());
        for (name, part) in form(app, request).await? {
            bytes.extend([name.as_bytes(), &[0], &part[..], &[0]].concat());
            match name.as_str() {
                "image" | "image[]" | "image[0]" => {
                    if parts.insert("image".to_owned(), part).is_some() {
                        return Err(Problem::invalid("image", "there is more than one image: send one"));
                    }
                }
                "mask" => drop(parts.insert(name, part)),
                name if name.starts_with("image[") => {
                    return Err(Problem::invalid("image", "there is more than one image: send one"));
                }
                _ => {
                    let text = String::from_utf8(part).map_err(|_| Problem::invalid(&name, "the part is no text"))?;
                    insert(&mut body, &name, text);
                }
            }
        }
        Ok(Self(JobForm { body, parts, bytes }))
    }
}

/// A member from its text; `a[b]` is a member of a member.
fn insert(body: &mut Map<String, Value>, name: &str, text: String) {
    let nested = name.strip_suffix(']').and_then(|name| name.split_once('['));
    if let Some((outer, inner)) = nested.filter(|(_, inner)| !inner.is_empty()) {
        if let Some(object) = body.entry(outer).or_insert_with(|| json!({})).as_object_mut() {
            // What is deeper is written `b][c`.
            let deeper = inner.split_once("][").map(|(first, rest)| format!("{first}[{rest}]"));
            insert(object, deeper.as_deref().unwrap_or(inner), text);
        }
        return;
    }
    let is_text = TEXTS.contains(&name);
    let parsed = serde_json::from_str::<Value>(text.trim()).ok();
    let value = parsed.filter(|value| !is_text && (value.is_number() || value.is_boolean() || value.is_null()));
    body.insert(name.to_owned(), value.unwrap_or(Value::String(text)));
}

impl ImageForm {
    /// Makes the members of a job of what was sent to be edited.
    pub(super) fn edit(self) -> Result<JobForm> {
        let mut job = self.0;
        let image = job.parts.get("image").ok_or_else(|| missing("image"))?;
        let has_mask = job.parts.contains_key("mask");
        let mask = match job.parts.get("mask") {
            Some(mask) => Some((mask, "mask")),
            None => Some((image, "image")),
        };
        let is_masked = mask.is_some_and(|(file, _)| is_transparent_somewhere(file));
        if has_mask && !is_masked {
            let detail = "the mask has no transparent parts: make transparent what is to be made anew";
            return Err(Problem::invalid("mask", detail));
        }
        let fidelity: Option<String> = take(&mut job.body, "input_fidelity")?;
        let strength = match (take::<f64>(&mut job.body, "strength")?, is_masked, fidelity.as_deref()) {
            (Some(strength), ..) => strength,
            (None, true, _) => MASKED,
            (None, false, Some("high")) => FAITHFUL,
            (None, false, _) => WHOLE,
        };
        let mut init = json!({"picture": {"part": "image"}, "strength": strength});
        if has_mask {
            // What is transparent is made anew; by itself it is what is opaque.
            init["inpaint"] = json!({"mask": {"part": "mask"}, "invert_mask": true});
        } else if is_masked {
            init["inpaint"] = json!({});
        }
        job.body.insert("init".to_owned(), init);
        Ok(job)
    }

    /// The same of what is to be varied: the image without words.
    pub(super) fn vary(self) -> Result<JobForm> {
        let mut job = self.0;
        if !job.parts.contains_key("image") {
            return Err(missing("image"));
        }
        let strength: f64 = take(&mut job.body, "strength")?.unwrap_or(FAITHFUL);
        job.body.entry("prompt").or_insert_with(|| json!(""));
        job.body.insert("init".to_owned(), json!({"picture": {"part": "image"}, "strength": strength}));
        Ok(job)
    }
}

/// Something that has to be there is not.
pub(super) fn missing(name: &str) -> Problem {
    Problem { code: "missing_required_parameter".into(), ..Problem::invalid(name, format!("{name} is missing")) }
}

/// What is no image is found out later.
fn is_transparent_somewhere(file: &[u8]) -> bool {
    decode_rgba(file, &Limits::default()).is_ok_and(|image| image.data().chunks_exact(4).any(|pixel| pixel[3] < OPAQUE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_a_form_are_members() {
        let mut body = Map::new();
        for (name, text) in [
            ("prompt", "42"),
            ("n", "2"),
            ("stream", "true"),
            ("size", "64x64"),
            ("hires[width]", "128"),
            ("hires[upscaler]", "lanczos"),
            ("a[b][c]", "1.5"),
            ("user", "true"),
        ] {
            insert(&mut body, name, text.to_owned());
        }
        let expected = json!({
            "prompt": "42", "n": 2, "stream": true, "size": "64x64", "hires": {"width": 128, "upscaler": "lanczos"},
            "a": {"b": {"c": 1.5}}, "user": "true"
        });
        assert_eq!(Value::Object(body), expected);
    }
}
