//! What an image's file says of the mark in its pixels.

use serde::{Deserialize, Serialize};

use crate::request::json::is_default;

/// An invisible mark in an image's pixels. This crate writes none: who marks an image before its file is made says so here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WatermarkMetadata {
    /// The scheme: `tiled`, `dwtDct` or `dwtDctSvd`.
    pub scheme: String,
    /// The id of a tiled mark, 16 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// How far above the weakest its strength had to be.
    #[serde(skip_serializing_if = "is_default")]
    pub strength: usize,
}
