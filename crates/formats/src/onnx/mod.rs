//! ONNX models (<https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>): the tensors of their graph, and which operation takes
//! which. Nothing is computed from the graph.

mod wire;

use std::{ops::Range, path::Path};

use bytes::Bytes;

use crate::{
    Checkpoint, DType, Error, FileFormat, Result, TensorInfo,
    header::MAX_TENSORS,
    sniff::{ONNX, Seems, UNKNOWN, sniff},
    source::Source,
    tensors::Tensors,
};
use wire::{Value, Wire};

/// The most operations of a graph: ten times as many as a large model has.
const MAX_NODES: usize = 50_000;
/// The most inputs and outputs of all operations together. What is kept of an empty name takes more memory than it does in
/// the file.
const MAX_EDGES: usize = 250_000;
/// The most dimensions of a tensor: no operation takes as many.
const MAX_DIMENSIONS: usize = 16;
/// The longest name, in bytes.
const MAX_NAME: u64 = 4096;

/// An ONNX model as data: its tensors, and the operations of its graph by name.
///
/// Tensors are the initializers of the graph whose numbers lie in the file in order, which is how every exporter writes
/// weights. Integers in protobuf's own form (shapes and axes, by some exporters) are left out.
pub struct OnnxFile {
    weights: Checkpoint,
    nodes: Vec<OnnxNode>,
}

/// An operation of a graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnnxNode {
    /// What it does, such as `Conv`.
    pub op: String,
    /// The names of what it takes: results of other operations, inputs of the graph, tensors. One that is not given is empty.
    pub inputs: Vec<String>,
    /// The names of its results.
    pub outputs: Vec<String>,
}

impl OnnxFile {
    /// Opens a file. Its tensors are read when they are asked for.
    ///
    /// # Errors
    /// It can't be read, is no ONNX model, or keeps its weights in another file.
    pub fn open(path: &Path) -> Result<Self> {
        Self::new(Source::open(path)?)
    }

    /// One file in memory; messages call it `label`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_bytes(label: &str, bytes: impl Into<Bytes>) -> Result<Self> {
        Self::new(Source::memory(label, bytes.into()))
    }

    /// Its tensors, under the graph's names.
    #[must_use]
    pub fn weights(&self) -> &Checkpoint {
        &self.weights
    }

    /// The operations, in the order of the file, in which each comes after those whose results it takes.
    #[must_use]
    pub fn nodes(&self) -> &[OnnxNode] {
        &self.nodes
    }

    fn new(source: Source) -> Result<Self> {
        let other = match sniff(&source)? {
            Seems::Other(ONNX | UNKNOWN) => None,
            Seems::Other(kind) => Some(kind),
            Seems::SafeTensors if source.len < 8 => Some("a file that was cut off"),
            Seems::SafeTensors => Some("a safetensors file"),
            Seems::Zip => Some("a zip archive"),
            Seems::Pickle => Some("a PyTorch file"),
        };
        if let Some(kind) = other {
            return Err(Error::file(&source.label, format!("this is {kind}, not an ONNX model: give the .onnx file")));
        }
        let mut reader = Reader { wire: Wire::new(&source), tensors: Vec::new(), nodes: Vec::new(), edges: 0 };
        reader.model(0..source.len)?;
        let Reader { mut tensors, nodes, .. } = reader;
        tensors.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(Error::tensor(&source.label, &pair[0].name, "there twice: do not use this file"));
        }
        let tensors = Tensors { source, checksums: Vec::new(), tensors, metadata: Default::default() };
        Ok(Self { weights: Checkpoint::single(FileFormat::Onnx, tensors), nodes })
    }
}

struct Reader<'a> {
    wire: Wire<'a>,
    tensors: Vec<TensorInfo>,
    nodes: Vec<OnnxNode>,
    /// Inputs and outputs of all nodes.
    edges: usize,
}

/// What a `TensorProto` says, as far as it is read.
#[derive(Default)]
struct Proto {
    name: String,
    shape: Vec<u64>,
    data_type: u64,
    /// `raw_data`, or packed numbers of fixed size, which are the same bytes; and the field that they are in.
    data: Option<(u64, Range<u64>)>,
    /// Whether numbers are there in another form.
    is_scattered: bool,
    is_external: bool,
}

