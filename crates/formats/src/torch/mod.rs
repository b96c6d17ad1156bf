//! Files that `torch.save` wrote, read as data: see [`TorchFile`].

mod legacy;
mod names;
mod value;
mod zipped;

use std::{collections::HashMap, ops::Range, path::Path, sync::Arc};

pub use names::Extra;
pub(crate) use names::weights;
pub use value::{Dict, Items, TorchTensor, Value};

use bytes::Bytes;

use crate::{
    Error, FileFormat, Result,
    error::quote,
    pickle::{Flavor, Problem, Reader, Slot, StorageRef, TensorNode, Tree, load},
    sniff::{Seems, sniff},
    source::{IN_MEMORY, Source},
    strided::is_in_order,
    tensors::{Checksum, TensorInfo},
};

/// Where each storage's bytes are, by its key.
type Storages = HashMap<Arc<str>, Range<u64>>;

/// Bytes that tensors may unfold to beyond what the file holds: small ones are expanded to any shape now and then.
const SLACK: u64 = 1 << 20;
/// How many times the file all its tensors together may unfold to: tied weights stand for several tensors.
const MAX_SHARING: u64 = 4;

/// A file that `torch.save` wrote: any values of Python, and tensors among them.
///
/// The file's pickle is read as data, by a machine that has no calls: see the crate's `pickle` module. Every tensor is
/// checked against the file when it is opened, and read when it is asked for.
///
/// ```no_run
/// use calotype_formats::{TorchFile, Value};
///
/// # fn main() -> calotype_formats::Result<()> {
/// let file = TorchFile::open("style.pt".as_ref())?;
/// let Value::Dict(embedding) = file.root() else { return Ok(()) };
/// if let Some(Value::Dict(params)) = embedding.get("string_to_param") {
///     for (token, value) in params.iter() {
///         if let (Value::Str(token), Value::Tensor(vectors)) = (token, value) {
///             println!("{token}: {:?}, {:?}", vectors.shape(), vectors.read_f32()?);
///         }
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct TorchFile {
    source: Source,
    format: FileFormat,
    tree: Tree,
    root: Slot,
    storages: Storages,
    checksums: Vec<Checksum>,
}

impl TorchFile {
    /// Opens and checks the file at `path`, of either of torch's forms; reads its pickle only.
    ///
    /// # Errors
    /// The file can't be read, is no file of torch, asks for a name that weights don't need, or breaks a rule of the format.
    pub fn open(path: &Path) -> Result<Self> {
        Self::new(Source::open(path)?)
    }

    /// As [`TorchFile::open`], from memory.
    ///
    /// # Errors
    /// As there.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Self> {
        Self::new(Source::memory(IN_MEMORY, bytes.into()))
    }

    fn new(source: Source) -> Result<Self> {
        let not_torch = |kind: &str| Error::file(&source.label, format!("this is {kind}, not a PyTorch file"));
        match sniff(&source)? {
            Seems::Zip => Self::zipped(source),
            Seems::Pickle => Self::legacy(source),
            Seems::SafeTensors => Err(not_torch("perhaps a safetensors file")),
            Seems::Other(kind) => Err(not_torch(kind)),
        }
    }

    pub(crate) fn zipped(source: Source) -> Result<Self> {
        let archive = zipped::Archive::open(&source)?;
        let mut reader = Reader::new(&source, archive.pickle.clone());
        let (tree, root) = load(&mut reader, Flavor::Torch).map_err(|problem| explain(&source, problem))?;
        if reader.left() != 0 {
            return Err(Error::file(&source.label, "the pickle goes on after its end: do not load this file"));
        }
        let (storages, checksums) = archive.storages(&source, &tree)?;
        Self { source, format: FileFormat::TorchZip, tree, root, storages, checksums }.checked()
    }

    pub(crate) fn legacy(source: Source) -> Result<Self> {
        let (tree, root, storages) = legacy::read(&source)?;
        Self { source, format: FileFormat::TorchLegacy, tree, root, storages, checksums: Vec::new() }.checked()
    }

    /// Refuses what unfolds to far more than there is.
    fn checked(self) -> Result<Self> {
        let Self { source, tree, .. } = &self;
        let limit = source.len.saturating_add(SLACK);
        if let Some(tensor) = tree.tensors().find(|tensor| tensor.byte_count() > limit) {
            let problem = format!(
                "refused: a tensor of shape {:?} unfolds to more bytes than the file has: do not load this file",
                tensor.shape
            );
            return Err(Error::file(&source.label, problem));
        }
        if tree.unfolded_bytes() > limit.saturating_mul(MAX_SHARING) {
            let problem = format!(
                "refused: its tensors unfold to more than {MAX_SHARING} times the file's {} bytes: do not load this file",
                source.len
            );
            return Err(Error::file(&source.label, problem));
        }
        Ok(self)
    }

    /// What the file holds.
    pub fn root(&self) -> Value<'_> {
        Value::new(self, self.root)
    }

    /// Which of torch's forms it has.
    pub fn format(&self) -> FileFormat {
        self.format
    }

    /// How messages call this file: its path.
    pub fn label(&self) -> &str {
        &self.source.label
    }

    /// Where a tensor's elements are.
    fn place(&self, tensor: &TensorNode, name: String) -> TensorInfo {
        let TensorNode { storage, dtype, offset, shape, strides } = tensor;
        let size = dtype.size() as u64;
        // Every storage that the pickle names was found, and every tensor was seen to lie in its storage.
        let start = self.storages.get(&storage.key).map_or(0, |bytes| bytes.start)
            + storage.view.0 * storage.dtype.size() as u64
            + offset * size;
        let in_order = is_in_order(shape, strides);
        let elements = if shape.contains(&0) {
            0
        } else {
            shape.iter().zip(strides).map(|(n, stride)| (n - 1) * stride).sum::<usize>() + 1
        };
        TensorInfo {
            name,
            dtype: *dtype,
            shape: shape.clone(),
            bytes: start..start + elements as u64 * size,
            strides: (!in_order).then(|| strides.clone()),
        }
    }
}

/// Bytes of a storage, as the pickle says.
fn storage_bytes(source: &Source, storage: &StorageRef) -> Result<u64> {
    storage.count.checked_mul(storage.dtype.size() as u64).ok_or_else(|| {
        let problem = format!("storage {} is larger than any file: do not load this file", quote(&storage.key));
        Error::file(&source.label, problem)
    })
}

fn explain(source: &Source, problem: Problem) -> Error {
    match problem {
        Problem::Refused(problem) | Problem::Broken(problem) => Error::file(&source.label, problem),
        Problem::Read(error) => error,
    }
}
