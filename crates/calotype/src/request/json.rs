//! Requests as JSON.

use calotype_checkpoint::brief;

use super::Request;
use crate::{Error, Result};

impl Request {
    /// Reads a request, such as `{"prompt": "a cat", "num_inference_steps": 20}`; what is left out is as by default. Images
    /// are references to files, which are not read yet: see [`Request::open_images`].
    ///
    /// # Errors
    /// The text is not of this form, or has a field that requests don't have; the message names the field.
    pub fn from_json(text: &str) -> Result<Self> {
        let refused = |field: String, problem: &str| Error::Json {
            what: "the request can't be read",
            field: brief(&field),
            problem: brief(problem),
        };
        let mut unknown = None;
        let mut json = serde_json::Deserializer::from_str(text);
        let mut track = serde_path_to_error::Track::new();
        let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
        let read = serde_ignored::deserialize(tracked, |path| {
            // An optional member is a step of its own there.
            unknown.get_or_insert(path.to_string().replace(".?", ""));
        });
        let request = read.map_err(|error| refused(track.path().to_string(), &error.to_string()))?;
        json.end().map_err(|error| refused(".".to_owned(), &error.to_string()))?;
        match unknown {
            Some(field) => Err(refused(field, "requests have no such field")),
            None => Ok(request),
        }
    }

    /// The request as [`Request::from_json`] reads it, with references to the files of its images.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Numbers, texts and lists of them can't fail to be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Whether a setting is left out because it is as by default.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// [`is_default`] where the default is 1.
pub(crate) fn is_one<T: From<u8> + PartialEq>(value: &T) -> bool {
    *value == T::from(1)
}

/// Starting noise: its shape, `[B, C, h, w]`, and its numbers in that order.
pub(super) mod latents {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use crate::Latents;

    #[derive(Serialize, Deserialize)]
    struct Numbers {
        shape: [usize; 4],
        data: Vec<f32>,
    }

    pub(crate) fn serialize<S: Serializer>(latents: &Option<Arc<Latents>>, to: S) -> Result<S::Ok, S::Error> {
        latents.as_ref().map(|latents| Numbers { shape: latents.shape_nchw(), data: latents.to_nchw() }).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Arc<Latents>>, D::Error> {
        let Some(Numbers { shape, data }) = Option::<Numbers>::deserialize(from)? else { return Ok(None) };
        Latents::from_nchw(shape, &data).map(|latents| Some(Arc::new(latents))).map_err(D::Error::custom)
    }
}
