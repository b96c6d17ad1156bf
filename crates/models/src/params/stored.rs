use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use calotype_formats::{Checkpoint, DType, Floats, TensorInfo};
use calotype_tensor::ParamData;

use crate::{Error, Layout, Names, ParamSource, ParamSpec, Place, Result, error::quote};

/// The parameters of one network in a checkpoint, all of them known to be there in their shapes.
pub struct Stored<'a> {
    file: &'a Checkpoint,
    /// From the path that the network asks for to where it is in the file.
    places: HashMap<String, Place>,
}

impl<'a> Stored<'a> {
    /// Checks the names and shapes of `file`, which has the weights of this network alone as in a diffusers folder,
    /// against what the network needs. Reads no data.
    ///
    /// # Errors
    /// A tensor is missing, misshapen, neither f32, f16 nor bf16, or belongs to no part of the network. The message names it.
    pub fn new(file: &'a Checkpoint, names: Names, specs: &[ParamSpec]) -> Result<Self> {
        let layout = Layout::folder(names);
        let stored = Self::in_layout(file, &layout, specs)?;
        let used = stored.keys();
        if let Some(extra) = file.tensors().find(|t| !used.contains(t.name.as_str()) && !layout.ignores(&t.name)) {
            return Err(Error::Extra { source_label: file.label().to_owned(), tensor: quote(&extra.name) });
        }
        Ok(stored)
    }

    /// Checks the names and shapes of a `file` that may have more than this network, as CompVis' loader takes it
    /// (`strict=False`, but nothing may be missing). Reads no data.
    ///
    /// # Errors
    /// A tensor is missing, misshapen, or neither f32, f16 nor bf16. The message names the first.
    pub fn in_layout(file: &'a Checkpoint, layout: &Layout, specs: &[ParamSpec]) -> Result<Self> {
        let mut places = HashMap::with_capacity(specs.len());
        let mut missing: Option<(&str, usize)> = None;
        for spec in specs {
            match find(file, layout, &spec.name) {
                Some((place, tensor)) => {
                    check(file, tensor, place.part, spec)?;
                    places.insert(spec.name.clone(), place);
                }
                None => missing.get_or_insert((&spec.name, 0)).1 += 1,
            }
        }
        match missing {
            None => Ok(Self { file, places }),
            Some((first, count)) => Err(Error::Missing {
                source_label: file.label().to_owned(),
                tensor: layout.key(first),
                others: count - 1,
            }),
        }
    }

    /// The tensors of the file that hold the network's parameters.
    #[must_use]
    pub fn keys(&self) -> HashSet<&str> {
        self.places.values().map(|place| place.key.as_str()).collect()
    }

    /// The tensor that holds a parameter, or has it among its rows.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&'a TensorInfo> {
        self.file.get(&self.places.get(name)?.key)
    }

    fn place(&self, name: &str) -> Result<&Place> {
        self.places.get(name).ok_or_else(|| Error::Missing {
            source_label: self.file.label().to_owned(),
            tensor: name.to_owned(),
            others: 0,
        })
    }

    /// The bytes of a parameter as they stand in the file, of dtype [`Self::tensor`]'s.
    ///
    /// # Errors
    /// There is no such parameter, or the file can't be read.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        let place = self.place(name)?;
        let mut bytes = self.file.read(&place.key)?;
        if let Some((n, parts)) = place.part {
            let length = bytes.len() / parts;
            bytes.drain(..n * length);
            bytes.truncate(length);
        }
        Ok(bytes)
    }
}

impl ParamSource for Stored<'_> {
    fn data(&mut self, spec: &ParamSpec) -> Result<Box<dyn ParamData + '_>> {
        let place = self.place(&spec.name)?;
        let floats = self.file.floats(&place.key)?;
        let (first, count) = match place.part {
            None => (0, floats.count()),
            Some((n, parts)) => (n * (floats.count() / parts), floats.count() / parts),
        };
        Ok(Box::new(StoredData { floats, first, count }))
    }
}

/// One tensor of the file, or a part of its rows.
struct StoredData<'a> {
    floats: Floats<'a>,
    first: usize,
    count: usize,
}

impl StoredData<'_> {
    /// Refuses elements that it does not have.
    fn check(&self, start: usize, length: usize) -> calotype_tensor::Result<()> {
        if start.checked_add(length).is_none_or(|end| end > self.count) {
            let message = format!("{length} elements from {start} on were asked for, there are {}", self.count);
            return Err(calotype_tensor::Error::Invalid { op: "param", message });
        }
        Ok(())
    }
}

impl ParamData for StoredData<'_> {
    fn count(&self) -> usize {
        self.count
    }

    fn read(&self, start: usize, to: &mut [f32]) -> calotype_tensor::Result<()> {
        self.check(start, to.len())?;
        self.floats.read(self.first + start, to).map_err(calotype_tensor::Error::data)
    }

    /// That of the file: [`check`] lets no other through.
    fn dtype(&self) -> calotype_tensor::DType {
        match self.floats.dtype() {
            DType::F16 => calotype_tensor::DType::F16,
            DType::BF16 => calotype_tensor::DType::BF16,
            _ => calotype_tensor::DType::F32,
        }
    }

    fn read_bytes(&self, start: usize, to: &mut [u8]) -> calotype_tensor::Result<()> {
        self.check(start, to.len().div_ceil(self.floats.dtype().size()))?;
        self.floats.read_bytes(self.first + start, to).map_err(calotype_tensor::Error::data)
    }
}

/// Where `file` has the parameter of this canonical name.
fn find<'a>(file: &'a Checkpoint, layout: &Layout, name: &str) -> Option<(Place, &'a TensorInfo)> {
    layout.places(name).into_iter().find_map(|place| Some((file.get(&place.key)?, place)).map(|(t, place)| (place, t)))
}

/// The shape of the parameter of this canonical name in `file`, if it is there.
pub(crate) fn shape(file: &Checkpoint, layout: &Layout, name: &str) -> Option<Vec<usize>> {
    let (place, tensor) = find(file, layout, name)?;
    Some(part_shape(&tensor.shape, place.part)?.into_owned())
}

/// The shape of one of the equal parts of a tensor's rows.
fn part_shape(shape: &[usize], part: Option<(usize, usize)>) -> Option<Cow<'_, [usize]>> {
    let Some((_, parts)) = part else { return Some(shape.into()) };
    let (rows, rest) = shape.split_first()?;
    rows.is_multiple_of(parts).then(|| [&[rows / parts], rest].concat().into())
}

/// Checks dtype and shape of the tensor that holds a parameter.
fn check(file: &Checkpoint, tensor: &TensorInfo, part: Option<(usize, usize)>, spec: &ParamSpec) -> Result<()> {
    let misshapen = |expected: String, got: String| {
        Err(Error::Misshapen { source_label: file.label().to_owned(), tensor: tensor.name.clone(), expected, got })
    };
    if !matches!(tensor.dtype, DType::F32 | DType::F16 | DType::BF16) {
        return misshapen("f32, f16 or bf16".into(), format!("{:?}", tensor.dtype));
    }
    let fits = part_shape(&tensor.shape, part).is_some_and(|shape| pointwise(&shape) == pointwise(&spec.shape));
    if fits { Ok(()) } else { misshapen(format!("{:?}", spec.shape), format!("{:?}", tensor.shape)) }
}

/// A linear map may be kept as a 1×1 convolution.
fn pointwise(shape: &[usize]) -> &[usize] {
    match shape {
        [rest @ .., 1, 1] if rest.len() == 2 => rest,
        shape => shape,
    }
}
