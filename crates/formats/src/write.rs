use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
};

use serde::ser::{SerializeMap, Serializer};

use crate::{
    DType, Error, Result,
    error::show_path,
    header::{LENGTH_FIELD, MAX_HEADER, MAX_RANK, METADATA},
    write_atomic,
};

/// Writes a safetensors file, whole or not at all (see [`write_atomic`]).
///
/// `tensors` gives `(name, dtype, shape, data)`, the data row-major and little-endian, in any order. They are laid out as
/// the reference implementation does, widest dtype first and then by name, so equal content gives an equal file.
///
/// # Errors
/// A name occurs twice or is `__metadata__`, a shape doesn't match its data, or the file can't be written.
pub fn write_safetensors<'a, N: Into<String>>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (N, DType, Vec<usize>, Cow<'a, [u8]>)>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let path = path.as_ref();
    let layout = Layout::new(&show_path(path), tensors, metadata)?;
    write_atomic(path, |writer| layout.write(writer))
}

/// The bytes of a safetensors file; see [`write_safetensors`].
///
/// # Errors
/// A name occurs twice or is `__metadata__`, or a shape doesn't match its data.
pub fn to_bytes<'a, N: Into<String>>(
    tensors: impl IntoIterator<Item = (N, DType, Vec<usize>, Cow<'a, [u8]>)>,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    const LABEL: &str = "tensors to write";
    let layout = Layout::new(LABEL, tensors, metadata)?;
    let data: usize = layout.tensors.iter().map(|tensor| tensor.data.len()).sum();
    let mut bytes = Vec::with_capacity(LENGTH_FIELD as usize + layout.header.len() + data);
    layout.write(&mut bytes).map_err(|source| Error::Write { file: LABEL.to_owned(), action: "write", source })?;
    Ok(bytes)
}

struct Tensor<'a> {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    data: Cow<'a, [u8]>,
}

/// A checked file, ready to write.
struct Layout<'a> {
    header: Vec<u8>,
    /// In the file's order.
    tensors: Vec<Tensor<'a>>,
}

impl<'a> Layout<'a> {
    fn new<N: Into<String>>(
        file: &str,
        tensors: impl IntoIterator<Item = (N, DType, Vec<usize>, Cow<'a, [u8]>)>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let mut tensors: Vec<Tensor<'a>> = tensors
            .into_iter()
            .map(|(name, dtype, shape, data)| Tensor { name: name.into(), dtype, shape, data })
            .collect();
        tensors.iter().try_for_each(|tensor| check(file, tensor))?;
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(Error::tensor(file, &pair[0].name, "given twice: give each name once"));
        }
        // Stable, so names stay sorted: with the widest first, each tensor is aligned to its own elements.
        tensors.sort_by_key(|tensor| std::cmp::Reverse(tensor.dtype.size()));

        let mut header = header_json(&tensors, metadata)
            .map_err(|e| Error::file(file, format!("the header cannot be written: {e}")))?;
        header.resize(header.len().next_multiple_of(LENGTH_FIELD as usize), b' ');
        if header.len() as u64 > MAX_HEADER {
            let problem = format!("the header takes {} bytes, at most {MAX_HEADER} are allowed", header.len());
            return Err(Error::file(file, format!("{problem}: shorten the metadata or split the file")));
        }
        Ok(Self { header, tensors })
    }

    fn write(&self, writer: &mut dyn Write) -> io::Result<()> {
        writer.write_all(&(self.header.len() as u64).to_le_bytes())?;
        writer.write_all(&self.header)?;
        self.tensors.iter().try_for_each(|tensor| writer.write_all(&tensor.data))
    }
}

fn check(file: &str, tensor: &Tensor<'_>) -> Result<()> {
    let Tensor { name, dtype, shape, data } = tensor;
    if name == METADATA {
        return Err(Error::tensor(file, name, "this name is reserved for the metadata: choose another"));
    }
    let expected = shape.iter().try_fold(dtype.size(), |product, &n| product.checked_mul(n));
    if expected != Some(data.len()) || shape.len() > MAX_RANK {
        let problem = format!("shape {shape:?} of {dtype} does not match {} bytes of data: give it whole", data.len());
        return Err(Error::tensor(file, name, problem));
    }
    Ok(())
}

fn header_json(tensors: &[Tensor<'_>], metadata: &BTreeMap<String, String>) -> serde_json::Result<Vec<u8>> {
    #[derive(serde::Serialize)]
    struct Entry<'a> {
        dtype: &'static str,
        shape: &'a [usize],
        data_offsets: [u64; 2],
    }

    let mut header = Vec::new();
    let mut json = serde_json::Serializer::new(&mut header);
    let mut map = json.serialize_map(None)?;
    if !metadata.is_empty() {
        map.serialize_entry(METADATA, metadata)?;
    }
    let mut begin = 0;
    for tensor in tensors {
        let end = begin + tensor.data.len() as u64;
        let entry = Entry { dtype: tensor.dtype.name(), shape: &tensor.shape, data_offsets: [begin, end] };
        map.serialize_entry(&tensor.name, &entry)?;
        begin = end;
    }
    map.end()?;
    Ok(header)
}
