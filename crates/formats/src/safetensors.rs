use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;

use crate::{
    Floats, Result,
    header::Header,
    source::{IN_MEMORY, Source},
    tensors::{TensorInfo, Tensors},
};

/// One safetensors file, checked whole when opened; tensors are read one by one when asked for.
///
/// Reading takes `&self` and a position, so any number of threads may read at once, and no more of the file is in memory
/// than the tensors asked for.
pub struct SafeTensors(Tensors);

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
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Self> {
        Self::new(Source::memory(IN_MEMORY, bytes.into()))
    }

    pub(crate) fn new(source: Source) -> Result<Self> {
        let Header { tensors, metadata } = Header::read(&source)?;
        Ok(Self(Tensors { source, checksums: Vec::new(), tensors, metadata }))
    }

    pub(crate) fn into_tensors(self) -> Tensors {
        self.0
    }

    /// How messages call this file: its path.
    pub fn label(&self) -> &str {
        &self.0.source.label
    }

    /// Every tensor, sorted by name.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &TensorInfo> {
        self.0.tensors.iter()
    }

    /// What the file says of the tensor `name`.
    pub fn get(&self, name: &str) -> Option<&TensorInfo> {
        self.0.get(name)
    }

    /// The file's free text (`__metadata__`).
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.0.metadata
    }

    /// The bytes of a tensor, row-major and little-endian.
    ///
    /// # Errors
    /// There is no such tensor, or the file can't be read.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.0.read(name)
    }

    /// The numbers of a tensor as `f32`, row-major, rounded to nearest where `f32` is the narrower type.
    ///
    /// # Errors
    /// There is no such tensor, its dtype is neither an IEEE float, bfloat16, an integer nor bool, or the file can't be read.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>> {
        self.0.read_f32(name)
    }

    /// The numbers of a tensor as [`Self::read_f32`] gives them, to be read in pieces.
    ///
    /// # Errors
    /// There is no such tensor, or its dtype is none that [`Self::read_f32`] takes.
    pub fn floats(&self, name: &str) -> Result<Floats<'_>> {
        self.0.floats(name)
    }

    /// The numbers of a tensor as `i64`, row-major.
    ///
    /// # Errors
    /// There is no such tensor, its dtype is no integer or may not fit (`U64`), or the file can't be read.
    pub fn read_i64(&self, name: &str) -> Result<Vec<i64>> {
        self.0.read_i64(name)
    }
}
