//! Scales beside weights of few bits, as ComfyUI's `scaled_fp8` checkpoints have them: a weight is what is stored times the
//! scale (`comfy/ops.py`), one for all of it or one for each row.

use calotype_formats::{Checkpoint, TensorInfo};

use crate::{Error, Result, error::quote};

/// What the scale is called in the place of the weight's last name.
const NAMES: [&str; 2] = ["scale_weight", "weight_scale"];
/// The last name of a weight.
const WEIGHT: &str = "weight";

/// What a stored weight is multiplied by.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scale {
    /// All of it.
    All(f32),
    /// Each row, which has so many elements.
    Rows(Vec<f32>, usize),
}

/// The tensor with the scale of `key`, if it has one.
fn tensor<'a>(file: &'a Checkpoint, key: &str) -> Option<&'a TensorInfo> {
    let stem = key.strip_suffix(WEIGHT).filter(|stem| stem.ends_with('.'))?;
    NAMES.iter().find_map(|name| file.get(&format!("{stem}{name}")))
}

impl Scale {
    /// Whether the weight `key` of `file` has one.
    pub(super) fn is_of(file: &Checkpoint, key: &str) -> bool {
        tensor(file, key).is_some()
    }

    /// The scale of the weight `key`; none if it has none.
    ///
    /// # Errors
    /// It has neither one number nor one for each row, or one is not finite.
    pub(super) fn read(file: &Checkpoint, key: &str) -> Result<Option<Self>> {
        let (Some(scale), Some(weight)) = (tensor(file, key), file.get(key)) else { return Ok(None) };
        let rows = weight.shape.first().copied().unwrap_or(1);
        let count = scale.element_count();
        let values = if count == 1 || count == rows { file.read_f32(&scale.name)? } else { Vec::new() };
        match values.as_slice() {
            [one] if one.is_finite() => Ok(Some(Self::All(*one))),
            many if !many.is_empty() && many.iter().all(|x| x.is_finite()) => {
                Ok(Some(Self::Rows(values, weight.element_count() / rows.max(1))))
            }
            _ => Err(Error::Misshapen {
                source_label: file.label().to_owned(),
                tensor: quote(&scale.name),
                expected: format!("1 or {rows} finite numbers"),
                got: format!("{:?} of {}", scale.shape, scale.dtype),
                by_config: false,
            }),
        }
    }

    /// Multiplies elements of the weight, from its element `start` on.
    pub(super) fn apply(&self, start: usize, values: &mut [f32]) {
        match self {
            Self::All(scale) => values.iter_mut().for_each(|value| *value *= scale),
            Self::Rows(scales, columns) => {
                for (n, value) in (start..).zip(values) {
                    *value *= scales.get(n / columns.max(&1)).copied().unwrap_or(1.0);
                }
            }
        }
    }
}
