//! Files that are wrong in ways nobody thought of: right ones, changed by a seeded mutator. None may panic, whatever is read
//! must be as long as it says, and every refusal is one line.
//!
//! The test command makes twenty thousand of each kind, the same every time. More, or others:
//!
//! ```text
//! MUTATIONS=10000000 SEED=2 cargo test --release -p calotype-formats --test mutations -- --nocapture pickle
//! ```

#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../../fuzz/mutator.rs"]
mod mutator;

use std::{borrow::Cow, collections::BTreeMap, fs, path::Path};

use calotype_formats::{Checkpoint, DType, Error, OnnxFile, SafeTensors, TorchFile, Value, parse_yaml, to_bytes};
use common::{pickle::Pickle, torch_legacy, torch_zip};

/// Opcodes and names of pickles.
const WORDS: &[&[u8]] = &[
    b"(",
    b"t",
    b"}",
    b"]",
    b")",
    b"s",
    b"u",
    b"a",
    b"e",
    b"R",
    b"b",
    b"Q",
    b"o",
    b"0",
    b"1",
    b"2",
    b"N",
    b"K\x01",
    b"M\x00\x01",
    b"\x85",
    b"\x86",
    b"\x87",
    b"\x81",
    b"\x92",
    b"\x93",
    b"\x94",
    b"\x8f",
    b"\x90",
    b"\x91",
    b"\x88",
    b"h\x00",
    b"h\x01",
    b"q\x00",
    b"q\x01",
    b"j\x00\x00\x00\x00",
    b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"J\xff\xff\xff\xff",
    b"\x95\x04\0\0\0\0\0\0\0",
    b"X\x01\x00\x00\x00w",
    b"\x8c\x010",
    b"X\x07\x00\x00\x00storage",
    b"ccollections\nOrderedDict\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch._utils\n_rebuild_tensor\n",
    b"ctorch._utils\n_rebuild_tensor_v3\n",
    b"ctorch._utils\n_rebuild_parameter\n",
    b"ctorch\nFloatStorage\n",
    b"ctorch\nByteStorage\n",
    b"ctorch\nfloat16\n",
    b"ctorch\nSize\n",
    b"ctorch.nn.modules.container\nParameterDict\n",
    b"cnumpy\ndtype\n",
    b"cnumpy.core.multiarray\nscalar\n",
    b"c_codecs\nencode\n",
    b"c__builtin__\nset\n",
    b"cos\nsystem\n",
    b"comegaconf.dictconfig\nDictConfig\n",
    b".",
];

/// Opens the file as a tree and as weights and reads all there is.
fn use_torch(bytes: Vec<u8>) -> bool {
    let length = bytes.len();
    let file = match TorchFile::from_bytes(bytes) {
        Ok(file) => file,
        Err(error) => return refused(&error),
    };
    walk(file.root(), length);
    let checkpoint = match Checkpoint::try_from(file) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return refused(&error),
    };
    for tensor in checkpoint.tensors() {
        let bytes = checkpoint.read(&tensor.name).unwrap();
        assert_eq!(bytes.len() as u64, tensor.byte_count());
        if let Ok(floats) = checkpoint.floats(&tensor.name) {
            let count = tensor.element_count();
            let mut piece = vec![0.0; count.min(7)];
            floats.read(count - piece.len(), &mut piece).unwrap();
        }
    }
    true
}

fn refused(error: &Error) -> bool {
    let message = error.to_string();
    assert!(!message.contains(char::is_control) && message.len() < 1500, "{message:?}");
    false
}

fn walk(value: Value<'_>, length: usize) {
    match value {
        Value::Dict(dict) => dict.iter().for_each(|(key, value)| {
            walk(key, length);
            walk(value, length);
        }),
        Value::List(items) | Value::Tuple(items) | Value::Set(items) => {
            items.iter().for_each(|item| walk(item, length))
        }
        Value::Tensor(tensor) => {
            let count: usize = tensor.shape().iter().product();
            let bytes = tensor.read().unwrap();
            assert_eq!(bytes.len(), count * tensor.dtype().size());
            assert!(bytes.len() <= length + (1 << 20));
            assert!(tensor.read_f32().is_ok_and(|numbers| numbers.len() == count) || tensor.dtype().size() <= 8);
        }
        _ => {}
    }
}

fn use_safetensors(bytes: Vec<u8>) -> bool {
    let file = match SafeTensors::from_bytes(bytes) {
        Ok(file) => file,
        Err(error) => return refused(&error),
    };
    for tensor in file.tensors() {
        assert_eq!(file.read(&tensor.name).unwrap().len() as u64, tensor.byte_count());
        let _ = (file.read_f32(&tensor.name), file.read_i64(&tensor.name));
    }
    true
}

