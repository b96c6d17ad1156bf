//! The head of a safetensors file: eight bytes of length, then JSON that names every tensor. Rules and their order as in
//! <https://huggingface.co/docs/safetensors/index#format>; where that text and the reference parser differ (duplicate
//! keys, entries that are arrays), the text is followed.

use std::{borrow::Cow, cmp::Ordering, collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};

use crate::{
    DType, Error, Result,
    error::{json_advice, json_problem, quote},
    json::{Object, UniqueMap},
    sniff,
    source::Source,
    tensors::TensorInfo,
};

/// The longest header the format allows, in bytes.
pub(crate) const MAX_HEADER: u64 = 100_000_000;
/// The most tensors of one file: twenty times as many as the largest checkpoint of a diffusion model has, its optimiser's
/// state included. What is kept of one takes more memory than its text in a header may.
pub(crate) const MAX_TENSORS: usize = 100_000;
/// The most dimensions a shape may have (the format sets no limit; no framework takes more than 64).
pub(crate) const MAX_RANK: usize = 64;
/// The header's key that is no tensor.
pub(crate) const METADATA: &str = "__metadata__";
/// The length field before the header.
pub(crate) const LENGTH_FIELD: u64 = 8;

/// A header that passed every check.
pub(crate) struct Header {
    /// Sorted by name.
    pub(crate) tensors: Vec<TensorInfo>,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Header {
    pub(crate) fn read(source: &Source) -> Result<Self> {
        let (text, data_start) = read_text(source)?;
        let mut header = parse(&source.label, &text, data_start)?;
        drop(text);
        check_layout(source, &mut header.tensors, data_start)?;
        header.tensors.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = header.tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
            let problem = "named twice in the header: do not use this file";
            return Err(Error::tensor(&source.label, &pair[0].name, problem));
        }
        Ok(header)
    }
}

/// The header's bytes, and where the data after it starts.
fn read_text(source: &Source) -> Result<(Vec<u8>, u64)> {
    let (file, len) = (&source.label, source.len);
    let mut start = [0; LENGTH_FIELD as usize];
    let shown = start.len().min(usize::try_from(len).unwrap_or(usize::MAX));
    source.read_at(&mut start[..shown], 0)?;
    if let Some(kind) = sniff::other_format(&start[..shown]) {
        return Err(Error::file(file, format!("this is {kind}, not a safetensors file")));
    }
    if len < LENGTH_FIELD {
        let problem = format!("the file has {len} bytes, a safetensors file at least 10: download it again");
        return Err(Error::file(file, problem));
    }
    let header_len = u64::from_le_bytes(start);
    if header_len > MAX_HEADER {
        let problem = format!(
            "the header length is {header_len} bytes, at most {MAX_HEADER} are allowed: this is no safetensors file, or a damaged one"
        );
        return Err(Error::file(file, problem));
    }
    if header_len > len - LENGTH_FIELD {
        let problem = format!(
            "the header needs {header_len} bytes, the file has {} after its length field: download it again",
            len - LENGTH_FIELD
        );
        return Err(Error::file(file, problem));
    }
    let mut text = vec![0; header_len as usize];
    source.read_at(&mut text, LENGTH_FIELD)?;
    Ok((text, LENGTH_FIELD + header_len))
}

fn parse(file: &str, text: &[u8], data_start: u64) -> Result<Header> {
    let text = std::str::from_utf8(text).map_err(|e| {
        Error::file(file, format!("the header is not UTF-8 at its byte {}: download it again", e.valid_up_to()))
    })?;
    if !text.starts_with('{') {
        return Err(Error::file(
            file,
            "the header does not begin with `{`: this is no safetensors file, or a damaged one",
        ));
    }
    let mut failure = Failure::Elsewhere;
    let mut json = serde_json::Deserializer::from_str(text);
    let header = HeaderSeed { file, data_start, failure: &mut failure }.deserialize(&mut json);
    header.and_then(|header| json.end().map(|()| header)).map_err(|e| {
        let problem = || format!("the header is not valid: {}: {}", json_problem(&e), json_advice(&e, "file"));
        match failure {
            Failure::Elsewhere => Error::file(file, problem()),
            Failure::Json { tensor } => Error::tensor(file, &tensor, problem()),
            Failure::Check(error) => error,
        }
    })
}

