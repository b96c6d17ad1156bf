use std::fmt;

use super::TorchFile;
use crate::{
    DType, Result,
    pickle::{Node, Slot, TensorNode},
    tensors::{read_bytes, read_f32, read_i64},
};

/// A value in a [`TorchFile`], borrowed from it.
///
/// Containers are never deeper than 256 and unfold to no more than ten million values in all, so to walk through them by
/// recursion is safe.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Value<'a> {
    /// `None`.
    None,
    /// A bool.
    Bool(bool),
    /// An integer of at most 64 bits.
    Int(i64),
    /// A larger integer: its two's complement, little-endian.
    BigInt(&'a [u8]),
    /// A float.
    Float(f64),
    /// A text.
    Str(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A list.
    List(Items<'a>),
    /// A tuple, or a `torch.Size`.
    Tuple(Items<'a>),
    /// A set or a frozenset, in the file's order.
    Set(Items<'a>),
    /// A dict of any kind, or a `ParameterDict`.
    Dict(Dict<'a>),
    /// A tensor or a parameter.
    Tensor(TorchTensor<'a>),
    /// A class or another name, such as `torch.float16` or `torch.nn.parameter.Parameter`: the name and nothing else.
    Global(&'static str),
    /// An object of this class, whose insides are not looked at: a NumPy array, an OmegaConf configuration.
    Object(&'static str),
}

impl<'a> Value<'a> {
    pub(super) fn new(file: &'a TorchFile, slot: Slot) -> Self {
        let place = match slot {
            Slot::None => return Self::None,
            Slot::Bool(b) => return Self::Bool(b),
            Slot::Int(n) => return Self::Int(n),
            Slot::Float(n) => return Self::Float(n),
            Slot::Global(global) => return Self::Global(global.name()),
            Slot::Node(place) => place,
        };
        match file.tree.node(place) {
            Node::Str(text) => Self::Str(text),
            Node::Bytes(bytes) => Self::Bytes(bytes),
            Node::Big(bytes) => Self::BigInt(bytes),
            Node::List(slots) => Self::List(Items { file, slots }),
            Node::Tuple(slots) => Self::Tuple(Items { file, slots }),
            Node::Set(slots) => Self::Set(Items { file, slots }),
            Node::Dict(pairs) => Self::Dict(Dict { file, pairs }),
            Node::Tensor(tensor) => Self::Tensor(TorchTensor { file, tensor }),
            Node::Storage(_) => Self::Object("torch.storage.TypedStorage"),
            Node::Object(object) => match file.tree.parameters(object) {
                Some(pairs) => Self::Dict(Dict { file, pairs }),
                None => Self::Object(object.class.name()),
            },
        }
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bool(b) => write!(f, "Bool({b})"),
            Self::Int(n) => write!(f, "Int({n})"),
            Self::BigInt(bytes) => write!(f, "BigInt({bytes:?})"),
            Self::Float(n) => write!(f, "Float({n:?})"),
            Self::Str(text) => write!(f, "Str({text:?})"),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::List(items) => f.debug_list().entries(items.iter()).finish(),
            Self::Tuple(items) => {
                f.write_str("Tuple")?;
                f.debug_list().entries(items.iter()).finish()
            }
            Self::Set(items) => f.debug_set().entries(items.iter()).finish(),
            Self::Dict(dict) => f.debug_map().entries(dict.iter()).finish(),
            Self::Tensor(tensor) => write!(f, "Tensor({} {:?})", tensor.dtype(), tensor.shape()),
            Self::Global(name) => write!(f, "Global({name})"),
            Self::Object(name) => write!(f, "Object({name})"),
        }
    }
}

/// The values of a list, a tuple or a set.
#[derive(Clone, Copy)]
pub struct Items<'a> {
    file: &'a TorchFile,
    slots: &'a [Slot],
}

impl<'a> Items<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The value at `place`.
    pub fn get(&self, place: usize) -> Option<Value<'a>> {
        self.slots.get(place).map(|&slot| Value::new(self.file, slot))
    }

    /// Each value in turn.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Value<'a>> + use<'a> {
        let file = self.file;
        self.slots.iter().map(move |&slot| Value::new(file, slot))
    }
}

/// The keys and values of a dict, in the file's order. No key that is a text or a number stands in it twice.
#[derive(Clone, Copy)]
pub struct Dict<'a> {
    file: &'a TorchFile,
    pairs: &'a [(Slot, Slot)],
}

impl<'a> Dict<'a> {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The value of the key that is the text `key`. It looks through all of them: for many keys, use [`Dict::iter`].
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        let tree = &self.file.tree;
        let found = self.pairs.iter().find(|(name, _)| tree.str(*name) == Some(key));
        found.map(|&(_, slot)| Value::new(self.file, slot))
    }

    /// Each key and its value in turn.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Value<'a>, Value<'a>)> + use<'a> {
        let file = self.file;
        self.pairs.iter().map(move |&(key, value)| (Value::new(file, key), Value::new(file, value)))
    }
}

/// A tensor in a [`TorchFile`], not yet read. However its elements lie in the file, they are read row-major.
#[derive(Clone, Copy)]
pub struct TorchTensor<'a> {
    file: &'a TorchFile,
    pub(super) tensor: &'a TensorNode,
}

impl<'a> TorchTensor<'a> {
    /// The type of its elements.
    pub fn dtype(&self) -> DType {
        self.tensor.dtype
    }

    /// Its dimensions, outermost first; empty for a scalar.
    pub fn shape(&self) -> &'a [usize] {
        &self.tensor.shape
    }

    /// Its bytes, row-major and little-endian.
    ///
    /// # Errors
    /// The file can't be read, or there is no memory.
    pub fn read(&self) -> Result<Vec<u8>> {
        read_bytes(&self.file.source, &self.info())
    }

    /// Its numbers as `f32`, row-major, rounded to nearest where `f32` is the narrower type.
    ///
    /// # Errors
    /// Its dtype is neither an IEEE float, bfloat16, an integer nor bool, or the file can't be read.
    pub fn read_f32(&self) -> Result<Vec<f32>> {
        read_f32(&self.file.source, &self.info())
    }

    /// Its numbers as `i64`, row-major.
    ///
    /// # Errors
    /// Its dtype is no integer or may not fit (`U64`), or the file can't be read.
    pub fn read_i64(&self) -> Result<Vec<i64>> {
        read_i64(&self.file.source, &self.info())
    }

    fn info(&self) -> crate::TensorInfo {
        self.file.place(self.tensor, format!("in storage {}", self.tensor.storage.key))
    }
}
