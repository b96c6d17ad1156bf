//! A run's checkpoint: everything that the next step depends on, in one safetensors file.
//!
//! Tensors `value/NAME`, `ema/NAME`, `m/NAME` and `v/NAME` for every parameter, f32, in the layout of its kind, and for those of a
//! discriminator `adversary/value/NAME`, `adversary/m/NAME` and `adversary/v/NAME`; the metadata entry `calotype` is [`Record`] as JSON. Random numbers need no state: see [`crate::random`].

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use calotype_formats::{DType, SafeTensors, encode_f32, write_safetensors};
use calotype_tensor::{Differentiable, Shape, tape::Parameter};
use serde::{Deserialize, Serialize};

use crate::{Error, Result, ema::Ema, optimiser::Optimiser};

/// Where a run is, and what run it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// 1; another number is another layout.
    pub(crate) version: u32,
    /// `autoencoder` or `diffusion`.
    pub(crate) task: String,
    /// Steps done.
    pub(crate) step: u64,
    /// The settings that may not change.
    pub(crate) config: serde_json::Value,
    /// What tells its pictures and networks from others.
    #[serde(default)]
    pub(crate) inputs: serde_json::Value,
}

const KEY: &str = "calotype";
pub(crate) const VERSION: u32 = 1;

/// Everything that a step changes.
pub(crate) struct State<B: Differentiable> {
    pub(crate) parameters: Vec<Parameter<B>>,
    pub(crate) ema: Ema<B>,
    pub(crate) optimiser: Optimiser<B>,
    pub(crate) adversary: Option<Player<B>>,
}

/// A second player, which has no average.
pub(crate) struct Player<B: Differentiable> {
    pub(crate) parameters: Vec<Parameter<B>>,
    pub(crate) optimiser: Optimiser<B>,
}

impl<B: Differentiable> State<B> {
    pub(crate) fn new(inner: &B, parameters: Vec<Parameter<B>>, adversary: Option<Vec<Parameter<B>>>) -> Result<Self> {
        let (ema, optimiser) = (Ema::new(inner, &parameters)?, Optimiser::new(inner, &parameters)?);
        let player = |parameters: Vec<Parameter<B>>| -> Result<_> {
            Ok(Player { optimiser: Optimiser::new(inner, &parameters)?, parameters })
        };
        Ok(Self { parameters, ema, optimiser, adversary: adversary.map(player).transpose()? })
    }

    /// Everything that a checkpoint has: its name there, the shape, and the value.
    fn tensors(&self) -> Vec<(String, Shape, B::Tensor)> {
        let mut tensors = Vec::new();
        let mut add = |part: &str, parameters: &[Parameter<B>], values: &[B::Tensor]| {
            let named = parameters.iter().zip(values);
            tensors.extend(named.map(|(p, x)| (format!("{part}/{}", p.name()), p.shape(), x.clone())));
        };
        let values = |parameters: &[Parameter<B>]| parameters.iter().map(Parameter::value).collect::<Vec<_>>();
        add("value", &self.parameters, &values(&self.parameters));
        add("ema", &self.parameters, &self.ema.average);
        add("m", &self.parameters, &self.optimiser.m);
        add("v", &self.parameters, &self.optimiser.v);
        if let Some(Player { parameters, optimiser }) = &self.adversary {
            add("adversary/value", parameters, &values(parameters));
            add("adversary/m", parameters, &optimiser.m);
            add("adversary/v", parameters, &optimiser.v);
        }
        tensors
    }

    /// Bytes of a checkpoint, but for its header.
    pub(crate) fn bytes(&self) -> u64 {
        self.tensors().iter().map(|(_, shape, _)| 4 * shape.count() as u64).sum()
    }

    /// Writes a checkpoint; the one that was there stays until this one is whole.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if it is ruined: then it is not written.
    pub(crate) fn save(&self, inner: &B, path: &Path, record: &Record) -> Result<()> {
        let encode = |(name, shape, tensor): (String, Shape, B::Tensor)| {
            let values = inner.to_f32(&tensor)?;
            if !values.iter().all(|value| value.is_finite()) {
                return Err(Error::NotFinite { step: record.step, what: "the weights", checkpoint: None });
            }
            Ok((name, DType::F32, shape.to_vec(), Cow::from(encode_f32(&values, DType::F32)?)))
        };
        let tensors = self.tensors().into_iter().map(encode).collect::<Result<Vec<_>>>()?;
        let json = serde_json::to_string(record).map_err(|e| Error::run(path, e.to_string()))?;
        Ok(write_safetensors(path, tensors, &BTreeMap::from([(KEY.to_owned(), json)]))?)
    }

