//! The hostile files of `attacks/README.md`, built here: each must be refused with exactly the message given.

use std::{borrow::Cow, collections::BTreeMap, fs, path::Path};

use calotype_formats::{Checkpoint, DType, SafeTensors, to_bytes};

/// A file of this header and as many zero bytes of data.
fn file(header: impl AsRef<[u8]>, data: usize) -> Vec<u8> {
    let header = header.as_ref();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.resize(bytes.len() + data, 0);
    bytes
}

/// A header entry of dtype U8.
fn u8s(name: &str, len: i64, begin: i64, end: i64) -> String {
    format!(r#""{name}":{{"dtype":"U8","shape":[{len}],"data_offsets":[{begin},{end}]}}"#)
}

/// An entry of the metadata.
fn note(n: usize) -> String {
    format!("\"{n}\":\"\"")
}

/// A header entry of a tensor of no elements.
fn empty(n: usize) -> String {
    u8s(&format!("t{n}"), 0, 0, 0)
}

/// A file with two bytes of data and one tensor of this dtype and shape that claims them.
fn claim(dtype: &str, shape: &str) -> Vec<u8> {
    file(format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,2]}}}}"#), 2)
}

/// `(name in attacks/README.md, file, message after the file's name)`
fn attacks() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let two = |a: String, b: String| format!("{{{a},{b}}}");
    vec![
        // The frame
        ("empty", vec![], "the file has 0 bytes, a safetensors file at least 10: download it again"),
        ("short", vec![2, 0, 0], "the file has 3 bytes, a safetensors file at least 10: download it again"),
        (
            "header-zero",
            file("", 0),
            "the header does not begin with `{`: this is no safetensors file, or a damaged one",
        ),
        (
            "header-huge",
            file("{}", 0).into_iter().enumerate().map(|(i, b)| if i < 8 { 255 } else { b }).collect(),
            "the header length is 18446744073709551615 bytes, at most 100000000 are allowed: this is no safetensors file, or a damaged one",
        ),
        (
            "header-over-cap",
            [100_000_001_u64.to_le_bytes().as_slice(), b"{}"].concat(),
            "the header length is 100000001 bytes, at most 100000000 are allowed: this is no safetensors file, or a damaged one",
        ),
        (
            "header-past-end",
            [100_000_000_u64.to_le_bytes().as_slice(), b"{}"].concat(),
            "the header needs 100000000 bytes, the file has 2 after its length field: download it again",
        ),
        (
            "trailing-bytes",
            file("{}", 3),
            "the file of 13 bytes is longer than its header describes, which is 10: do not use it",
        ),
        (
            "truncated-data",
            file(format!("{{{}}}", u8s("a", 9, 0, 9)), 8),
            "the file of 69 bytes is cut off, its header describes 70: download it again",
        ),
        // Other files
        (
            "zip",
            b"PK\x03\x04........".to_vec(),
            "this is a zip archive (perhaps a PyTorch .ckpt or .pt), not a safetensors file",
        ),
        (
            "lfs-pointer",
            b"version https://git-lfs.github.com/spec/v1\n".to_vec(),
            "this is a Git LFS pointer (run `git lfs pull` to get the weights), not a safetensors file",
        ),
        (
            "web-page",
            b"<!DOCTYPE html><html>".to_vec(),
            "this is a web page (the download failed), not a safetensors file",
        ),
        // The header's text
        ("utf8-invalid", file(b"{\"\xff\":1}", 0), "the header is not UTF-8 at its byte 2: download it again"),
        (
            "json-array",
            file("[]", 0),
            "the header does not begin with `{`: this is no safetensors file, or a damaged one",
        ),
        (
            "json-array-entry",
            file(r#"{"a":["U8",[1],[0,1]]}"#, 1),
            r#"tensor "a": the header is not valid: invalid type: sequence, expected an object at line 1 column 5: do not use this file"#,
        ),
        (
            "json-space-first",
            file(" {}", 0),
            "the header does not begin with `{`: this is no safetensors file, or a damaged one",
        ),
        (
            "json-cut",
            file(r#"{"a":{"dtype""#, 0),
            r#"tensor "a": the header is not valid: EOF while parsing an object at line 1 column 13: download it again"#,
        ),
        (
            "json-second-value",
            file("{}{}", 0),
            "the header is not valid: trailing characters at line 1 column 3: download it again",
        ),
        (
            "json-deep",
            file(format!("{{\"a\":{}", "{\"dtype\":".repeat(100_000)), 0),
            r#"tensor "a": the header is not valid: invalid type: map, expected a string at line 1 column 14: do not use this file"#,
        ),
        (
            "json-deep-ignored",
            file(format!("{{\"a\":{{\"x\":{}", "[".repeat(1_000_000)), 0),
            r#"tensor "a": the header is not valid: EOF while parsing a list at line 1 column 1000010: download it again"#,
        ),
        (
            "json-lone-surrogate",
            file(r#"{"\ud800":1}"#, 0),
            "the header is not valid: unexpected end of hex escape at line 1 column 9: download it again",
        ),
        // Duplicate keys
        (
            "duplicate-name",
            file(two(u8s("a", 1, 0, 1), u8s("a", 1, 1, 2)), 2),
            r#"tensor "a": named twice in the header: do not use this file"#,
        ),
        (
            "duplicate-name-escaped",
            file(two(u8s("a", 1, 0, 1), u8s("\\u0061", 1, 1, 2)), 2),
            r#"tensor "a": named twice in the header: do not use this file"#,
        ),
        (
            "duplicate-field",
            file(r#"{"a":{"dtype":"U8","dtype":"F16","shape":[1],"data_offsets":[0,2]}}"#, 2),
            r#"tensor "a": the header is not valid: duplicate field `dtype` at line 1 column 26: do not use this file"#,
        ),
        (
            "duplicate-metadata",
            file(r#"{"__metadata__":{},"__metadata__":{}}"#, 0),
            r#"the header is not valid: __metadata__ named twice at line 1 column 37: do not use this file"#,
        ),
        (
            "duplicate-metadata-key",
            file(r#"{"__metadata__":{"k":"1","k":"2"}}"#, 0),
            r#"the header is not valid: key "k" named twice at line 1 column 33: do not use this file"#,
        ),
        (
            "metadata-not-text",
            file(r#"{"__metadata__":{"k":{"l":"m"}}}"#, 0),
            r#"the header is not valid: invalid type: map, expected a string at line 1 column 21: do not use this file"#,
        ),
        // More than anyone needs
        (
            "tensors-many",
            file(format!("{{{}}}", (0..100_001).map(empty).collect::<Vec<_>>().join(",")), 0),
            "more than 100000 tensors, as no model has: do not use this file",
        ),
        (
            "metadata-many",
            file(format!(r#"{{"__metadata__":{{{}}}}}"#, (0..100_001).map(note).collect::<Vec<_>>().join(",")), 0),
            "the header is not valid: more than 100000 entries at line 1 column 1088919: do not use this file",
        ),
        // Offsets
        (
            "overlap",
            file(two(u8s("a", 4, 0, 4), u8s("b", 4, 2, 6)), 6),
            r#"tensor "b": data at 2 overlaps another tensor's, expected at 4: do not use this file"#,
        ),
        (
            "overlap-same",
            file(two(u8s("a", 4, 0, 4), u8s("b", 4, 0, 4)), 4),
            r#"tensor "b": data at 0 overlaps another tensor's, expected at 4: do not use this file"#,
        ),
        (
            "hole",
            file(two(u8s("a", 4, 0, 4), u8s("b", 1, 5, 6)), 6),
            r#"tensor "b": data at 5 leaves a hole before it, expected at 4: do not use this file"#,
        ),
        (
            "hole-first",
            file(format!("{{{}}}", u8s("a", 1, 1, 2)), 2),
            r#"tensor "a": data at 1 leaves a hole before it, expected at 0: do not use this file"#,
        ),
        (
            "offset-negative",
            file(format!("{{{}}}", u8s("a", 1, -1, 0)), 0),
            r#"tensor "a": the header is not valid: invalid value: integer `-1`, expected u64 at line 1 column 49: do not use this file"#,
        ),
        (
            "offset-not-integer",
            file(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1.0]}}"#, 1),
            r#"tensor "a": the header is not valid: invalid type: floating point `1.0`, expected u64 at line 1 column 52: do not use this file"#,
        ),
        (
            "offset-three",
            file(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}"#, 1),
            r#"tensor "a": the header is not valid: trailing characters at line 1 column 52: download it again"#,
        ),
        (
            "offset-reversed",
            file(format!("{{{}}}", u8s("a", 1, 1, 0)), 1),
            r#"tensor "a": data ends at 0, before its beginning at 1: do not use this file"#,
        ),
        (
            "offset-past-end",
            file(format!("{{{}}}", u8s("a", i64::MAX, 0, i64::MAX)), 0),
            "the file of 97 bytes is cut off, its header describes 9223372036854775904: download it again",
        ),
        (
            "offset-overflow",
            file(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[18446744073709551614,18446744073709551615]}}"#, 1),
            r#"tensor "a": data offsets 18446744073709551614..18446744073709551615 are past the end of any file: do not use this file"#,
        ),
        // Shape and dtype
        (
            "shape-mismatch",
            claim("F32", "[2]"),
            r#"tensor "a": shape [2] of F32 takes 8 bytes, its data offsets hold 2: do not use this file"#,
        ),
        (
            "dtype-mismatch",
            claim("I64", "[]"),
            r#"tensor "a": shape [] of I64 takes 8 bytes, its data offsets hold 2: do not use this file"#,
        ),
        (
            "shape-overflow",
            claim("F16", "[4294967296,4294967296,1]"),
            r#"tensor "a": shape [4294967296, 4294967296, 1] of F16 is larger than any memory: do not use this file"#,
        ),
        (
            "shape-overflow-to-size",
            // 2^63 + 1 elements of 2 bytes wrap around to the 2 bytes there are.
            claim("F16", "[9223372036854775809]"),
            r#"tensor "a": shape [9223372036854775809] of F16 is larger than any memory: do not use this file"#,
        ),
        (
            "shape-number-overflow",
            claim("F16", "[18446744073709551616]"),
            r#"tensor "a": the header is not valid: invalid type: floating point `1.8446744073709552e+19`, expected usize at line 1 column 49: do not use this file"#,
        ),
        (
            "shape-rank",
            claim("F16", &format!("[{}1]", "1,".repeat(1_000_000))),
            r#"tensor "a": the header is not valid: a shape of more than 64 dimensions at line 1 column 159: do not use this file"#,
        ),
        (
            "shape-missing",
            file(r#"{"a":{"dtype":"U8","data_offsets":[0,1]}}"#, 1),
            r#"tensor "a": the header is not valid: missing field `shape` at line 1 column 40: do not use this file"#,
        ),
        (
            "dtype-unknown",
            claim("F99", "[1]"),
            r#"tensor "a": dtype "F99" is unknown: convert the file to F32, F16 or BF16"#,
        ),
        (
            "dtype-sub-byte",
            claim("F4", "[4]"),
            r#"tensor "a": dtype "F4" is unknown: convert the file to F32, F16 or BF16"#,
        ),
        // Names made to deceive the reader of a message
        (
            "name-with-newline",
            file(r#"{"a\nerror: all is well\u001b[2J":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}}"#, 1),
            r#"tensor "a\nerror: all is well\u{1b}[2J": shape [2] of U8 takes 2 bytes, its data offsets hold 1: do not use this file"#,
        ),
    ]
}

fn in_memory(bytes: Vec<u8>) -> String {
    SafeTensors::from_bytes(bytes).err().expect("a hostile file was taken").to_string()
}

/// Each of them.
pub(crate) fn files() -> Vec<(String, Vec<u8>)> {
    attacks().into_iter().map(|(name, file, _)| (name.to_owned(), file)).collect()
}

/// Each index, in a folder `NAME/model` of its own in `folder` with shards beside it and one outside.
pub(crate) fn write_indices(folder: &Path) {
    for (name, index, _) in INDEX_ATTACKS {
        let folder = folder.join(name);
        write_shards(&folder);
        fs::write(folder.join("model/weights.safetensors.index.json"), index).unwrap();
    }
}

#[test]
fn every_hostile_file_gets_its_message() {
    let mut wrong = Vec::new();
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, expected) in attacks() {
        let path = folder.path().join(name);
        fs::write(&path, &bytes).unwrap();
        let on_disk = SafeTensors::open(&path).err().unwrap_or_else(|| panic!("{name} was taken")).to_string();
        for (message, label) in [(on_disk, path.display().to_string()), (in_memory(bytes), "weights in memory".into())]
        {
            if message != format!("{label}: {expected}") {
                wrong.push(format!("{name}: {message}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_file_cut_at_any_byte_is_refused() {
    let tensors = [("a", DType::F32, vec![2], Cow::from(vec![1; 8])), ("b", DType::U8, vec![3], Cow::from(vec![2; 3]))];
    let whole = to_bytes(tensors, &BTreeMap::from([("format".into(), "pt".into())])).unwrap();
    SafeTensors::from_bytes(whole.clone()).unwrap();
    for len in 0..whole.len() {
        let message = in_memory(whole[..len].to_vec());
        assert!(message.ends_with(": download it again"), "{len}: {message}");
        assert!(
            message.contains(&format!(" {len} ")) || message.contains(&format!(" {} ", len.wrapping_sub(8))),
            "{len}: {message}"
        );
    }
}

#[test]
fn a_long_name_or_value_is_cut_in_the_message() {
    let long = "é".repeat(1_000_000);
    let name = file(format!("{{{}}}", u8s(&long, 2, 0, 1)), 1);
    let value = file(format!(r#"{{"a":{{"dtype":"U8","shape":["{long}"],"data_offsets":[0,1]}}}}"#), 1);
    let dtype = claim(&long, "[1]");
    for message in [name, value, dtype].map(in_memory) {
        assert!(message.len() < 600 && message.contains('…'), "{} bytes: {message}", message.len());
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let message =
        |path: &Path| SafeTensors::open(path).err().unwrap().to_string().replace(&path.display().to_string(), "X");
    assert_eq!(message(folder.path()), "X: this is a folder: give the safetensors file in it");
    let missing = message(&folder.path().join("missing"));
    assert!(missing.starts_with("X: cannot open the file: "), "{missing}");
    #[cfg(unix)]
    assert_eq!(message(Path::new("/dev/zero")), "X: cannot open the file: it is a device, not a regular file");
}

#[test]
fn a_file_cut_after_it_was_opened_is_an_error_when_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    fs::write(&path, file(format!("{{{}}}", u8s("a", 1000, 0, 1000)), 1000)).unwrap();
    let tensors = SafeTensors::open(&path).unwrap();
    assert_eq!(tensors.read("a").unwrap().len(), 1000);
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(500).unwrap();
    let floats = tensors.floats("a").unwrap();
    floats.read(0, &mut [0.0; 400]).unwrap();
    for message in [
        tensors.read("a").err().unwrap().to_string(),
        tensors.read_f32("a").err().unwrap().to_string(),
        floats.read(400, &mut [0.0; 101]).err().unwrap().to_string(),
    ] {
        assert!(
            message
                .contains(r#": tensor "a": cannot read the bytes its header promises (was it changed while in use?)"#),
            "{message}"
        );
    }
}

#[test]
fn a_tensor_asked_for_wrongly_is_an_error() {
    let file = SafeTensors::from_bytes(claim("F8_E8M0", "[2]")).unwrap();
    assert_eq!(file.read("a").unwrap(), [0, 0]);
    let message = |result: calotype_formats::Result<()>| result.unwrap_err().to_string();
    assert_eq!(
        message(file.read("b").map(drop)),
        r#"weights in memory: tensor "b" is missing: use a checkpoint of the model that was asked for"#
    );
    assert_eq!(
        message(file.read_f32("a").map(drop)),
        r#"weights in memory: tensor "a": F8_E8M0 cannot be converted to F32: store the tensor in a dtype that can"#
    );
    assert_eq!(
        message(file.read_i64("a").map(drop)),
        r#"weights in memory: tensor "a": F8_E8M0 cannot be converted to I64: store the tensor in a dtype that can"#
    );
}

/// `(name in attacks/README.md, index, message after the index' name or a shard's)`
const INDEX_ATTACKS: &[(&str, &str, &str)] = &[
    (
        "index-parent",
        r#"{"weight_map":{"a":"../outside.safetensors"}}"#,
        r#"shard "../outside.safetensors" is not the plain name of a .safetensors or .bin file: do not use this index"#,
    ),
    (
        "index-absolute",
        r#"{"weight_map":{"a":"/outside.safetensors"}}"#,
        r#"shard "/outside.safetensors" is not the plain name of a .safetensors or .bin file: do not use this index"#,
    ),
    (
        "index-backslash",
        r#"{"weight_map":{"a":"..\\outside.safetensors"}}"#,
        r#"shard "..\\outside.safetensors" is not the plain name of a .safetensors or .bin file: do not use this index"#,
    ),
    (
        "index-drive",
        r#"{"weight_map":{"a":"C:outside.safetensors"}}"#,
        r#"shard "C:outside.safetensors" is not the plain name of a .safetensors or .bin file: do not use this index"#,
    ),
    (
        "index-nul",
        r#"{"weight_map":{"a":"x\u0000.safetensors"}}"#,
        r#"shard "x\0.safetensors" is not the plain name of a .safetensors or .bin file: do not use this index"#,
    ),
    (
        "index-other-file",
        r#"{"weight_map":{"a":"x.h5"}}"#,
        r#"shard "x.h5" is not the plain name of a .safetensors or .bin file: do not use this index"#,
    ),
    (
        "index-duplicate",
        r#"{"weight_map":{"a":"1.safetensors","a":"2.safetensors"}}"#,
        r#"the index is not valid: key "a" named twice at line 1 column 55: do not use this index"#,
    ),
    (
        "index-no-map",
        r#"{"metadata":{"total_size":1}}"#,
        "the index is not valid: missing field `weight_map` at line 1 column 29: do not use this index",
    ),
    (
        "index-deep",
        "[[[[[[[[",
        "the index is not valid: invalid type: sequence, expected an object at line 1 column 0: do not use this index",
    ),
    (
        "index-wrong-shard",
        r#"{"weight_map":{"a":"1.safetensors","b":"1.safetensors"}}"#,
        r#"tensor "b": not in its shard "1.safetensors": download index and shards again"#,
    ),
    (
        "index-unlisted",
        r#"{"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}"#,
        r#"tensor "c": in this shard, but not by the index: download index and shards again"#,
    ),
    (
        "index-twice",
        r#"{"weight_map":{"a":"1.safetensors","b":"2.safetensors","c":"3.safetensors"}}"#,
        r#"tensor "c": in this shard, but not by the index: download index and shards again"#,
    ),
];

/// What an index may name, in `folder/model`, and what it may not.
fn write_shards(folder: &Path) {
    fs::create_dir_all(folder.join("model")).unwrap();
    for (path, tensors) in [("model/1", "a"), ("model/2", "bc"), ("model/3", "c"), ("outside", "a")] {
        let entries: Vec<_> =
            tensors.char_indices().map(|(i, c)| u8s(&c.to_string(), 1, i as i64, i as i64 + 1)).collect();
        let bytes = file(format!("{{{}}}", entries.join(",")), tensors.len());
        fs::write(folder.join(path).with_extension("safetensors"), bytes).unwrap();
    }
}

#[test]
fn every_hostile_index_gets_its_message() {
    let folder = tempfile::tempdir().unwrap();
    write_shards(folder.path());
    let inside = folder.path().join("model");
    for (name, index, expected) in INDEX_ATTACKS {
        fs::write(inside.join("weights.safetensors.index.json"), index).unwrap();
        let message =
            Checkpoint::open(&inside, "weights").err().unwrap_or_else(|| panic!("{name} was taken")).to_string();
        assert!(
            message.starts_with(&inside.display().to_string()) && message.ends_with(&format!(": {expected}")),
            "{name}: {message}"
        );
    }
}

#[test]
fn an_index_of_too_many_tensors_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let entries: Vec<String> = (0..100_001).map(|n| format!(r#""{n}":"1.safetensors""#)).collect();
    let index = folder.path().join("weights.safetensors.index.json");
    fs::write(&index, format!(r#"{{"weight_map":{{{}}}}}"#, entries.join(","))).unwrap();
    let message = Checkpoint::open(folder.path(), "weights").err().unwrap().to_string();
    assert!(message.contains("the index is not valid: more than 100000 entries"), "{message}");
    assert!(message.ends_with(": do not use this index"), "{message}");
}

#[test]
fn an_index_may_hold_what_python_writes_for_no_number() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("1.safetensors"), file(format!("{{{}}}", u8s("a", 1, 0, 1)), 1)).unwrap();
    let index = r#"{"metadata":{"loss":NaN,"best":-Infinity},"weight_map":{"a":"1.safetensors"}}"#;
    fs::write(folder.path().join("weights.safetensors.index.json"), index).unwrap();
    assert_eq!(Checkpoint::open(folder.path(), "weights").unwrap().read("a").unwrap(), [0]);
}

/// The README lists each attack of this file, and no other.
#[test]
fn the_readme_lists_every_attack() {
    assert_eq!(crate::common::listed("safetensors"), attacks().iter().map(|attack| attack.0).collect::<Vec<_>>());
    let index: Vec<&str> = INDEX_ATTACKS.iter().map(|attack| attack.0).collect();
    assert_eq!(crate::common::listed("Index of shards (`*.safetensors.index.json`)"), index);
}
