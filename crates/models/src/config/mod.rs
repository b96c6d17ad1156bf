//! The configs of diffusers and transformers (`config.json`), checked before anything is made of them.

mod compvis;
mod infer;
mod text;
mod unet;
mod vae;

use std::ops::RangeInclusive;

use calotype_files::json;
use calotype_formats::Checkpoint;
use calotype_tensor::Backend;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

pub use compvis::CompVisConfig;
pub use text::{HiddenAct, TextConfig};
pub use unet::{DownBlockType, MidBlockType, UNetConfig, UpBlockType};
pub use vae::{TinyBlocks, VaeConfig};

use crate::{
    Component, Error, Layout, ParamSource, ParamSpec, Result, Scope, Stored,
    params::{list, with_backend},
};

/// Widths that no Stable Diffusion comes near; they keep every product of sizes far from overflow.
pub(crate) const CHANNELS: RangeInclusive<usize> = 1..=1 << 16;
/// Likewise for layers of a block; they keep the list of parameters short enough to make before a file is known to be good.
pub(crate) const LAYERS: RangeInclusive<usize> = 1..=32;
/// Resolutions of one network: each halves the picture.
pub(crate) const LEVELS: RangeInclusive<usize> = 1..=8;

/// A config, and the network it makes.
pub trait ModelConfig: Serialize + DeserializeOwned {
    /// The network, its parameters of form `P`.
    type Model<P>;

    /// Which network it is.
    const COMPONENT: Component;

    /// The keys of `config.json` that may have only some of their values here, and those values, of a config as it is meant. A list
    /// is as its elements.
    fn only_supported(config: &Value) -> Vec<(&'static str, Vec<Value>)>;

    /// The keys of `config.json` as they are meant, where their form or meaning changed over the years.
    fn as_meant(config: Value) -> Value {
        config
    }

    /// Checks that a network can be made of it.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key, its value, and what was expected.
    fn validate(&self) -> Result<()>;

    /// Makes the network at `scope`.
    ///
    /// # Errors
    /// A parameter can't be had. Call [`validate`](Self::validate) first; the other methods do.
    fn build<P>(&self, scope: &mut Scope<'_, P>) -> Result<Self::Model<P>>;

    /// Reads and checks a `config.json`. Unknown keys are ignored, missing ones have the reference's defaults.
    ///
    /// # Errors
    /// [`Error::Config`] when it is not JSON, asks for what is not supported, or makes no network.
    fn from_json(text: &str) -> Result<Self> {
        let invalid = |problem: String| Error::Config { model: Self::COMPONENT.name(), problem };
        let value: Value = json::from_str(text).map_err(|e| invalid(format!("not valid JSON: {e}")))?;
        if !value.is_object() {
            return Err(invalid(format!(
                "{} was given, expected an object of keys and values",
                brief(&value.to_string())
            )));
        }
        let value = Self::as_meant(value);
        for (key, supported) in Self::only_supported(&value) {
            if let Some(got) = value.get(key).filter(|got| !is_one_of(got, &supported)) {
                let supported: Vec<String> = supported.iter().map(Value::to_string).collect();
                let expected = supported.join(" or ");
                return Err(invalid(format!(
                    "{key} = {} is not supported, only {expected} is",
                    brief(&got.to_string())
                )));
            }
        }
        let config: Self = serde_json::from_value(value).map_err(|e| invalid(brief(&e.to_string())))?;
        config.validate()?;
        Ok(config)
    }

    /// The config of the network that `file` has in this layout: sizes from the shapes of its tensors, what they leave
    /// open from a CompVis config, and what that leaves open as the family has it.
    ///
    /// # Errors
    /// A tensor that tells a size is not there, `compvis` describes another model, or no network can be made of the sizes.
    fn infer(file: &Checkpoint, layout: &Layout, compvis: &CompVisConfig) -> Result<Self>;

    /// The `config.json` that diffusers or transformers read.
    fn to_json(&self) -> String {
        // Structs of numbers, strings and lists can't fail to serialise.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Every parameter of the network, in the order it is made. Reads and computes nothing.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    fn specs(&self) -> Result<Vec<ParamSpec>> {
        self.validate()?;
        list(|scope| self.build(scope))
    }

    /// Makes the network on `backend` with parameters from `source`.
    ///
    /// # Errors
    /// The config is invalid, or a parameter can't be had.
    fn init<B: Backend>(&self, backend: &B, source: &mut dyn ParamSource) -> Result<Self::Model<B::Param>> {
        self.validate()?;
        with_backend(backend, source, |scope| self.build(scope))
    }

    /// Makes the network on `backend` with the weights of a diffusers folder.
    ///
    /// # Errors
    /// The config is invalid; or, before anything is read, a tensor of `file` is missing, extra or misshapen.
    fn load<B: Backend>(&self, backend: &B, file: &Checkpoint) -> Result<Self::Model<B::Param>> {
        let mut source = Stored::new(file, Self::COMPONENT, &self.specs()?)?;
        self.init(backend, &mut source)
    }
}

/// Whether `got`, or each of its elements, is one of the `supported` values.
fn is_one_of(got: &Value, supported: &[Value]) -> bool {
    let is_same = |got: &Value, value: &Value| match (got, value) {
        // Names of activations: diffusers looks them up in small letters.
        (Value::String(got), Value::String(value)) => {
            got == value || (value == "silu" && got.eq_ignore_ascii_case(value))
        }
        _ => got == value || (got.is_number() && got.as_f64() == value.as_f64()),
    };
    let is_supported = |got: &Value| supported.iter().any(|value| is_same(got, value));
    match got {
        Value::Array(each) => each.iter().all(is_supported),
        one => is_supported(one),
    }
}

/// Whether a config is of a diffusers before this version, by its `_diffusers_version`.
fn is_before(config: &Value, version: [u64; 2]) -> bool {
    let Some(text) = config.get("_diffusers_version").and_then(Value::as_str) else { return false };
    let mut parts = text.split('.').map(|part| part.parse::<u64>().ok());
    matches!((parts.next().flatten(), parts.next().flatten()), (Some(major), Some(minor)) if [major, minor] < version)
}

/// Text for a message: one line, not long.
fn brief(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut rest = text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c });
    let mut brief: String = rest.by_ref().take(LONGEST).collect();
    if rest.next().is_some() {
        brief.push('…');
    }
    brief
}

