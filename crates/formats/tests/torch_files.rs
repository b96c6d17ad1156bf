//! Files that `torch.save` wrote, by several versions of torch and in each of its forms (`reference/torch_files.py`), against
//! what torch computes from them.

#![allow(clippy::unwrap_used)]

mod common;

use std::{collections::BTreeMap, fs, path::PathBuf};

use calotype_formats::{Checkpoint, DType, Extra, FileFormat, TorchFile, Value};
use common::{pickle::Pickle, torch_legacy, torch_zip};
use serde_json::Value as Json;

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn expected() -> BTreeMap<String, Json> {
    serde_json::from_slice(&fs::read(data("torch.json")).unwrap()).unwrap()
}

fn check_tensors(name: &str, checkpoint: &Checkpoint) {
    let expected = expected();
    assert!(checkpoint.tensors().map(|tensor| &tensor.name).eq(expected.keys()), "{name}");
    for (tensor, expected) in checkpoint.tensors().zip(expected.values()) {
        let name = format!("{name}: {}", tensor.name);
        assert_eq!(tensor.dtype.name(), expected["dtype"], "{name}");
        assert_eq!(serde_json::json!(tensor.shape), expected["shape"], "{name}");
        let values: Vec<f64> = expected["values"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect();
        let whole = checkpoint.read_f32(&tensor.name).unwrap();
        assert!(whole.iter().copied().eq(values.iter().map(|&n| n as f32)), "{name}: {whole:?}");
        if tensor.dtype == DType::F64 {
            let bytes: Vec<u8> = values.iter().flat_map(|n| n.to_le_bytes()).collect();
            assert_eq!(checkpoint.read(&tensor.name).unwrap(), bytes, "{name}");
        }
        assert_eq!(checkpoint.read(&tensor.name).unwrap().len() as u64, tensor.byte_count());
        // In pieces of every length.
        let floats = checkpoint.floats(&tensor.name).unwrap();
        for length in 1..=whole.len() {
            for start in 0..=whole.len() - length {
                let mut piece = vec![f32::NAN; length];
                floats.read(start, &mut piece).unwrap();
                assert_eq!(piece, whole[start..][..length], "{name}");
            }
        }
    }
    assert_eq!(checkpoint.read_i64("i64").unwrap(), [1 << 62, -1]);
    assert!(checkpoint.read_i64("f32").is_err());
}

#[test]
fn checkpoints_of_every_version_and_form() {
    let zip = FileFormat::TorchZip;
    for (name, format) in [
        ("torch-1.4.0-legacy.ckpt", FileFormat::TorchLegacy),
        ("torch-1.4.0-zip.ckpt", zip),
        ("torch-1.11.0-legacy.ckpt", FileFormat::TorchLegacy),
        ("torch-1.11.0-zip.ckpt", zip),
        ("torch-2.11.0-legacy.ckpt", FileFormat::TorchLegacy),
        ("torch-2.11.0-zip.ckpt", zip),
    ] {
        let checkpoint = Checkpoint::open(&data(name), "").unwrap();
        assert_eq!(checkpoint.format(), format);
        check_tensors(name, &checkpoint);
        let metadata: Vec<_> =
            checkpoint.metadata().iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let expected = [
            ("epoch", "3"),
            ("global_step", "470000"),
            ("learning_rate", "0.0001"),
            ("pytorch-lightning_version", "1.4.2"),
        ];
        assert_eq!(metadata, expected, "{name}");
        let extra = |name: &str, bytes| Extra { name: name.to_owned(), bytes };
        // Two moments of three numbers; since torch 1.12 the steps are tensors too.
        let optimizer = if name.contains("2.11") { 32 } else { 24 };
        let expected =
            [extra("big", 0), extra("optimizer_states", optimizer), extra("callbacks", 0), extra("others", 12)];
        assert_eq!(checkpoint.extras(), expected, "{name}");
    }
}

#[test]
fn a_plain_state_dict_of_protocol_4() {
    let checkpoint = Checkpoint::open(&data("torch-2.11.0-protocol4.ckpt"), "").unwrap();
    check_tensors("protocol 4", &checkpoint);
    assert!(checkpoint.metadata().is_empty() && checkpoint.extras().is_empty());
}

/// Types that only torch 2 has, and no checksums.
#[test]
fn newer_types_and_no_checksums() {
    let checkpoint = Checkpoint::open(&data("torch-2.11.0-newer.ckpt"), "").unwrap();
    assert_eq!(checkpoint.read_i64("u16").unwrap(), [1, 65535]);
    assert_eq!(checkpoint.get("f8").unwrap().dtype, DType::F8E4M3);
    assert_eq!(checkpoint.read("f8").unwrap(), [0x38, 0x40]);
    assert_eq!(checkpoint.read_f32("f8").unwrap(), [1.0, 2.0]);
}

/// What trainers put beside weights that is neither tensor, text nor number: read, and kept closed.
#[test]
fn harmless_names_are_data() {
    let shown = |pickle: Pickle| {
        let pickle = pickle.set().str("w").tensor(("FloatStorage", "0", 1), 0, &[1], &[1]).set().stop();
        let file = torch_zip(pickle, &[("0", &1.5_f32.to_le_bytes())]);
        let root = TorchFile::from_bytes(file.clone()).unwrap();
        let Value::Dict(dict) = root.root() else { panic!("{:?}", root.root()) };
        let weights = Checkpoint::try_from(TorchFile::from_bytes(file).unwrap()).unwrap();
        assert_eq!(weights.read_f32("w").unwrap(), [1.5]);
        format!("{:?}", dict.get("x").unwrap())
    };
    let x = || Pickle::new(2).dict().str("x");
    for (module, name, class) in [
        ("datetime", "datetime", "datetime.datetime"),
        ("datetime", "timedelta", "datetime.timedelta"),
        ("__builtin__", "complex", "builtins.complex"),
        ("__builtin__", "xrange", "builtins.range"),
        ("decimal", "Decimal", "decimal.Decimal"),
        ("fractions", "Fraction", "fractions.Fraction"),
        ("uuid", "UUID", "uuid.UUID"),
        ("torch.serialization", "_get_layout", "torch.serialization._get_layout"),
    ] {
        assert_eq!(shown(x().global(module, name).str("1").raw(b"\x85R")), format!("Object({class})"));
    }
    // With a state, as a UUID has it.
    assert_eq!(shown(x().global("uuid", "UUID").raw(b")\x81").dict().raw(b"b")), "Object(uuid.UUID)");
    // deque([1, 2], 3)
    assert_eq!(shown(x().global("collections", "deque").raw(b")K\x03\x86R(K\x01K\x02e")), "[Int(1), Int(2)]");
    assert_eq!(shown(x().global("torch", "per_tensor_affine")), "Global(torch.per_tensor_affine)");
}

/// Storages that were on a GPU, before torch 1.0.
#[test]
fn storages_of_a_gpu() {
    let pickle = Pickle::new(2).dict().str("w").tensor(("FloatStorage", "0", 1), 0, &[1], &[1]).set().stop();
    let storage = pickle.windows(19).position(|bytes| bytes == b"ctorch\nFloatStorage").unwrap();
    let mut on_gpu = pickle;
    on_gpu.splice(storage..storage + 6, *b"ctorch.cuda");
    let file = TorchFile::from_bytes(torch_zip(on_gpu, &[("0", &2.5_f32.to_le_bytes())])).unwrap();
    assert_eq!(Checkpoint::try_from(file).unwrap().read_f32("w").unwrap(), [2.5]);
}

/// Everything in a file that is no tensor of the model.
#[test]
fn the_tree_of_a_checkpoint() {
    for version in ["1.4.0", "1.11.0", "2.11.0"] {
        for form in ["legacy", "zip"] {
            let file = TorchFile::open(&data(&format!("torch-{version}-{form}.ckpt"))).unwrap();
            let Value::Dict(root) = file.root() else { panic!("{:?}", file.root()) };
            assert_eq!(root.len(), 9);
            assert!(matches!(root.get("big"), Some(Value::BigInt([0, 0, 0, 0, 0, 0, 0, 0, 0x40]))));
            let text = |name| format!("{:?}", root.get(name).unwrap());
            assert_eq!(
                text("callbacks"),
                r#"{Str("best"): Float(0.25), Str("count"): Int(3), Str("array"): Object(numpy.core.multiarray._reconstruct)}"#
            );
            let layer = r#"{Str("weight"): Tensor(F32 [1, 2]), Str("bias"): Tensor(F32 [1])}"#;
            assert_eq!(
                text("others"),
                format!(
                    r#"[None, Bool(true), Int(-1), Float(1.5), Str("text"), Bytes(5 bytes), Tuple[Int(1), Int(2)], {{Int(3)}}, {layer}, Tuple[Int(2), Int(3)], Global(torch.float16), Str("cpu"), {{Int(4): Int(2)}}, {{Str("a"): [Int(1)]}}]"#
                )
            );
        }
    }
}

#[test]
fn embeddings_of_textual_inversion() {
    let vectors: Vec<f32> = (0..8_u8).map(|n| f32::from(n) / 8.0).collect();
    for (name, old) in [
        ("torch-1.4.0-embedding.pt", true),
        ("torch-1.11.0-embedding.pt", true),
        ("torch-1.11.0-embedding-legacy.pt", true),
        ("torch-2.11.0-embedding.pt", true),
        ("torch-2.11.0-embedding-legacy.pt", true),
        ("embedding.pt", false),
    ] {
        let file = TorchFile::open(&data(name)).unwrap();
        let Value::Dict(root) = file.root() else { panic!("{name}: {:?}", file.root()) };
        let (Some(Value::Dict(tokens)), Some(Value::Dict(params))) =
            (root.get("string_to_token"), root.get("string_to_param"))
        else {
            panic!("{name}: {:?}", file.root())
        };
        match tokens.get("*") {
            Some(Value::Tensor(token)) if old => assert_eq!(token.read_i64().unwrap(), [265]),
            Some(Value::Int(265)) if !old => {}
            other => panic!("{name}: {other:?}"),
        }
        let Some(Value::Tensor(tensor)) = params.get("*") else { panic!("{name}") };
        assert_eq!((tensor.dtype(), tensor.shape()), (DType::F32, &[2, 4][..]));
        assert_eq!(tensor.read_f32().unwrap(), vectors);
        assert!(params.get("#").is_none());
        // As weights, by the path to them.
        let checkpoint = Checkpoint::open(&data(name), "").unwrap();
        assert_eq!(checkpoint.read_f32("string_to_param.*").unwrap(), vectors);
    }
    let checkpoint = Checkpoint::open(&data("embedding.pt"), "").unwrap();
    assert_eq!((checkpoint.metadata()["name"].as_str(), checkpoint.metadata()["step"].as_str()), ("style", "1000"));
}

#[test]
fn a_hypernetwork() {
    let file = TorchFile::open(&data("hypernetwork.pt")).unwrap();
    let Value::Dict(root) = file.root() else { panic!() };
    let mut sizes = Vec::new();
    for (key, value) in root.iter() {
        if let (Value::Int(size), Value::Tuple(pair)) = (key, value) {
            let first: Vec<f32> = pair
                .iter()
                .map(|module| {
                    let Value::Dict(module) = module else { panic!() };
                    let Some(Value::Tensor(weight)) = module.get("linear.0.weight") else { panic!() };
                    weight.read_f32().unwrap()[0]
                })
                .collect();
            sizes.push((size, first));
        }
    }
    assert_eq!(sizes, [(320, vec![0.5, 1.0]), (640, vec![1.5, 2.0])]);
    let checkpoint = Checkpoint::try_from(file).unwrap();
    assert_eq!(checkpoint.read_f32("640.1.linear.0.bias").unwrap(), [4.0, -4.0]);
    assert_eq!(checkpoint.metadata()["layer_structure.1"], "2");
}

/// As PyTorch Lightning 1.4.2 wrote it: a callback's class as a key, OmegaConf's classes among the parameters.
#[test]
fn a_checkpoint_of_lightning() {
    let checkpoint = Checkpoint::open(&data("lightning-1.4.2.ckpt"), "").unwrap();
    assert!(checkpoint.tensors().map(|tensor| tensor.name.as_str()).eq(["layer.bias", "layer.weight"]));
    let names: Vec<&str> = checkpoint.extras().iter().map(|extra| extra.name.as_str()).collect();
    assert_eq!(names, ["callbacks", "optimizer_states", "lr_schedulers", "hyper_parameters"]);
    let file = TorchFile::open(&data("lightning-1.4.2.ckpt")).unwrap();
    let Value::Dict(root) = file.root() else { panic!() };
    let Some(Value::Dict(callbacks)) = root.get("callbacks") else { panic!() };
    let keys: Vec<_> = callbacks.iter().map(|(key, _)| format!("{key:?}")).collect();
    assert_eq!(keys, ["Global(pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint)"]);
    let Some(Value::Dict(parameters)) = root.get("hyper_parameters") else { panic!() };
    assert!(matches!(parameters.get("config"), Some(Value::Object("omegaconf.dictconfig.DictConfig"))));
}

/// What trainers put beside the weights stays closed.
#[test]
fn objects_beside_the_weights() {
    let name = data("torch-2.11.0-objects.ckpt");
    let checkpoint = Checkpoint::open(&name, "").unwrap();
    assert_eq!(checkpoint.read_f32("w").unwrap(), [1.0, 2.0]);
    assert_eq!(checkpoint.metadata()["torch_version"], "2.11.0");
    let file = TorchFile::open(&name).unwrap();
    let Value::Dict(root) = file.root() else { panic!() };
    let parameters = format!("{:?}", root.get("hyper_parameters").unwrap());
    assert_eq!(
        parameters,
        r#"{Str("args"): Object(argparse.Namespace), Str("path"): Object(pathlib.PureWindowsPath)}"#
    );
    // As Lightning since 1.5 and Python 3.13 write them.
    let pickle =
        Pickle::new(2).dict().str("hyper_parameters").global("lightning_fabric.utilities.data", "AttributeDict");
    let pickle = pickle.raw(b")\x81(").str("path").global("pathlib._local", "PosixPath").str("a").raw(b"\x85Rus");
    let pickle = pickle.str("callbacks").dict();
    let pickle = pickle.global("pytorch_lightning.callbacks.early_stopping", "EarlyStopping").raw(b"}ss");
    let file = TorchFile::from_bytes(torch_zip(pickle.stop(), &[])).unwrap();
    assert_eq!(
        format!("{:?}", file.root()),
        r#"{Str("hyper_parameters"): {Str("path"): Object(pathlib.PosixPath)}, Str("callbacks"): {Global(pytorch_lightning.callbacks.early_stopping.EarlyStopping): {}}}"#
    );
}

#[test]
fn tensors_that_are_not_plain_are_refused_by_name() {
    let error = |name| Checkpoint::open(&data(name), "").err().unwrap().to_string();
    for (name, what) in [
        ("torch-2.11.0-quantized.pt", "a quantized tensor (torch._utils._rebuild_qtensor)"),
        ("torch-2.11.0-sparse.pt", "a sparse tensor (torch._utils._rebuild_sparse_tensor)"),
    ] {
        let expected = format!(
            "{}: it holds {what}, which is not supported: load it with torch, make it a plain tensor and save it as safetensors",
            data(name).display()
        );
        assert_eq!(error(name), expected);
    }
}

/// Any bit of any tensor, and of none of the model's.
#[test]
fn a_changed_bit_is_told_by_the_tensors_name() {
    let whole = fs::read(data("torch-2.11.0-zip.ckpt")).unwrap();
    let checkpoint = |bytes: Vec<u8>| Checkpoint::try_from(TorchFile::from_bytes(bytes).unwrap()).unwrap();
    let sound = checkpoint(whole.clone());
    let mut read = 0;
    sound
        .check_sums(|bytes| {
            read += bytes;
            true
        })
        .unwrap();
    assert!(read == sound.summed_bytes() && read > 500, "{read}");
    assert!(sound.check_sums(|_| false).is_err());
    let place = |numbers: &[f32]| {
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        whole.windows(bytes.len()).position(|window| window == bytes).unwrap()
    };
    for (numbers, told) in [
        (&[1.0, -2.5][..], "tensor \"f32\": its data does not match its checksum"),
        (&[0.5, 0.75], "tensor \"parameter\": its data does not match its checksum"),
    ] {
        let mut changed = whole.clone();
        changed[place(numbers)] ^= 1;
        let error = checkpoint(changed).check_sums(|_| true).unwrap_err().to_string();
        assert!(error.contains(told) && error.ends_with("download it again"), "{error}");
    }
    // Without checksums there is nothing to compare.
    assert_eq!(Checkpoint::open(&data("torch-2.11.0-newer.ckpt"), "").unwrap().summed_bytes(), 0);
    assert_eq!(Checkpoint::open(&data("torch-2.11.0-legacy.ckpt"), "").unwrap().summed_bytes(), 0);
}

/// The ending says nothing: the content does.
#[test]
fn a_file_of_another_ending_is_read_as_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["torch-1.4.0-legacy.ckpt", "torch-2.11.0-zip.ckpt"] {
        for renamed in ["model.safetensors", "model.vae.pt", "model"] {
            let path = folder.path().join(renamed);
            fs::copy(data(name), &path).unwrap();
            check_tensors(renamed, &Checkpoint::open(&path, "").unwrap());
        }
    }
    // A safetensors header of 640 bytes begins as a pickle of protocol 2 does.
    let mut header = br#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#.to_vec();
    header.resize(640, b' ');
    let path = folder.path().join("model.ckpt");
    fs::write(&path, [&640_u64.to_le_bytes()[..], &header, &[9]].concat()).unwrap();
    assert_eq!(Checkpoint::open(&path, "").unwrap().read("a").unwrap(), [9]);
}

