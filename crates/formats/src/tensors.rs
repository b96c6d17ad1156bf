use std::{collections::BTreeMap, ops::Range};

use crate::{
    DType, Error, Floats, Result, convert,
    error::quote,
    part::{Decode, Part},
    source::Source,
    strided,
};

/// Bytes by which memory for a tensor is taken: a multiple of every dtype's size.
const CHUNK: usize = 256 * 1024;

/// What a file says of one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The tensor's name, such as `down_blocks.0.resnets.0.conv1.weight`.
    pub name: String,
    /// The type of its elements.
    pub dtype: DType,
    /// Its dimensions, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// The part of the file its elements are in: all of it, where they lie in order.
    pub(crate) bytes: Range<u64>,
    /// How many elements further the next one of each dimension lies, where they don't lie in order.
    pub(crate) strides: Option<Vec<usize>>,
}

impl TensorInfo {
    /// Elements in all: the product of the shape.
    pub fn element_count(&self) -> usize {
        // Checked against the file when its header was read.
        self.shape.iter().product()
    }

    /// Bytes of data.
    pub fn byte_count(&self) -> u64 {
        (self.element_count() * self.dtype.size()) as u64
    }
}

/// The CRC-32 that a zip archive has of a part of its file.
pub(crate) struct Checksum {
    pub(crate) bytes: Range<u64>,
    pub(crate) crc: u32,
}

impl Checksum {
    /// Whether the part is what it was. Tells `read` of each piece.
    ///
    /// # Errors
    /// The file can't be read, or `read` says to stop.
    pub(crate) fn holds(&self, source: &Source, mut read: impl FnMut(u64) -> bool) -> Result<bool> {
        let mut hasher = crc32fast::Hasher::new();
        let mut window = vec![0; CHUNK.min(usize::try_from(self.bytes.end - self.bytes.start).unwrap_or(CHUNK))];
        let mut at = self.bytes.start;
        while at < self.bytes.end {
            let len = window.len().min(usize::try_from(self.bytes.end - at).unwrap_or(window.len()));
            source.read_at(&mut window[..len], at)?;
            hasher.update(&window[..len]);
            at += len as u64;
            if !read(len as u64) {
                return Err(Error::file(&source.label, "stopped"));
            }
        }
        Ok(hasher.finalize() == self.crc)
    }
}

/// The checked tensors of one file, and the file.
pub(crate) struct Tensors {
    pub(crate) source: Source,
    /// Of the parts that tensors are in, where the file has them.
    pub(crate) checksums: Vec<Checksum>,
    /// Sorted by name, each name once.
    pub(crate) tensors: Vec<TensorInfo>,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Tensors {
    pub(crate) fn get(&self, name: &str) -> Option<&TensorInfo> {
        let place = self.tensors.binary_search_by(|tensor| tensor.name.as_str().cmp(name)).ok()?;
        Some(&self.tensors[place])
    }

    /// Compares every part of the file of which there is a checksum with it.
    pub(crate) fn check_sums(&self, read: &mut dyn FnMut(u64) -> bool) -> Result<()> {
        for checksum in &self.checksums {
            if checksum.holds(&self.source, &mut *read)? {
                continue;
            }
            const PROBLEM: &str = "does not match its checksum: the file is damaged, download it again";
            let label = &self.source.label;
            let damaged = self.tensors.iter().find(|tensor| checksum.bytes.contains(&tensor.bytes.start));
            return Err(match damaged {
                Some(tensor) => Error::tensor(label, &tensor.name, format!("its data {PROBLEM}")),
                None => Error::file(label, format!("data of none of the model's tensors {PROBLEM}")),
            });
        }
        Ok(())
    }

    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>> {
        read_bytes(&self.source, self.require(name)?)
    }

    pub(crate) fn read_f32(&self, name: &str) -> Result<Vec<f32>> {
        read_f32(&self.source, self.require(name)?)
    }

    pub(crate) fn floats(&self, name: &str) -> Result<Floats<'_>> {
        Part::new(&self.source, self.require(name)?, DType::F32, convert::decode_f32).map(Floats)
    }

    pub(crate) fn read_i64(&self, name: &str) -> Result<Vec<i64>> {
        read_i64(&self.source, self.require(name)?)
    }

    fn require(&self, name: &str) -> Result<&TensorInfo> {
        self.get(name).ok_or_else(|| Error::Missing { file: self.source.label.clone(), tensor: quote(name) })
    }
}

/// The bytes of a tensor, row-major.
pub(crate) fn read_bytes(source: &Source, tensor: &TensorInfo) -> Result<Vec<u8>> {
    if tensor.strides.is_some() {
        return strided::gather(source, tensor);
    }
    let len = tensor.element_count() * tensor.dtype.size();
    let mut bytes = room(source, tensor, len)?;
    while bytes.len() < len {
        let from = bytes.len();
        bytes.resize(len.min(from + CHUNK), 0);
        source.read_tensor_at(&tensor.name, &mut bytes[from..], tensor.bytes.start + from as u64)?;
    }
    Ok(bytes)
}

/// The numbers of a tensor as `f32`.
pub(crate) fn read_f32(source: &Source, tensor: &TensorInfo) -> Result<Vec<f32>> {
    read_as(source, tensor, DType::F32, convert::decode_f32)
}

/// The numbers of a tensor as `i64`.
pub(crate) fn read_i64(source: &Source, tensor: &TensorInfo) -> Result<Vec<i64>> {
    read_as(source, tensor, DType::I64, convert::decode_i64)
}

fn read_as<T: Copy + Default>(source: &Source, tensor: &TensorInfo, to: DType, decode: Decode<T>) -> Result<Vec<T>> {
    let part = Part::new(source, tensor, to, decode)?;
    let len = part.count();
    let mut numbers = room(source, tensor, len)?;
    while numbers.len() < len {
        let from = numbers.len();
        numbers.resize(len.min(from + CHUNK / tensor.dtype.size()), T::default());
        part.read(from, &mut numbers[from..])?;
    }
    Ok(numbers)
}

/// Room for a tensor, asked for and not taken: a file with a hole in it may be far larger than any memory.
pub(crate) fn room<T>(source: &Source, tensor: &TensorInfo, len: usize) -> Result<Vec<T>> {
    let mut room = Vec::new();
    room.try_reserve_exact(len).map_err(|_| {
        let problem =
            format!("no memory for {} bytes: close other programs or use a smaller model", tensor.byte_count());
        Error::tensor(&source.label, &tensor.name, problem)
    })?;
    Ok(room)
}