/// A setting of each block: one for all, or a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PerBlock {
    /// The same for all.
    All(usize),
    /// One for each, from the highest resolution down.
    Each(Vec<usize>),
}

impl PerBlock {
    /// The setting of a block. (0 beyond the list's end, which [`ModelConfig::validate`] refuses.)
    pub fn get(&self, block: usize) -> usize {
        match self {
            Self::All(value) => *value,
            Self::Each(values) => values.get(block).copied().unwrap_or(0),
        }
    }
}

/// Collects what a config's `validate` checks.
struct Check(&'static str);

impl Check {
    fn that(&self, holds: bool, problem: impl FnOnce() -> String) -> Result<()> {
        if holds { Ok(()) } else { Err(Error::Config { model: self.0, problem: problem() }) }
    }

    fn within(&self, key: &str, value: usize, range: RangeInclusive<usize>) -> Result<()> {
        self.that(range.contains(&value), || format!("{key} = {value}, expected {} to {}", range.start(), range.end()))
    }

    fn length(&self, key: &str, length: usize, blocks: usize) -> Result<()> {
        self.that(length == blocks, || format!("{key} has {length} entries, expected one for each of {blocks} blocks"))
    }

    fn each(&self, key: &str, value: &PerBlock, blocks: usize, range: RangeInclusive<usize>) -> Result<()> {
        if let PerBlock::Each(values) = value {
            self.length(key, values.len(), blocks)?;
        }
        (0..blocks).try_for_each(|block| self.within(key, value.get(block), range.clone()))
    }

    fn divides(&self, key: &str, divisor: usize, channels: usize) -> Result<()> {
        self.that(divisor > 0 && channels.is_multiple_of(divisor), || {
            format!("{channels} channels can't be divided by {key} = {divisor}")
        })
    }

    fn positive(&self, key: &str, value: f32) -> Result<()> {
        self.that(value.is_finite() && value > 0.0, || format!("{key} = {value}, expected a positive number"))
    }
}