/// Dtype, and shape against byte range.
fn check_tensor(file: &str, name: String, raw: RawTensor<'_>, data_start: u64) -> Result<TensorInfo> {
    let fail = |problem: String| Err(Error::tensor(file, &name, problem));
    let Some(dtype) = DType::parse(&raw.dtype) else {
        return fail(format!("dtype {} is unknown: convert the file to F32, F16 or BF16", quote(&raw.dtype)));
    };
    let [begin, end] = raw.data_offsets;
    let Some((begin, end)) = data_start.checked_add(begin).zip(data_start.checked_add(end)) else {
        return fail(format!("data offsets {begin}..{end} are past the end of any file: do not use this file"));
    };
    if end < begin {
        let (begin, end) = (begin - data_start, end - data_start);
        return fail(format!("data ends at {end}, before its beginning at {begin}: do not use this file"));
    }
    let shape = raw.shape.0;
    let expected = shape.iter().try_fold(dtype.size(), |product, &n| product.checked_mul(n));
    let Some(expected) = expected else {
        return fail(format!("shape {shape:?} of {dtype} is larger than any memory: do not use this file"));
    };
    if expected as u64 != end - begin {
        let problem = format!(
            "shape {shape:?} of {dtype} takes {expected} bytes, its data offsets hold {}: do not use this file",
            end - begin
        );
        return fail(problem);
    }
    Ok(TensorInfo { name, dtype, shape, bytes: begin..end, strides: None })
}

/// The tensors' bytes follow each other with no hole and no overlap, from the header to the end of the file.
fn check_layout(source: &Source, tensors: &mut [TensorInfo], data_start: u64) -> Result<()> {
    let file = &source.label;
    tensors.sort_unstable_by_key(|tensor| (tensor.bytes.start, tensor.bytes.end));
    let mut end = data_start;
    for tensor in tensors {
        let begin = tensor.bytes.start;
        if begin != end {
            let what = if begin < end { "overlaps another tensor's" } else { "leaves a hole before it" };
            let problem = format!(
                "data at {} {what}, expected at {}: do not use this file",
                begin - data_start,
                end - data_start
            );
            return Err(Error::tensor(file, &tensor.name, problem));
        }
        end = tensor.bytes.end;
    }
    match end.cmp(&source.len) {
        Ordering::Equal => Ok(()),
        Ordering::Greater => {
            let problem = "is cut off, its header describes";
            Err(Error::file(file, format!("the file of {} bytes {problem} {end}: download it again", source.len)))
        }
        Ordering::Less => {
            let problem = "is longer than its header describes, which is";
            Err(Error::file(file, format!("the file of {} bytes {problem} {end}: do not use it", source.len)))
        }
    }
}

/// A tensor as it stands in the header.
#[derive(Deserialize)]
struct RawTensor<'a> {
    #[serde(borrow)]
    dtype: Cow<'a, str>,
    shape: RawShape,
    data_offsets: [u64; 2],
}

struct RawShape(Vec<usize>);

impl<'de> Deserialize<'de> for RawShape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_seq(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = RawShape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of dimensions")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<RawShape, A::Error> {
        let mut shape = [0; MAX_RANK];
        let mut rank = 0;
        while let Some(n) = seq.next_element()? {
            // Here and not after: a list of a hundred million ones must not be held.
            *shape
                .get_mut(rank)
                .ok_or_else(|| A::Error::custom(format_args!("a shape of more than {MAX_RANK} dimensions")))? = n;
            rank += 1;
        }
        Ok(RawShape(shape[..rank].to_vec()))
    }
}

/// Where reading the header stopped.
enum Failure {
    /// Outside any tensor.
    Elsewhere,
    /// In the text of this tensor.
    Json { tensor: String },
    /// At a tensor whose text is well-formed.
    Check(Error),
}

/// Reads the header and checks each tensor as it comes, so that no second list of them is held.
struct HeaderSeed<'a> {
    file: &'a str,
    data_start: u64,
    failure: &'a mut Failure,
}

impl<'de> DeserializeSeed<'de> for HeaderSeed<'_> {
    type Value = Header;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Header, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HeaderSeed<'_> {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Header, A::Error> {
        let mut tensors = Vec::new();
        let mut metadata = None;
        while let Some(name) = map.next_key::<String>()? {
            if name != METADATA && tensors.len() == MAX_TENSORS {
                let problem = format!("more than {MAX_TENSORS} tensors, as no model has: do not use this file");
                *self.failure = Failure::Check(Error::file(self.file, problem));
                return Err(A::Error::custom("refused"));
            }
            if name != METADATA {
                let raw = match map.next_value::<Object<RawTensor<'de>>>() {
                    Ok(Object(raw)) => raw,
                    Err(error) => {
                        *self.failure = Failure::Json { tensor: name };
                        return Err(error);
                    }
                };
                tensors.push(check_tensor(self.file, name, raw, self.data_start).map_err(|error| {
                    *self.failure = Failure::Check(error);
                    A::Error::custom("refused")
                })?);
            } else if metadata.replace(map.next_value::<UniqueMap>()?.0).is_some() {
                return Err(A::Error::custom("__metadata__ named twice"));
            }
        }
        Ok(Header { tensors, metadata: metadata.unwrap_or_default() })
    }
}
