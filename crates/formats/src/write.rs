use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
};

use serde::ser::{SerializeMap, Serializer};

use crate::{
    DType, Error, Result,
    error::{quote, show_path},
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
    let (layout, data) = with_data(&show_path(path), tensors, metadata)?;
    write_atomic(path, |writer| layout.write(writer, &mut |n, writer| writer.write_all(&data[n])))
}

/// What a safetensors file says of a tensor that is to be written: its name, dtype and shape.
pub type TensorHead = (String, DType, Vec<usize>);

/// Writes a safetensors file as [`write_safetensors`] does, but asks for each tensor's bytes when it is its turn: `write`
/// gets the place in `tensors` of the next tensor, and writes its bytes, row-major and little-endian.
///
/// # Errors
/// As there, or `write` fails or writes more or fewer bytes than the tensor has.
pub fn write_safetensors_piecewise(
    path: impl AsRef<Path>,
    tensors: Vec<TensorHead>,
    metadata: &BTreeMap<String, String>,
    write: &mut dyn FnMut(usize, &mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let path = path.as_ref();
    let layout = Layout::new(&show_path(path), tensors, metadata)?;
    write_atomic(path, |writer| layout.write(writer, write))
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
    let (layout, data) = with_data(LABEL, tensors, metadata)?;
    let length: usize = data.iter().map(|data| data.len()).sum();
    let mut bytes = Vec::with_capacity(LENGTH_FIELD as usize + layout.header.len() + length);
    let written = layout.write(&mut bytes, &mut |n, writer| writer.write_all(&data[n]));
    written.map_err(|source| Error::Write { file: LABEL.to_owned(), action: "write", source })?;
    Ok(bytes)
}

/// The layout of tensors whose data are at hand, and those data.
fn with_data<'a, N: Into<String>>(
    file: &str,
    tensors: impl IntoIterator<Item = (N, DType, Vec<usize>, Cow<'a, [u8]>)>,
    metadata: &BTreeMap<String, String>,
) -> Result<(Layout, Vec<Cow<'a, [u8]>>)> {
    let (mut heads, mut all) = (Vec::new(), Vec::new());
    for (name, dtype, shape, data) in tensors {
        let name = name.into();
        if byte_count(dtype, &shape) != Some(data.len()) {
            let problem =
                format!("shape {shape:?} of {dtype} does not match {} bytes of data: give it whole", data.len());
            return Err(Error::tensor(file, &name, problem));
        }
        heads.push((name, dtype, shape));
        all.push(data);
    }
    Ok((Layout::new(file, heads, metadata)?, all))
}

/// Bytes of a tensor, if they can be counted.
fn byte_count(dtype: DType, shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(dtype.size(), |product, &n| product.checked_mul(n))
}

struct Tensor {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    length: usize,
    /// Its place in what the caller gave.
    place: usize,
}

/// A checked file, ready to write.
struct Layout {
    header: Vec<u8>,
    /// In the file's order.
    tensors: Vec<Tensor>,
}

impl Layout {
    fn new(file: &str, heads: Vec<TensorHead>, metadata: &BTreeMap<String, String>) -> Result<Self> {
        let checked = |(place, head)| check(file, place, head);
        let mut tensors = heads.into_iter().enumerate().map(checked).collect::<Result<Vec<Tensor>>>()?;
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

    fn write(
        &self,
        writer: &mut dyn Write,
        data: &mut dyn FnMut(usize, &mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        writer.write_all(&(self.header.len() as u64).to_le_bytes())?;
        writer.write_all(&self.header)?;
        for tensor in &self.tensors {
            let mut counted = Counted { writer, left: tensor.length };
            data(tensor.place, &mut counted)?;
            if counted.left > 0 {
                return Err(wrong_length(&format!(
                    "{} bytes too few for tensor {}",
                    counted.left,
                    quote(&tensor.name)
                )));
            }
        }
        Ok(())
    }
}

fn wrong_length(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{problem} were given"))
}

/// Takes no more bytes than are left.
struct Counted<'a> {
    writer: &'a mut dyn Write,
    left: usize,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.left {
            return Err(wrong_length("more bytes than a tensor has"));
        }
        let written = self.writer.write(bytes)?;
        self.left -= written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

fn check(file: &str, place: usize, (name, dtype, shape): TensorHead) -> Result<Tensor> {
    if name == METADATA {
        return Err(Error::tensor(file, &name, "this name is reserved for the metadata: choose another"));
    }
    match byte_count(dtype, &shape) {
        Some(length) if shape.len() <= MAX_RANK => Ok(Tensor { name, dtype, shape, length, place }),
        _ => Err(Error::tensor(file, &name, format!("shape {shape:?} of {dtype} cannot be written: split the tensor"))),
    }
}

fn header_json(tensors: &[Tensor], metadata: &BTreeMap<String, String>) -> serde_json::Result<Vec<u8>> {
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
        let end = begin + tensor.length as u64;
        let entry = Entry { dtype: tensor.dtype.name(), shape: &tensor.shape, data_offsets: [begin, end] };
        map.serialize_entry(&tensor.name, &entry)?;
        begin = end;
    }
    map.end()?;
    Ok(header)
}