impl Reader<'_> {
    /// `ModelProto`.
    fn model(&mut self, mut message: Range<u64>) -> Result<()> {
        let mut has_graph = false;
        while let Some((field, value)) = self.wire.field(&mut message)? {
            if let (7, Value::Bytes(graph)) = (field, value) {
                if has_graph {
                    return Err(self.wire.refuse(graph.start, "a second graph".to_owned()));
                }
                has_graph = true;
                self.graph(graph)?;
            }
        }
        match has_graph {
            true => Ok(()),
            false => Err(self.wire.refuse(message.end, "its end, and no graph before it".to_owned())),
        }
    }

    /// `GraphProto`.
    fn graph(&mut self, mut message: Range<u64>) -> Result<()> {
        while let Some((field, value)) = self.wire.field(&mut message)? {
            match (field, value) {
                (1, Value::Bytes(node)) => self.node(node)?,
                (5, Value::Bytes(tensor)) => self.tensor(tensor)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// `NodeProto`.
    fn node(&mut self, mut message: Range<u64>) -> Result<()> {
        let at = message.start;
        let mut node = OnnxNode::default();
        while let Some((field, value)) = self.wire.field(&mut message)? {
            let (field @ (1 | 2 | 4), Value::Bytes(name)) = (field, value) else { continue };
            let name = self.wire.text(name, MAX_NAME)?;
            match field {
                1 => node.inputs.push(name),
                2 => node.outputs.push(name),
                _ => node.op = name,
            }
            self.edges += usize::from(field != 4);
            if self.edges > MAX_EDGES {
                return Err(self.wire.refuse(at, format!("a graph of more than {MAX_EDGES} inputs of operations")));
            }
        }
        if self.nodes.len() == MAX_NODES {
            return Err(self.wire.refuse(at, format!("a graph of more than {MAX_NODES} operations")));
        }
        self.nodes.push(node);
        Ok(())
    }

    /// `TensorProto`.
    fn tensor(&mut self, message: Range<u64>) -> Result<()> {
        let at = message.start;
        let proto = self.proto(message)?;
        if proto.name.is_empty() {
            return Err(self.wire.refuse(at, "a tensor without a name".to_owned()));
        }
        if let Some(tensor) = self.checked(proto, at)? {
            if self.tensors.len() == MAX_TENSORS {
                return Err(self.wire.refuse(at, format!("a graph of more than {MAX_TENSORS} tensors")));
            }
            self.tensors.push(tensor);
        }
        Ok(())
    }

    fn proto(&mut self, mut message: Range<u64>) -> Result<Proto> {
        let mut proto = Proto::default();
        while let Some((field, value)) = self.wire.field(&mut message)? {
            match (field, value) {
                (1, Value::Number(side)) => self.side(&mut proto.shape, side, message.start)?,
                (1, Value::Bytes(mut packed)) => {
                    while !packed.is_empty() {
                        let at = packed.start;
                        let side = self.wire.number(&mut packed)?;
                        self.side(&mut proto.shape, side, at)?;
                    }
                }
                (2, Value::Number(data_type)) => proto.data_type = data_type,
                // float_data, raw_data, double_data. A field may come in pieces, which nobody writes; an empty one says nothing.
                (4 | 9 | 10, Value::Bytes(bytes)) if bytes.is_empty() => {}
                (4 | 9 | 10, Value::Bytes(bytes)) if proto.data.is_none() => proto.data = Some((field, bytes)),
                (4 | 5 | 6 | 7 | 9 | 10 | 11, _) => proto.is_scattered = true,
                (8, Value::Bytes(name)) => proto.name = self.wire.text(name, MAX_NAME)?,
                (13, _) | (14, Value::Number(1..)) => proto.is_external = true,
                _ => {}
            }
        }
        Ok(proto)
    }

    fn side(&self, shape: &mut Vec<u64>, side: u64, at: u64) -> Result<()> {
        if shape.len() == MAX_DIMENSIONS {
            return Err(self.wire.refuse(at, format!("a tensor of more than {MAX_DIMENSIONS} dimensions")));
        }
        shape.push(side);
        Ok(())
    }

    /// The tensor; none if it is of integers in another form than bytes, or of texts.
    fn checked(&self, proto: Proto, at: u64) -> Result<Option<TensorInfo>> {
        let refuse = |problem: String| Err(Error::tensor(self.wire.label(), &proto.name, problem));
        let dtype = match proto.data_type {
            1 => DType::F32,
            2 => DType::U8,
            3 => DType::I8,
            4 => DType::U16,
            5 => DType::I16,
            6 => DType::I32,
            7 => DType::I64,
            9 => DType::Bool,
            10 => DType::F16,
            11 => DType::F64,
            12 => DType::U32,
            13 => DType::U64,
            16 => DType::BF16,
            _ => return Ok(None),
        };
        if proto.is_external {
            return refuse("its data is in another file: save the model with its data in it".to_owned());
        }
        let has_other_numbers = match proto.data {
            Some((4, _)) => dtype != DType::F32,
            Some((10, _)) => dtype != DType::F64,
            _ => false,
        };
        if proto.is_scattered || has_other_numbers {
            return match dtype {
                DType::F64 | DType::F32 | DType::F16 | DType::BF16 => {
                    refuse("its numbers are not in one piece: save the model with raw_data".to_owned())
                }
                _ => Ok(None),
            };
        }
        let shape: Option<Vec<usize>> = proto
            .shape
            .iter()
            .map(|&side| usize::try_from(side).ok().filter(|&side| isize::try_from(side).is_ok()))
            .collect();
        let of_shape = shape.as_ref().and_then(|shape| {
            shape
                .iter()
                .try_fold(dtype.size(), |bytes, &side| bytes.checked_mul(side))
                .filter(|&n| isize::try_from(n).is_ok())
        });
        let data = proto.data.clone().map_or(at..at, |(_, data)| data);
        let bytes = data.end - data.start;
        match shape.zip(of_shape) {
            Some((shape, expected)) if expected as u64 == bytes => {
                Ok(Some(TensorInfo { name: proto.name, dtype, shape, bytes: data, strides: None }))
            }
            _ => refuse(format!("its {bytes} bytes are not those of {dtype} {:?}: get the file again", proto.shape)),
        }
    }
}
