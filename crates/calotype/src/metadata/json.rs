//! Metadata as JSON, with its members in the order that the first version wrote them in, so that images that it made are
//! made again byte for byte.

use std::fmt;

use calotype_checkpoint::brief;
use serde::{
    Deserialize, Serialize, Serializer,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::Metadata;
use crate::{Error, Result};

impl Metadata {
    /// The JSON block.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Numbers, texts and lists of them can't fail to be written, nor to be read again.
        let text = serde_json::to_string(self).unwrap_or_default();
        let Ok(Members(mut members)) = serde_json::from_str(&text) else { return text };
        members.sort_by_key(|(key, _)| group(key));
        serde_json::to_string(&Members(members)).unwrap_or(text)
    }

    /// Reads the JSON block. Members that a later version added are passed over.
    ///
    /// # Errors
    /// It is not of this form.
    pub fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| Error::Json {
            what: "the picture's metadata are damaged",
            field: ".".to_owned(),
            problem: brief(&error.to_string()),
        })
    }
}

/// Which group of members one is written with; within a group they are in the order of the structs.
fn group(key: &str) -> usize {
    match key {
        "version" | "prompt" | "negative_prompt" => 0,
        "adapters" => 1,
        "width" | "height" => 3,
        "model" | "model_hash" | "noise_schedule" | "precision" | "vae_precision" => 4,
        "latents" | "init" | "hires" | "tiling" | "tiles" => 5,
        "digital_source_type" | "postprocessing" | "watermark" => 6,
        _ => 2,
    }
}

/// The members of a JSON object, their values as they are written.
struct Members<'a>(Vec<(&'a str, &'a RawValue)>);

impl<'a> Deserialize<'a> for Members<'a> {
    fn deserialize<D: Deserializer<'a>>(from: D) -> std::result::Result<Self, D::Error> {
        struct Object;
        impl<'a> Visitor<'a> for Object {
            type Value = Members<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Object)
    }
}

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().copied())
    }
}

/// A number type by its id.
pub(super) mod precision {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::Precision;

    pub(crate) fn serialize<S: Serializer>(precision: &Option<Precision>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(precision.map_or("", Precision::id))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Precision>, D::Error> {
        let id = String::deserialize(from)?;
        let found = Precision::ALL.into_iter().find(|precision| precision.id() == id);
        match found {
            None if !id.is_empty() => Err(D::Error::custom(format!("the precision {id:?} is unknown"))),
            found => Ok(found),
        }
    }
}