    /// Takes everything from a checkpoint of the same parameters.
    pub(crate) fn load(&mut self, inner: &B, path: &Path, file: &SafeTensors) -> Result<()> {
        let expected = self.tensors().len();
        if file.tensors().len() != expected {
            let problem = format!("has {} tensors, expected {expected}: it is of another model", file.tensors().len());
            return Err(Error::run(path, problem));
        }
        let tensor = |part: &str, parameter: &Parameter<B>| -> Result<B::Tensor> {
            let name = format!("{part}/{}", parameter.name());
            let found = file.get(&name).map(|info| info.shape.clone());
            if let Some(found) = found.filter(|found| found[..] != parameter.shape()[..]) {
                let problem = format!("tensor {name:?} has shape {found:?}, expected {}", parameter.shape());
                return Err(Error::run(path, format!("{problem}: it is of another model")));
            }
            let values = file.read_f32(&name)?;
            if !values.iter().all(|value| value.is_finite()) {
                let problem = format!("tensor {name:?} is not finite, so no run can go on from here");
                return Err(Error::run(path, format!("{problem}: take an older checkpoint, or start anew")));
            }
            Ok(inner.from_f32(Shape::new(&parameter.shape())?, values)?)
        };
        let all = |part: &str, parameters: &[Parameter<B>]| -> Result<Vec<B::Tensor>> {
            parameters.iter().map(|parameter| tensor(part, parameter)).collect()
        };
        let set = |part: &str, parameters: &[Parameter<B>]| -> Result<()> {
            parameters.iter().try_for_each(|parameter| Ok(parameter.set(inner, tensor(part, parameter)?)?))
        };
        set("value", &self.parameters)?;
        self.ema.average = all("ema", &self.parameters)?;
        self.optimiser.m = all("m", &self.parameters)?;
        self.optimiser.v = all("v", &self.parameters)?;
        if let Some(Player { parameters, optimiser }) = &mut self.adversary {
            set("adversary/value", parameters)?;
            optimiser.m = all("adversary/m", parameters)?;
            optimiser.v = all("adversary/v", parameters)?;
        }
        Ok(())
    }
}

/// Reads what a checkpoint says of itself.
pub(crate) fn record(path: &Path, file: &SafeTensors) -> Result<Record> {
    let text = file.metadata().get(KEY).ok_or_else(|| Error::run(path, "is no checkpoint of a training run"))?;
    let record: Record = serde_json::from_str(text)
        .map_err(|e| Error::run(path, format!("the checkpoint's record is damaged ({e}): start a new run")))?;
    if record.version != VERSION {
        let problem = format!("is a checkpoint of version {}, expected {VERSION}: start a new run", record.version);
        return Err(Error::run(path, problem));
    }
    Ok(record)
}

/// The first key whose values differ, as `train.seed`. A key that only one of them has is of another version of this
/// crate, where its meaning was the default.
pub(crate) fn difference(a: &serde_json::Value, b: &serde_json::Value) -> Option<String> {
    let (Some(left), Some(right)) = (a.as_object(), b.as_object()) else {
        return (!a.is_null() && a != b).then(String::new);
    };
    left.iter().find_map(|(key, value)| {
        let inner = difference(value, right.get(key)?)?;
        Some(if inner.is_empty() { key.clone() } else { format!("{key}.{inner}") })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_difference_is_named_by_its_path() {
        let a = json!({"train": {"seed": 1, "betas": [0.9, 0.99]}, "loss": {"x": 1}});
        let changed = |pointer: &str, value| {
            let mut b = a.clone();
            *b.pointer_mut(pointer).unwrap() = value;
            difference(&a, &b)
        };
        assert_eq!(changed("/train/seed", json!(1)), None);
        assert_eq!(changed("/train/seed", json!(2)).unwrap(), "train.seed");
        assert_eq!(changed("/train/betas/1", json!(0.9)).unwrap(), "train.betas");
        assert_eq!(changed("/loss/x", json!(null)).unwrap(), "loss.x");
        assert_eq!(changed("/loss", json!({"y": 2})), None);
        assert_eq!(changed("/loss", json!(0)).unwrap(), "loss");
    }
}
