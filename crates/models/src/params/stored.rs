use std::collections::{HashMap, HashSet};

use calotype_formats::{Checkpoint, DType, Floats};
use calotype_tensor::ParamData;

use crate::{Error, Names, ParamSource, ParamSpec, Result, error::quote};

/// The parameters of one network in a checkpoint, all of them known to be there in their shapes.
pub struct Stored<'a> {
    file: &'a Checkpoint,
    /// From the path that the network asks for to the key in the file.
    keys: HashMap<String, String>,
}

impl<'a> Stored<'a> {
    /// Checks the names and shapes of `file` against what the network needs. Reads no data.
    ///
    /// # Errors
    /// A tensor is missing, misshapen, neither f32, f16 nor bf16, or belongs to no part of the network. The message names it.
    pub fn new(file: &'a Checkpoint, names: Names, specs: &[ParamSpec]) -> Result<Self> {
        let mut keys = HashMap::with_capacity(specs.len());
        for spec in specs {
            let key = names.candidates(&spec.name).into_iter().find(|key| file.get(key).is_some());
            let key =
                key.ok_or_else(|| Error::Missing { source_label: file.label().to_owned(), tensor: spec.name.clone() })?;
            check(file, &key, spec)?;
            keys.insert(spec.name.clone(), key);
        }
        let used: HashSet<&str> = keys.values().map(String::as_str).collect();
        if let Some(extra) = file.tensors().find(|t| !used.contains(t.name.as_str()) && !names.ignores(&t.name)) {
            return Err(Error::Extra { source_label: file.label().to_owned(), tensor: quote(&extra.name) });
        }
        Ok(Self { file, keys })
    }
}

impl ParamSource for Stored<'_> {
    fn data(&mut self, spec: &ParamSpec) -> Result<Box<dyn ParamData + '_>> {
        let key = self
            .keys
            .get(&spec.name)
            .ok_or_else(|| Error::Missing { source_label: self.file.label().to_owned(), tensor: spec.name.clone() })?;
        Ok(Box::new(StoredData(self.file.floats(key)?)))
    }
}

/// One tensor of the file.
struct StoredData<'a>(Floats<'a>);

impl ParamData for StoredData<'_> {
    fn count(&self) -> usize {
        self.0.count()
    }

    fn read(&self, start: usize, to: &mut [f32]) -> calotype_tensor::Result<()> {
        self.0.read(start, to).map_err(calotype_tensor::Error::data)
    }
}

/// Checks dtype and shape of one tensor.
fn check(file: &Checkpoint, key: &str, spec: &ParamSpec) -> Result<()> {
    let Some(tensor) = file.get(key) else { return Ok(()) };
    let misshapen = |expected: String, got: String| {
        Err(Error::Misshapen { source_label: file.label().to_owned(), tensor: spec.name.clone(), expected, got })
    };
    if !matches!(tensor.dtype, DType::F32 | DType::F16 | DType::BF16) {
        return misshapen("f32, f16 or bf16".into(), format!("{:?}", tensor.dtype));
    }
    // A linear map may be kept as a 1×1 convolution.
    let shape = match tensor.shape.as_slice() {
        [rest @ .., 1, 1] if rest.len() == spec.shape.len() => rest,
        shape => shape,
    };
    if shape == spec.shape { Ok(()) } else { misshapen(format!("{:?}", spec.shape), format!("{:?}", tensor.shape)) }
}