/// The files of `tests/data` that end so, from torch itself.
fn data(ending: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(ending));
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// The pickles in [`data`]'s zip archives.
fn pickles() -> Vec<Vec<u8>> {
    let files = ["zip.ckpt", "embedding.pt", "hypernetwork.pt", "1.4.2.ckpt", "protocol4.ckpt"].map(data).concat();
    let mut pickles: Vec<Vec<u8>> = files.iter().filter_map(|file| pickle_in(file)).collect();
    assert!(pickles.len() > 6);
    // Their storages are not beside them; those of the following are, and they make up half.
    let theirs = pickles.len();
    pickles.push(weights());
    pickles.push(Pickle::new(2).dict().str("w").tensor(("ByteStorage", "1", 64), 5, &[3, 4], &[8, 2]).set().stop());
    pickles.push(Pickle::new(4).dict().mark().str("a").int(1).str("b").raw(b"](K\x01K\x02eu").stop());
    // A state dict with attributes, a parameter, a set, a NumPy number, a ParameterDict.
    let own = Pickle::new(2).dict().str("state_dict").global("collections", "OrderedDict").raw(b")R").str("w");
    let own =
        own.global("torch._utils", "_rebuild_parameter").mark().tensor(("HalfStorage", "2", 32), 1, &[2, 3], &[4, 1]);
    let own = own.raw(b"\x88").global("collections", "OrderedDict").raw(b")RtRs}").str("_metadata").raw(b"}sbs");
    let own = own.str("set").global("__builtin__", "set").raw(b"](K\x01K\x02e\x85Rs").str("best");
    let own =
        own.global("numpy.core.multiarray", "scalar").global("numpy", "dtype").str("f8").raw(b"\x89\x88\x87R(K\x03");
    let own = own.str("<").raw(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb").global("_codecs", "encode");
    let own = own.str("\0\0\0\0\0\0\0\0").str("latin1").raw(b"\x86R\x86Rs").str("params");
    let own = own.global("torch.nn.modules.container", "ParameterDict").raw(b")\x81}").str("_parameters").raw(b"}");
    pickles.push(own.str("*").tensor(("LongStorage", "3", 8), 7, &[2], &[0]).raw(b"ssbs").stop());
    let own = pickles[theirs..].to_vec();
    pickles.extend(own.iter().cycle().take(theirs).cloned());
    pickles
}

/// A pickle of one tensor of two numbers, in storage 0.
fn weights() -> Vec<u8> {
    Pickle::new(2).dict().str("w").tensor(("FloatStorage", "0", 2), 0, &[2], &[1]).set().stop()
}

fn pickle_in(archive: &[u8]) -> Option<Vec<u8>> {
    let find = |bytes: &[u8], word: &[u8]| bytes.windows(word.len()).position(|window| window == word);
    let start = find(archive, b"Z\x80").map(|at| at + 1)?;
    let len = find(&archive[start..], b".PK\x07\x08")? + 1;
    Some(archive[start..start + len].to_vec())
}

#[test]
fn pickles_that_are_wrong() {
    let storages: Vec<(String, Vec<u8>)> =
        (0..30).map(|n| (n.to_string(), vec![n as u8; if n == 0 { 8 } else { 64 }])).collect();
    let storages: Vec<(&str, &[u8])> = storages.iter().map(|(key, data)| (key.as_str(), data.as_slice())).collect();
    let corpus = pickles();
    let right = corpus.iter().filter(|pickle| use_torch(torch_zip(pickle.to_vec(), &storages))).count();
    assert!(right >= corpus.len() / 2, "only {right} of {} are right", corpus.len());
    mutator::run("pickle", &corpus, WORDS, |pickle| use_torch(torch_zip(pickle, &storages[..6])));
}

#[test]
fn legacy_files_that_are_wrong() {
    let mut corpus = data("legacy.ckpt");
    corpus.extend(data("legacy.pt"));
    corpus.push(torch_legacy(weights(), &[("0", 2, &[0; 8])]));
    mutator::run("legacy", &corpus, WORDS, use_torch);
}

#[test]
fn archives_that_are_wrong() {
    let mut corpus = data("zip.ckpt");
    corpus.extend(data("newer.ckpt"));
    corpus.extend(vec![torch_zip(weights(), &[("0", &[0; 8])]); 8]);
    let words: [&[u8]; 9] = [
        b"PK\x03\x04",
        b"PK\x01\x02",
        b"PK\x05\x06",
        b"PK\x06\x06",
        b"PK\x06\x07",
        b"PK\x07\x08",
        b"archive/",
        b"data.pkl",
        b"\xff\xff\xff\xff",
    ];
    mutator::run("zip", &corpus, &words, use_torch);
}

#[test]
fn safetensors_that_are_wrong() {
    let tensors = |names: &[(&'static str, DType, &[usize])]| {
        let tensors = names.iter().map(|&(name, dtype, shape)| {
            let bytes = shape.iter().product::<usize>() * dtype.size();
            (name, dtype, shape.to_vec(), Cow::from(vec![1; bytes]))
        });
        to_bytes(tensors, &BTreeMap::from([("format".into(), "pt".into())])).unwrap()
    };
    let corpus = [
        tensors(&[("a", DType::F32, &[2, 3]), ("b", DType::F16, &[1]), ("c", DType::Bool, &[0])]),
        tensors(&[("model.diffusion_model.input_blocks.0.0.weight", DType::BF16, &[4, 2]), ("x", DType::I64, &[])]),
        tensors(&[]),
    ];
    let words: [&[u8]; 14] = [
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\"a\"",
        b"\"dtype\":\"F32\"",
        b"\"shape\":[",
        b"\"data_offsets\":[0,1]",
        b"__metadata__",
        b"18446744073709551615",
        b"\\u0061",
        b"0",
    ];
    mutator::run("safetensors", &corpus, &words, use_safetensors);
}

#[test]
fn onnx_that_is_wrong() {
    use common::onnx::{bytes, model, node, number, tensor, varint};
    let numbers = [1.0f32, -2.0, 0.5, 8.0].map(f32::to_le_bytes).concat();
    let corpus = [
        model(&[
            node("Conv", &["x", "w", "b"], "y"),
            tensor("w", 1, &[2, 2], (9, &numbers)),
            node("Relu", &["y"], "z"),
        ]),
        model(&[tensor("half", 10, &[8], (9, &numbers)), tensor("f", 1, &[4, 1], (4, &numbers))]),
        model(&[
            tensor("axes", 7, &[2], (7, &[3, 4])),
            tensor("n", 7, &[2], (9, &numbers)),
            node("Add", &["", "n"], "y"),
        ]),
        model(&[bytes(5, &[number(2, 1), bytes(1, &[2, 2]), bytes(9, &numbers), bytes(8, b"w")].concat())]),
    ];
    let long = varint(u64::MAX);
    let words: [&[u8]; 10] = [
        b"\x0a\x01w",
        b"\x3a\x04",
        b"\x2a\x08",
        b"\x4a\x10",
        b"\x08\x02",
        b"\x10\x01",
        b"\x42\x01w",
        b"\x70\x01",
        b"\x22\x10",
        &long,
    ];
    mutator::run("onnx", &corpus, &words, |bytes| {
        let length = bytes.len();
        let file = match OnnxFile::from_bytes("x.onnx", bytes) {
            Ok(file) => file,
            Err(error) => return refused(&error),
        };
        let names = file.nodes().iter().flat_map(|node| node.inputs.iter().chain(&node.outputs));
        assert!(names.map(String::len).sum::<usize>() <= length);
        for tensor in file.weights().tensors() {
            let read = file.weights().read(&tensor.name).unwrap();
            assert!(read.len() as u64 == tensor.byte_count() && read.len() <= length);
            let _ = (file.weights().read_f32(&tensor.name), file.weights().read_i64(&tensor.name));
        }
        true
    });
}

#[test]
fn yaml_that_is_wrong() {
    let corpus = [
        b"model:  # a comment\n  base_learning_rate: 1.0e-04\n  params:\n    use_ema: False\n    key: \"jpg\"\n    ch_mult:\n    - 1\n    - -2\n".to_vec(),
        b"a: {warm_up_steps: [ 10000 ], f_start: [ 1.e-6 ], 'quoted': '7'}\nb:\n  - |\n    text\n  - >-\n    folded\n".to_vec(),
        b"---\n? key\n: value\n...\n".to_vec(),
    ];
    let words: [&[u8]; 16] = [
        b"- ",
        b": ",
        b"\n",
        b"\n  ",
        b"\t",
        b"#",
        b"[",
        b"{",
        b"}, ",
        b"&a ",
        b"*a",
        b"!!binary ",
        b"|2",
        b"'",
        b"\"\\x",
        b"---",
    ];
    mutator::run("yaml", &corpus, &words, |bytes| {
        let Err(error) = parse_yaml(&String::from_utf8_lossy(&bytes), "x") else { return true };
        assert!(!error.to_string().contains('\n'), "{error}");
        false
    });
}
