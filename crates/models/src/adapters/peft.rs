//! What PEFT keeps beside the tensors: kinds and scales, in `adapter_config.json`, or as diffusers writes them into the
//! metadata of its files.

use std::{collections::BTreeMap, fmt};

use calotype_files::json;
use calotype_formats::Checkpoint;
use regex_lite::Regex;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::{Component, Error, Result, error::quote};

/// The entry of a file's metadata, since diffusers 0.34: a `LoraConfig` for each network, its keys after `unet.` or
/// `text_encoder.`; of a file that a network alone wrote (`save_lora_adapter`), after nothing.
const METADATA: &str = "lora_adapter_metadata";

/// PEFT's configs of the adapters of networks, as far as they change results.
#[derive(Clone, Debug, Default)]
pub(super) struct PeftConfig(BTreeMap<Component, Config>);

/// The networks that have one.
const NETWORKS: [Component; 2] = [Component::UNet, Component::TextEncoder];

/// A `LoraConfig`, `LoHaConfig` or `LoKrConfig`.
#[derive(Clone, Debug)]
struct Config {
    /// What the rank is divided into.
    alpha: Option<f64>,
    /// The rank, where shapes don't tell it.
    rank: f64,
    /// Those of some modules: the first pattern that a module's path ends with counts.
    alphas: Vec<(Regex, f64)>,
    ranks: Vec<(Regex, f64)>,
    /// Whether alpha is divided by the rank's square root (Kalajdzievski 2023).
    rslora: bool,
}

/// PEFT's default of `r`, `lora_alpha` and `alpha`.
const DEFAULT: f64 = 8.0;
/// The kinds of adapters that are read.
const KINDS: [&str; 3] = ["LORA", "LOHA", "LOKR"];

impl PeftConfig {
    /// That in a file's metadata; empty if it has none.
    pub(super) fn of(file: &Checkpoint) -> Result<Self> {
        let Some(text) = file.metadata().get(METADATA) else { return Ok(Self::default()) };
        let refuse = |problem: String| Error::Adapter { source_label: file.label().to_owned(), problem };
        let Ok(fields) = json::from_str::<Fields>(text) else {
            return Err(refuse(format!("the metadata {METADATA} is not a JSON object: save the adapter again")));
        };
        let mut configs = BTreeMap::new();
        if fields.contains_key("r") {
            let config = Config::new(&fields, None).map_err(refuse)?;
            configs.extend(NETWORKS.map(|network| (network, config.clone())));
        }
        for network in NETWORKS {
            let own = fields.iter().filter_map(|(key, field)| {
                Some((key.strip_prefix(network.id())?.strip_prefix('.')?.to_owned(), field.clone()))
            });
            let own: Fields = own.collect();
            if !own.is_empty() {
                configs.insert(network, Config::new(&own, None).map_err(refuse)?);
            }
        }
        Ok(Self(configs))
    }

    /// That of the `adapter_config.json` with this text, for the network that it stands beside; for both without one.
    ///
    /// # Errors
    /// It is no such config, or of a kind of adapter that is not read.
    pub(super) fn from_json(text: &str, label: &str, network: Option<Component>) -> Result<Self> {
        let refuse = |problem: String| Error::Adapter { source_label: label.to_owned(), problem };
        let fields: Fields = json::from_str(text).unwrap_or_default();
        let kind = match fields.get("peft_type") {
            Some(Field::Text(kind)) if KINDS.contains(&kind.as_str()) => kind,
            Some(Field::Text(kind)) => {
                let kinds = KINDS.join(", ");
                return Err(refuse(format!("peft_type is {}, which is not supported: expected {kinds}", quote(kind))));
            }
            _ => {
                return Err(refuse("no JSON object with a peft_type, so it is no config of a PEFT adapter".to_owned()));
            }
        };
        if fields.get("fan_in_fan_out") == Some(&Field::Bool(true)) {
            return Err(refuse(format!(
                "fan_in_fan_out of this {kind} is true, but no layer of Stable Diffusion is so"
            )));
        }
        let config = Config::new(&fields, Some(DEFAULT)).map_err(refuse)?;
        let networks = network.map_or(NETWORKS.to_vec(), |network| vec![network]);
        Ok(Self(networks.into_iter().map(|network| (network, config.clone())).collect()))
    }

    /// This one, and what only `other` has.
    pub(super) fn or(self, mut other: Self) -> Self {
        other.0.extend(self.0);
        other
    }

    /// The scale of a module's change of this rank: `alpha / r`, or `alpha / √r`; 1 if it is not said.
    pub(super) fn scale(&self, network: Component, path: &str, rank: Option<usize>) -> f32 {
        let Some(config) = self.0.get(&network) else { return 1.0 };
        let rank = rank.map_or_else(|| of_pattern(&config.ranks, path).unwrap_or(config.rank), |rank| rank as f64);
        let divisor = if config.rslora { rank.sqrt() } else { rank };
        config.alpha_of(path).map_or(1.0, |alpha| (alpha / divisor) as f32)
    }

    /// The alpha that a module's key has here, if one is said.
    pub(super) fn alpha(&self, network: Component, module: &str) -> Option<f32> {
        let config = self.0.get(&network)?;
        let path =
            ["base_model.model.", "unet.", "text_encoder."].iter().find_map(|prefix| module.strip_prefix(prefix));
        Some(config.alpha_of(path.unwrap_or(module))? as f32)
    }
}

