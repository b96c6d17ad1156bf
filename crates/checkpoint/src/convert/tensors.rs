//! Tensors on their way from one file to another.

use std::{collections::BTreeMap, io, path::Path};

use calotype_formats::{Checkpoint, DType, TensorHead, encode_f32, write_safetensors_piecewise};
use calotype_models::{Layout, ModelConfig, ParamSource, ParamSpec, Stored};

use super::Progress;
use crate::{Error, NetworkFiles, Result};

/// Numbers converted at a time.
const PIECE: usize = 1 << 16;

/// A parameter, and where it goes.
struct Item {
    /// Which of the networks it is of.
    network: usize,
    spec: ParamSpec,
    /// What it is stored as now.
    dtype: DType,
}

/// What a tensor is made of.
enum Content<'a> {
    /// Parameters, in the order of its rows.
    Parameters(Vec<Item>),
    /// The tensor of this name, as it is.
    Whole(&'a Checkpoint, String),
    /// Numbers.
    Numbers(Vec<f32>),
}

/// The tensors of one file that is to be written.
pub(super) struct Tensors<'a> {
    networks: Vec<Stored<'a>>,
    heads: Vec<TensorHead>,
    contents: Vec<Content<'a>>,
    /// The file's free text.
    metadata: BTreeMap<String, String>,
}

impl<'a> Tensors<'a> {
    pub(super) fn new() -> Self {
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        Self { networks: Vec::new(), heads: Vec::new(), contents: Vec::new(), metadata }
    }

    /// Adds a network's parameters, as `layout` names them and with the shapes that `shape` gives them.
    pub(super) fn add<C: ModelConfig>(
        &mut self,
        network: &'a NetworkFiles<C>,
        layout: &Layout,
        dtype: Option<DType>,
        shape: impl Fn(&ParamSpec) -> Vec<usize>,
    ) -> Result<()> {
        let stored = network.stored()?;
        let number = self.networks.len();
        // Parameters that share a tensor: by key, then by part.
        let mut shared: BTreeMap<String, BTreeMap<usize, Item>> = BTreeMap::new();
        for spec in network.config.specs()? {
            let Some(place) = layout.places(&spec.name).into_iter().next() else {
                let problem = format!("{} has no name in the layout to write: it can't be converted", spec.name);
                return Err(Error::file(&network.label, problem));
            };
            let now = stored.dtype(&spec.name);
            let item = Item { network: number, spec, dtype: now };
            shared.entry(place.key).or_default().insert(place.part.map_or(0, |(n, _)| n), item);
        }
        for (key, parts) in shared {
            let items: Vec<Item> = parts.into_values().collect();
            let Some(first) = items.first() else { continue };
            let mut shape = shape(&first.spec);
            if let Some(rows) = shape.first_mut() {
                *rows *= items.len();
            }
            self.heads.push((key, dtype.unwrap_or(first.dtype), shape));
            self.contents.push(Content::Parameters(items));
        }
        self.networks.push(stored);
        Ok(())
    }

    /// Adds the tensor `name` of `file` under the name `key`. Floats become `dtype`, if it is given.
    pub(super) fn keep(&mut self, file: &'a Checkpoint, name: &str, key: String, dtype: Option<DType>) {
        let Some(tensor) = file.get(name) else { return };
        let is_float = tensor.dtype.is_float();
        let dtype = dtype.filter(|_| is_float).unwrap_or(tensor.dtype);
        self.heads.push((key, dtype, tensor.shape.clone()));
        self.contents.push(Content::Whole(file, name.to_owned()));
    }

    /// Adds a tensor of one dimension.
    pub(super) fn numbers(&mut self, key: &str, numbers: Vec<f32>) {
        self.heads.push((key.to_owned(), DType::F32, vec![numbers.len()]));
        self.contents.push(Content::Numbers(numbers));
    }

    /// Adds a text beside the tensors.
    pub(super) fn metadata(&mut self, key: &str, text: &str) {
        self.metadata.insert(key.to_owned(), text.to_owned());
    }

    /// The number type of the first tensor, which is that of most.
    pub(super) fn dtype(&self) -> Option<DType> {
        self.heads.first().map(|(_, dtype, _)| *dtype)
    }

    /// Bytes in all.
    pub(super) fn bytes(&self) -> u64 {
        self.heads.iter().map(|(_, dtype, shape)| (shape.iter().product::<usize>() * dtype.size()) as u64).sum()
    }

    /// Writes the file; `done` bytes were written before it of `total`.
    pub(super) fn write(mut self, path: &Path, done: &mut u64, total: u64, progress: Progress<'_>) -> Result<()> {
        let (heads, networks, contents) = (self.heads.clone(), &mut self.networks, &self.contents);
        write_safetensors_piecewise(path, self.heads, &self.metadata, &mut |n, writer| {
            let Some(((_, dtype, _), content)) = heads.get(n).zip(contents.get(n)) else { return Ok(()) };
            let mut write = |bytes: &[u8]| {
                writer.write_all(bytes)?;
                *done += bytes.len() as u64;
                if progress(*done, total) { Ok(()) } else { Err(io::Error::other("stopped")) }
            };
            match content {
                Content::Parameters(items) => {
                    for item in items {
                        let Some(stored) = networks.get_mut(item.network) else { continue };
                        copy(stored, item, *dtype, &mut write)?;
                    }
                }
                Content::Whole(file, name) if file.get(name).is_some_and(|tensor| tensor.dtype == *dtype) => {
                    write(&file.read(name).map_err(io::Error::other)?)?;
                }
                Content::Whole(file, name) => {
                    let numbers = file.read_f32(name).map_err(io::Error::other)?;
                    write(&encoded(name, &numbers, *dtype)?)?;
                }
                Content::Numbers(numbers) => write(&encoded("", numbers, *dtype)?)?,
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// Gives the bytes of a parameter as `dtype`, in pieces.
fn copy(
    stored: &mut Stored<'_>,
    item: &Item,
    dtype: DType,
    write: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let name = &item.spec.name;
    if item.dtype == dtype && stored.tensor(name).is_some_and(|tensor| tensor.dtype == dtype) {
        return write(&stored.bytes(name).map_err(io::Error::other)?);
    }
    let data = stored.data(&item.spec).map_err(io::Error::other)?;
    let mut numbers = vec![0.0; PIECE.min(data.count())];
    let mut start = 0;
    while start < data.count() {
        let length = PIECE.min(data.count() - start);
        let piece = numbers.get_mut(..length).unwrap_or_default();
        data.read(start, piece).map_err(io::Error::other)?;
        write(&encoded(name, piece, dtype)?)?;
        start += length;
    }
    Ok(())
}

/// Numbers of the tensor `name` as `dtype`.
fn encoded(name: &str, numbers: &[f32], dtype: DType) -> io::Result<Vec<u8>> {
    if dtype == DType::F16 && numbers.iter().any(|x| x.is_finite() && x.abs() >= F16_OVERFLOW) {
        let problem = format!("{name} has numbers too large for f16: convert to bf16 or f32");
        return Err(io::Error::other(problem));
    }
    encode_f32(numbers, dtype).map_err(io::Error::other)
}

/// What rounds to an infinite f16.
const F16_OVERFLOW: f32 = 65520.0;
