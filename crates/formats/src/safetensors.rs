use std::{borrow::Cow, collections::BTreeMap, path::Path};

use crate::{
    DType, Error, Floats, Result, TensorInfo, convert,
    error::quote,
    header::Header,
    part::{Decode, Part},
    source::Source,
};

/// Bytes by which memory for a tensor is taken: a multiple of every dtype's size.
const CHUNK: usize = 256 * 1024;

/// One safetensors file, checked whole when opened; tensors are read one by one when asked for.
///
/// Reading takes `&self` and a position, so any number of threads may read at once, and no more of the file is in memory
/// than the tensors asked for.
pub struct SafeTensors {
    source: Source,
    header: Header,
}

impl SafeTensors {
    /// Opens and checks the file at `path`; reads its header only.
    ///
    /// # Errors
    /// The file can't be read, or it breaks a rule of the format (the error says which).
    pub fn open(path: &Path) -> Result<Self> {
        Self::new(Source::open(path)?)
    }

    /// Checks a file held in memory, such as one embedded with `include_bytes!`.
    ///
    /// # Errors
    /// It breaks a rule of the format (the error says which).
    pub fn from_bytes(bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self> {
        Self::new(Source::memory(bytes.into()))
    }

    fn new(source: Source) -> Result<Self> {
        Ok(Self { header: Header::read(&source)?, source })
    }

    /// How messages call this file: its path.
    pub fn label(&self) -> &str {
        &self.source.label
    }

    /// Every tensor, sorted by name.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &TensorInfo> {
        self.header.tensors.iter()
    }

    /// What the file says of the tensor `name`.
    pub fn get(&self, name: &str) -> Option<&TensorInfo> {
        let tensors = &self.header.tensors;
        let place = tensors.binary_search_by(|tensor| tensor.name.as_str().cmp(name)).ok()?;
        Some(self.at(place))
    }

    /// The tensor at `place` of [`Self::tensors`].
    pub(crate) fn at(&self, place: usize) -> &TensorInfo {
        &self.header.tensors[place]
    }

    /// The file's free text (`__metadata__`).
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.header.metadata
    }

    /// The bytes of a tensor, row-major and little-endian.
    ///
    /// # Errors
    /// There is no such tensor, or the file can't be read.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let tensor = self.require(name)?;
        let len = tensor.element_count() * tensor.dtype.size();
        let mut bytes = self.room(tensor, len)?;
        while bytes.len() < len {
            let from = bytes.len();
            bytes.resize(len.min(from + CHUNK), 0);
            self.source.read_tensor_at(name, &mut bytes[from..], tensor.bytes.start + from as u64)?;
        }
        Ok(bytes)
    }

    /// The numbers of a tensor as `f32`, row-major, rounded to nearest where `f32` is the narrower type.
    ///
    /// # Errors
    /// There is no such tensor, its dtype is neither an IEEE float, bfloat16, an integer nor bool, or the file can't be read.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>> {
        self.read_as(self.part(name, DType::F32, convert::decode_f32)?)
    }

    /// The numbers of a tensor as [`Self::read_f32`] gives them, to be read in pieces.
    ///
    /// # Errors
    /// There is no such tensor, or its dtype is none that [`Self::read_f32`] takes.
    pub fn floats(&self, name: &str) -> Result<Floats<'_>> {
        self.part(name, DType::F32, convert::decode_f32).map(Floats)
    }

    /// The numbers of a tensor as `i64`, row-major.
    ///
    /// # Errors
    /// There is no such tensor, its dtype is no integer or may not fit (`U64`), or the file can't be read.
    pub fn read_i64(&self, name: &str) -> Result<Vec<i64>> {
        self.read_as(self.part(name, DType::I64, convert::decode_i64)?)
    }

    fn part<T>(&self, name: &str, to: DType, decode: Decode<T>) -> Result<Part<'_, T>> {
        Part::new(&self.source, self.require(name)?, to, decode)
    }

    fn read_as<T: Copy + Default>(&self, part: Part<'_, T>) -> Result<Vec<T>> {
        let len = part.count();
        let mut numbers = self.room(part.tensor, len)?;
        while numbers.len() < len {
            let from = numbers.len();
            numbers.resize(len.min(from + CHUNK / part.tensor.dtype.size()), T::default());
            part.read(from, &mut numbers[from..])?;
        }
        Ok(numbers)
    }

    /// Room for a tensor, asked for and not taken: a file with a hole in it may be far larger than any memory.
    fn room<T>(&self, tensor: &TensorInfo, len: usize) -> Result<Vec<T>> {
        let mut room = Vec::new();
        room.try_reserve_exact(len).map_err(|_| {
            let problem =
                format!("no memory for {} bytes: close other programs or use a smaller model", tensor.byte_count());
            Error::tensor(self.label(), &tensor.name, problem)
        })?;
        Ok(room)
    }

    fn require(&self, name: &str) -> Result<&TensorInfo> {
        self.get(name).ok_or_else(|| Error::Missing { file: self.label().to_owned(), tensor: quote(name) })
    }
}