impl Config {
    /// From PEFT's keys; `default` is that of `alpha`.
    ///
    /// # Errors
    /// They say that more than its factors was trained or changed, or have a pattern that is none.
    fn new(fields: &Fields, default: Option<f64>) -> Result<Self, String> {
        if let Some(more) = more_than_factors(fields) {
            return Err(format!(
                "{more}, which is not supported: merge the adapter into its model with PEFT, and convert that"
            ));
        }
        let number = |name: &str| fields.get(name).and_then(Field::number);
        let patterns = |name: &str| -> Result<Vec<(Regex, f64)>, String> {
            let Some(Field::Object(entries)) = fields.get(name) else { return Ok(Vec::new()) };
            let numbers = entries.iter().filter_map(|(pattern, value)| Some((pattern, value.number()?)));
            numbers.map(|(pattern, value)| Ok((compile(name, pattern)?, value))).collect()
        };
        Ok(Self {
            alpha: number("lora_alpha").or_else(|| number("alpha")).or(default),
            rank: number("r").filter(|&rank| rank >= 1.0).unwrap_or(DEFAULT),
            alphas: patterns("alpha_pattern")?,
            ranks: patterns("rank_pattern")?.into_iter().filter(|(_, rank)| *rank >= 1.0).collect(),
            rslora: fields.get("use_rslora") == Some(&Field::Bool(true)),
        })
    }

    fn alpha_of(&self, path: &str) -> Option<f64> {
        of_pattern(&self.alphas, path).or(self.alpha)
    }
}

/// Starting values that are taken off the base weights, so that the adapter's product is not all of the change
/// (`peft/tuners/lora/config.py`). PEFT writes another value when it has converted such an adapter.
const CHANGED_BASES: [&str; 5] = ["pissa", "olora", "corda", "loftq", "lora_ga"];

/// What a config says was trained or changed beside the factors.
fn more_than_factors(fields: &Fields) -> Option<String> {
    let is_some = |name: &str| match fields.get(name) {
        Some(Field::List(count)) => *count > 0,
        Some(Field::Object(entries)) => !entries.is_empty(),
        Some(Field::Bool(on)) => *on,
        _ => false,
    };
    match (fields.get("init_lora_weights"), fields.get("bias")) {
        (Some(Field::Text(start)), _) if CHANGED_BASES.iter().any(|base| start.to_lowercase().starts_with(base)) => {
            return Some(format!("init_lora_weights = {} changed the weights of the model itself", quote(start)));
        }
        (_, Some(Field::Text(bias))) if bias != "none" => {
            return Some(format!("bias = {} trained biases", quote(bias)));
        }
        _ => {}
    }
    let trained = [
        ("lora_bias", "trained biases of its factors"),
        ("modules_to_save", "trained whole layers"),
        ("trainable_token_indices", "trained vectors of tokens"),
        ("layer_replication", "repeated layers"),
    ];
    trained.into_iter().find(|(name, _)| is_some(name)).map(|(name, what)| format!("{name} {what}"))
}

/// A pattern as PEFT matches it (`get_pattern_key`): the whole path, or its end after a dot.
fn compile(name: &str, pattern: &str) -> Result<Regex, String> {
    const LONGEST: usize = 4096;
    let compiled = (pattern.len() <= LONGEST).then(|| Regex::new(&format!(r"^(?:.*\.)?(?:{pattern})$")).ok());
    compiled
        .flatten()
        .ok_or_else(|| format!("{name} has {}, which is no regular expression that is understood here", quote(pattern)))
}

fn of_pattern(patterns: &[(Regex, f64)], path: &str) -> Option<f64> {
    // transformers 5 leaves out the prefix, and a pattern may begin at the path's start.
    let short = path.strip_prefix("text_model.");
    let fits = |pattern: &Regex| [Some(path), short].into_iter().flatten().any(|path| pattern.is_match(path));
    patterns.iter().find(|(pattern, _)| fits(pattern)).map(|(_, value)| *value)
}

/// A value of a config. Unlike `serde_json`'s, its objects keep their order.
#[derive(Clone, Debug, PartialEq)]
enum Field {
    Number(f64),
    Bool(bool),
    Text(String),
    Object(Vec<(String, Field)>),
    /// How many elements it has.
    List(usize),
    Other,
}

type Fields = BTreeMap<String, Field>;

impl Field {
    fn number(&self) -> Option<f64> {
        if let Self::Number(number) = self { Some(*number).filter(|number| number.is_finite()) } else { None }
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Field;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Field, E> {
                Ok(Field::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Field, E> {
                Ok(Field::Number(value as f64))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Field, E> {
                Ok(Field::Number(value as f64))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Field, E> {
                Ok(Field::Number(value))
            }

            fn visit_str<E>(self, value: &str) -> Result<Field, E> {
                Ok(Field::Text(value.to_owned()))
            }

            fn visit_unit<E>(self) -> Result<Field, E> {
                Ok(Field::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Field, A::Error> {
                let mut count = 0;
                while items.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Field::List(count))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Field, A::Error> {
                let mut object = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    object.push(entry);
                }
                Ok(Field::Object(object))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
