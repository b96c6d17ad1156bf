use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use calotype_formats::{Checkpoint, DType, Floats, TensorInfo};
use calotype_tensor::ParamData;

use super::scale::Scale;
use crate::{Component, Error, Layout, ParamSource, ParamSpec, Place, Result, error::quote};

/// The parameters of one network in a checkpoint, all of them known to be there in their shapes.
pub struct Stored<'a> {
    file: &'a Checkpoint,
    /// From the path that the network asks for to where it is in the file.
    places: HashMap<String, Place>,
}

impl<'a> Stored<'a> {
    /// Checks the names and shapes of `file`, which has the weights of this network alone as in a diffusers folder,
    /// against what the network needs. Reads no data. What is no layer's weight or bias may stand beside them, as it may for
    /// diffusers, and so may what transformers passes over in a text encoder's file.
    ///
    /// # Errors
    /// A tensor is missing, misshapen, no float, or a weight of no part of the network. The message names it.
    pub fn new(file: &'a Checkpoint, component: Component, specs: &[ParamSpec]) -> Result<Self> {
        let layout = Layout::of_folder(file, component);
        let stored = Self::in_layout(file, &layout, specs).map_err(Error::by_config)?;
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
    /// A tensor is missing, misshapen, or no float. The message names the first.
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
            Some((first, _)) if is_wrapped_by_peft(file, layout, first) => {
                let tensor = layout.key(first);
                Err(Error::Injected { source_label: file.label().to_owned(), tensor })
            }
            Some((first, count)) => Err(Error::Missing {
                source_label: file.label().to_owned(),
                tensor: layout.key(first),
                others: count - 1,
                by_config: false,
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

    /// The type by which a parameter's numbers can be written without loss: that of its tensor; `F32` where a scale stands
    /// beside it, and `F16`, which has all of them, for floats of 8 bits.
    #[must_use]
    pub fn dtype(&self, name: &str) -> DType {
        match self.tensor(name) {
            Some(tensor) if Scale::is_of(self.file, &tensor.name) => DType::F32,
            Some(tensor) if tensor.dtype.is_float8() => DType::F16,
            Some(tensor) => tensor.dtype,
            None => DType::F32,
        }
    }

    /// The tensors of the file that hold no parameter of the network.
    pub fn unused(&self) -> impl Iterator<Item = &'a TensorInfo> {
        let used: HashSet<&str> = self.keys();
        let unused: Vec<_> = self.file.tensors().filter(|tensor| !used.contains(tensor.name.as_str())).collect();
        unused.into_iter()
    }

    fn place(&self, name: &str) -> Result<&Place> {
        self.places.get(name).ok_or_else(|| Error::Missing {
            source_label: self.file.label().to_owned(),
            tensor: name.to_owned(),
            others: 0,
            by_config: false,
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
        let is_kept = matches!(floats.dtype(), DType::F32 | DType::F16 | DType::BF16);
        let stored = StoredData { floats, first, count };
        Ok(match Scale::read(self.file, &place.key)? {
            None if is_kept => Box::new(stored),
            scale => Box::new(Widened { stored, scale }),
        })
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

    /// That of the file: another is [`Widened`].
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

/// What is of another type than the file's: numbers of a type that no backend keeps, or that are yet to be multiplied.
struct Widened<'a> {
    stored: StoredData<'a>,
    scale: Option<Scale>,
}

impl ParamData for Widened<'_> {
    fn count(&self) -> usize {
        self.stored.count
    }

    fn read(&self, start: usize, to: &mut [f32]) -> calotype_tensor::Result<()> {
        self.stored.read(start, to)?;
        if let Some(scale) = &self.scale {
            scale.apply(self.stored.first + start, to);
        }
        Ok(())
    }
}

/// Where `file` has the parameter of this canonical name.
fn find<'a>(file: &'a Checkpoint, layout: &Layout, name: &str) -> Option<(Place, &'a TensorInfo)> {
    layout.places(name).into_iter().find_map(|place| Some((file.get(&place.key)?, place)).map(|(t, place)| (place, t)))
}

/// Whether PEFT put the layer of this parameter inside of an adapter's.
fn is_wrapped_by_peft(file: &Checkpoint, layout: &Layout, name: &str) -> bool {
    layout.places(name).iter().any(|place| {
        let inside = place.key.rsplit_once('.').map(|(module, last)| format!("{module}.base_layer.{last}"));
        inside.is_some_and(|key| file.get(&key).is_some())
    })
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
        Err(Error::Misshapen {
            source_label: file.label().to_owned(),
            tensor: tensor.name.clone(),
            expected,
            got,
            by_config: false,
        })
    };
    if !tensor.dtype.is_float() {
        return misshapen("floats".into(), format!("of dtype {}", tensor.dtype));
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