#[test]
fn ten_thousand_extra_keys() {
    let mut pickle = Pickle::new(2).dict();
    for n in 0..10_000 {
        pickle = pickle.str(&format!("extra.{n}")).tensor(("FloatStorage", &n.to_string(), 1), 0, &[1], &[1]).set();
    }
    let pickle = pickle.str("w").tensor(("FloatStorage", "w", 2), 0, &[2], &[1]).set().stop();
    let mut keys: Vec<String> = (0..10_000).map(|n| n.to_string()).collect();
    keys.push("w".to_owned());
    let numbers: Vec<u8> = [1.0_f32, 2.0].iter().flat_map(|n| n.to_le_bytes()).collect();
    let storages = keys.iter().map(|key| (key.as_str(), if key == "w" { 2_usize } else { 1 })).collect::<Vec<_>>();
    let zip: Vec<(&str, &[u8])> = storages.iter().map(|&(key, n)| (key, &numbers[..4 * n])).collect();
    let legacy: Vec<(&str, u64, &[u8])> = storages.iter().map(|&(key, n)| (key, n as u64, &numbers[..4 * n])).collect();
    for file in [torch_zip(pickle.clone(), &zip), torch_legacy(pickle, &legacy)] {
        let checkpoint = Checkpoint::try_from(TorchFile::from_bytes(file).unwrap()).unwrap();
        assert_eq!(checkpoint.tensors().len(), 10_001);
        assert_eq!(checkpoint.read_f32("w").unwrap(), [1.0, 2.0]);
        assert_eq!(checkpoint.read_f32("extra.9999").unwrap(), [1.0]);
    }
}

/// What very old files have: a part of a storage as a storage.
#[test]
fn a_view_of_a_storage() {
    let pickle = Pickle::new(2).dict().str("w").global("torch._utils", "_rebuild_tensor").mark();
    let pickle = pickle.mark().str("storage").global("torch", "ByteStorage").str("0").str("cpu").int(6);
    let pickle = pickle.mark().str("view").int(2).int(3).raw(b"ttQ").int(1).ints(&[2]).ints(&[1]).raw(b"tRs");
    let file = torch_legacy(pickle.stop(), &[("0", 6, &[0, 1, 2, 3, 4, 5])]);
    let checkpoint = Checkpoint::try_from(TorchFile::from_bytes(file).unwrap()).unwrap();
    assert_eq!(checkpoint.read("w").unwrap(), [3, 4]);
}
