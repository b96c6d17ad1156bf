//! What PEFT keeps beside the tensors: scales, as diffusers writes them into the metadata of its files.

use calotype_formats::Checkpoint;
use serde_json::{Map, Value};

use super::Target;
use crate::{Error, Result};

/// The entry of a file's metadata, since diffusers 0.34: a `LoraConfig` for each network, its keys after `unet.` or
/// `text_encoder.`.
const METADATA: &str = "lora_adapter_metadata";

/// PEFT's `LoraConfig`, as far as it changes results.
pub(super) struct PeftConfig(Map<String, Value>);

impl PeftConfig {
    /// That of a file; empty if it has none.
    pub(super) fn of(file: &Checkpoint) -> Result<Self> {
        let Some(text) = file.metadata().get(METADATA) else { return Ok(Self(Map::new())) };
        match serde_json::from_str(text) {
            Ok(Value::Object(config)) => Ok(Self(config)),
            _ => Err(Error::Adapter {
                source_label: file.label().to_owned(),
                problem: format!("the metadata {METADATA} is not a JSON object: save the adapter again"),
            }),
        }
    }

    /// The scale of a module's product of this rank: `alpha / r`, or `alpha / √r` (Kalajdzievski 2023); 1 if it is not said.
    pub(super) fn scale(&self, target: Target, path: &str, rank: usize) -> f32 {
        let network = match target {
            Target::UNet => "unet",
            Target::TextEncoder => "text_encoder",
        };
        let get = |key: &str| self.0.get(&format!("{network}.{key}"));
        let of_pattern = get("alpha_pattern").and_then(Value::as_object).and_then(|patterns| {
            let fits = |pattern: &str| {
                let pattern = pattern.trim_start_matches('^').trim_end_matches('$');
                path == pattern || path.ends_with(&format!(".{pattern}"))
            };
            patterns.iter().find(|(pattern, _)| fits(pattern)).and_then(|(_, alpha)| alpha.as_f64())
        });
        let alpha = of_pattern.or_else(|| get("lora_alpha").and_then(Value::as_f64));
        let rank = rank as f64;
        let divisor = if get("use_rslora").and_then(Value::as_bool) == Some(true) { rank.sqrt() } else { rank };
        alpha.filter(|alpha| alpha.is_finite()).map_or(1.0, |alpha| (alpha / divisor) as f32)
    }
}
