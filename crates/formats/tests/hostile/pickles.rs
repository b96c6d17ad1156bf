//! The hostile pickles of `attacks/README.md` that are not about names: broken ones, ones that unfold, ones that lie about
//! tensors. Each must be refused with exactly the message given.

use crate::common::{listed, pickle::Pickle, torch_legacy, torch_zip, verdict};

const LIMIT: &str = ", as no checkpoint does: do not load this file";
const DAMAGED: &str = ": download the file again";

fn proto(version: u8) -> Pickle {
    Pickle::new(version)
}

/// A dict of one tensor with these numbers, over a storage of two `f32`.
fn tensor(offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    proto(2).dict().str("w").tensor(("FloatStorage", "0", 2), offset, shape, strides).set().stop()
}

fn limit(what: &str) -> String {
    format!("refused: its pickle {what}{LIMIT}")
}

fn damaged(what: &str) -> String {
    format!("the pickle is damaged: {what}{DAMAGED}")
}

fn not_inside(shape: &str, strides: &str, offset: &str) -> String {
    damaged(&format!(
        "a tensor of shape {shape}, strides {strides} and offset {offset} is not inside its storage \"0\" of 2 elements"
    ))
}

fn asks_for(name: &str) -> String {
    format!(
        "refused: it asks for {name}, which is none of the names that weights are made of: do not load this file, here or elsewhere; look for a safetensors copy of the model"
    )
}

/// `levels` lists, each of which holds the one before `width` times, by `again` (an opcode that gives the last one again).
fn laughs(levels: usize, width: usize, memo: bool) -> Vec<u8> {
    let mut pickle = (0..levels).fold(proto(4), |pickle, _| pickle.mark()).str("lol");
    for level in 0..levels {
        if memo {
            pickle = pickle.raw(&[b'q', level as u8]);
        }
        for _ in 1..width {
            pickle = if memo { pickle.raw(&[b'h', level as u8]) } else { pickle.raw(b"2") };
        }
        pickle = pickle.raw(b"l");
    }
    pickle.stop()
}

/// A frame of `declared` bytes that really holds `body`.
fn framed(body: &[u8], declared: u64) -> Vec<u8> {
    [b"\x80\x05\x95".as_slice(), &declared.to_le_bytes(), body, b"."].concat()
}

/// `(name in attacks/README.md, pickle, message after the file's name)`. Each has storage 0 of 8 bytes beside it.
fn attacks() -> Vec<(&'static str, Vec<u8>, String)> {
    let not_a_name =
        || "refused: it asks for a name that is no text, as no checkpoint does: do not load this file".to_owned();
    let deep = |open: &[u8], close: &[u8], n: usize| {
        [b"\x80\x02".as_slice(), &open.repeat(n), &close.repeat(n), b"."].concat()
    };
    vec![
        // picklescan's files
        ("picklescan-malicious0", b"c__builtin__\nglobals\n(tRp100\n0c__builtin__\ncompile\n(S'open(\"x\")'\nS''\nS'exec'\ntRp101\n0.".to_vec(), asks_for("__builtin__.globals")),
        ("picklescan-malicious10", b"(S'raise RuntimeError(1)'\ni__builtin__\nexec\n.".to_vec(), asks_for("__builtin__.exec")),
        ("picklescan-malicious11", b"Vos\np2\n0Vsystem\np3\n0Vtorch\np0\n0VLongStorage\np1\n0g2\ng3\n\x93(Vcat flag.txt\ntR.".to_vec(), asks_for("os.system")),
        ("picklescan-malicious12", proto(4).stack_global("operator", "attrgetter").str("system").raw(b"\x85R").stack_global("builtins", "__import__").str("os").raw(b"\x85R\x85R").stop(), asks_for("operator.attrgetter")),
        ("GHSA-9gvj-pp9x-gcfr", b"S'os'\nS'system'\n\x93S'ls'\n\x85R.".to_vec(), asks_for("os.system")),
        ("memo-order", proto(4).str("os").raw(b"q\x050").str("system").raw(b"r\x00\x01\x00\x000h\x05j\x00\x01\x00\x00\x93").stop(), asks_for("os.system")),
        ("memo-empty", proto(4).str("ab").raw(b"\x94h\x03h\x00\x93").stop(), damaged("it takes from its memo what was not put there")),
        ("picklescan-keyerror", proto(4).global("os", "system").str("echo pwned").raw(b"\x85R0\x8c\x02os\x94h\x03h\x00\x93K\x42").stop(), asks_for("os.system")),
        ("picklescan-type-confusion", proto(4).raw(b"J\x2a\0\0\0\x94\x8c\x02os\x94h\x00h\x01\x93").stop(), not_a_name()),
        ("picklescan-invalid-bytes", b"Vos\np2\n0Vsystem\np3\n0g2\ng3\n\x93(Vcat flag.txt\ntR.\n\n\t\t".to_vec(), asks_for("os.system")),
        ("picklescan-broken", b"cbuiltins\nexec\n(X>\n".to_vec(), asks_for("builtins.exec")),
        ("picklescan-not-a-pickle", b"cmod\n\xf8\n".to_vec(), damaged("a name is not UTF-8")),
        ("picklescan-second", [proto(2).list().stop(), proto(2).global("requests.api", "get").stop()].concat(), "the pickle goes on after its end: do not load this file".into()),
        // fickling's files
        ("GHSA-mxhj-88fx-4pcv", proto(4).mark().stack_global("smtplib", "SMTP").str("127.0.0.1").raw(b"o0N").stop(), asks_for("smtplib.SMTP")),
        ("fickling-pop-mark", proto(4).mark().stack_global("numpy", "poly1d").raw(b"\x941N").stop(), asks_for("numpy.poly1d")),
        ("fickling-125", proto(4).global("operator", "itemgetter").raw(b"q\x000").stop(), asks_for("operator.itemgetter")),
        ("fickling-188", proto(4).raw(b"t").stop(), damaged("it takes more values than there are")),
        ("fickling-196-list", proto(2).raw(b"]\x94g0\na").stop(), limit("holds a value that contains itself")),
        ("fickling-196-dict", proto(2).raw(b"}\x94").str("self").raw(b"g0\ns").stop(), limit("holds a value that contains itself")),
        ("fickling-cyclic-tuple", proto(2).raw(b"]q\x00h\x00\x85a").stop(), limit("holds a value that contains itself")),
        ("fickling-dict-key", proto(2).raw(b"}\x94g0\n").str("value").raw(b"s").stop(), damaged("it has a dict as a key")),
        ("fickling-set-item", proto(4).raw(b"\x8f\x94(g0\n\x90").stop(), damaged("it adds a set to a set")),
        ("CVE-2025-32434", tar(), "this is a tar archive (if it is a PyTorch file from before 0.1.10, load it with torch and save it as safetensors), not a PyTorch file".into()),
        ("cpython-154848-bytes", framed(&[b"B\x14\0\0\0".as_slice(), &[b'A'; 20]].concat(), 5), damaged("a value reaches out of its frame")),
        ("cpython-154848-text", framed(b"\x8c\x14AAAAAAAAAAAAAAAAAAAA", 3), damaged("a value reaches out of its frame")),
        ("cpython-154848-name", framed(b"ctorch\nSize\n", 4), damaged("a value reaches out of its frame")),
        ("cpython-154848-number", framed(b"J\x07\0\0\0", 2), damaged("a value reaches out of its frame")),
        ("cpython-154848-nested", framed(b"N\x95\x02\0\0\0\0\0\0\0N", 30), "the pickle is cut off: download the file again".into()),
        ("cpython-154848-in-frame", framed(b"N\x95\x01\0\0\0\0\0\0\0N0", 12), damaged("a frame begins in another")),
        // Things that unfold
        ("billion-laughs-dup", laughs(9, 10, false), limit("unfolds to more than 2000000 values")),
        ("billion-laughs-memo", laughs(10, 10, true), limit("unfolds to more than 2000000 values")),
        ("billion-laughs-deep", laughs(200, 2, true), limit("unfolds to more than 2000000 values")),
        ("opcodes", [b"\x80\x02".as_slice(), &b"N0".repeat(5_100_000)].concat(), limit("has more than 10000000 opcodes")),
        ("stack", [b"\x80\x02".as_slice(), &[b'N'; 100_001]].concat(), limit("stacks more than 100000 values")),
        ("marks", [b"\x80\x02".as_slice(), &[b'('; 100_001]].concat(), limit("stacks more than 100000 values")),
        ("memo-number", proto(2).raw(b"Nr\xff\xff\xff\xff").stop(), limit("keeps more than 1000000 values in its memo")),
        ("memo-many", [b"\x80\x04N".as_slice(), &[0x94; 1_000_001]].concat(), limit("keeps more than 1000000 values in its memo")),
        ("lists", [b"\x80\x02".as_slice(), &b"]0".repeat(2_000_000)].concat(), limit("holds more than 32 MiB of values")),
        ("long-list", [b"\x80\x02]".as_slice(), &[b"(".as_slice(), &[b'N'; 90_000], b"e"].concat().repeat(30), b"."].concat(), limit("holds more than 32 MiB of values")),
        ("deep-lists", deep(b"](", b"e", 300), limit("nests deeper than 256")),
        ("deep-tuples", [b"\x80\x02)".as_slice(), &b"\x85".repeat(300_000), b"."].concat(), limit("nests deeper than 256")),
        ("deep-dicts", [b"\x80\x02".as_slice(), &b"}K\x00".repeat(300), b"N", &b"s".repeat(300), b"."].concat(), limit("nests deeper than 256")),
        ("text-long", proto(2).raw(b"X\x01\x00\x10\x00").raw(&[b'a'; 1 << 20]).raw(b"a").stop(), limit("has a text of 1048577 bytes, more than 1048576")),
        ("text-lies", proto(2).raw(b"X\xff\xff\xff\xff").stop(), limit("has a text of 4294967295 bytes, more than 1048576")),
        ("text-64-lies", proto(4).raw(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff").stop(), limit("has a text of 18446744073709551615 bytes, more than 1048576")),
        ("bytes-lie", proto(4).raw(b"B\x00\x00\x00\x01").stop(), "the pickle is cut off: download the file again".into()),
        ("bytes-64-lie", proto(4).raw(b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff").stop(), limit("holds more than 32 MiB of values")),
        ("bytearray-lies", proto(5).raw(b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f").stop(), limit("holds more than 32 MiB of values")),
        ("long-negative", proto(2).raw(b"\x8b\xff\xff\xff\xff").stop(), damaged("a length is negative")),
        ("long-lies", proto(2).raw(b"\x8b\xff\xff\xff\x7f").stop(), limit("holds more than 32 MiB of values")),
        ("string-negative", proto(1).raw(b"T\xff\xff\xff\xff").stop(), damaged("a length is negative")),
        ("digits", [b"\x80\x00L".as_slice(), &[b'9'; 100_000], b"L\n."].concat(), limit("has an integer of more than 4300 digits")),
        ("frame-lies", framed(b"N", u64::MAX), "the pickle is cut off: download the file again".into()),
        ("line-endless", [b"\x80\x00V".as_slice(), &[b'a'; 1 << 21]].concat(), limit("has a line of more than 1048576 bytes")),
        ("name-endless", [b"\x80\x02c".as_slice(), &[b'a'; 1 << 16]].concat(), limit("has a line of more than 1000 bytes")),
        // Broken or doubtful
        ("opcode-unknown", proto(2).raw(b"\xff").stop(), damaged("there is no opcode 0xff")),
        ("protocol-unknown", b"\x80\x06N.".to_vec(), damaged("its protocol is 6, at most 5 is known")),
        ("cut-off", b"\x80\x02}".to_vec(), "the pickle is cut off: download the file again".into()),
        ("stop-alone", b"\x80\x02.".to_vec(), damaged("it takes more values than there are")),
        ("left-over", proto(2).raw(b"NN").stop(), damaged("it ends with values left over")),
        ("mark-left-over", proto(2).raw(b"N(0(").stop(), damaged("it takes more values than there are")),
        ("below-mark", proto(2).raw(b"N(\x85").stop(), damaged("it takes more values than there are")),
        ("odd-dict", proto(2).raw(b"(Nd").stop(), damaged("it has a key without a value")),
        ("same-key", proto(2).raw(b"}").str("w").int(1).raw(b"s").str("w").int(2).raw(b"s").stop(), limit(r#"has the key "w" twice in a dict"#)),
        ("same-number", proto(2).raw(b"}K\x01Ns\x88Ns").stop(), limit("has the key of a number twice in a dict")),
        ("text-not-utf8", proto(2).raw(b"X\x01\0\0\0\xff").stop(), damaged("a text is not UTF-8")),
        ("call-text", proto(2).str("os.system").raw(b")R").stop(), limit(r#"calls the text "os.system""#)),
        ("call-dict", proto(2).raw(b"})R").stop(), limit("calls a dict")),
        ("call-result", proto(2).global("collections", "OrderedDict").raw(b")R)R").stop(), limit("calls a dict")),
        ("call-with-list", proto(2).global("collections", "OrderedDict").raw(b"]R").stop(), damaged("the values it gives to collections.OrderedDict are none that it takes")),
        ("extension", proto(2).raw(b"\x82\x01").stop(), "refused: it asks for a registered extension by number, as no checkpoint does: do not load this file".into()),
        ("buffer", proto(5).raw(b"\x97").stop(), limit("refers to something outside of it")),
        ("persistent-text", proto(0).raw(b"Pstorage\n").stop(), limit("refers to something outside of it")),
        ("build-tensor", proto(2).tensor(("FloatStorage", "0", 2), 0, &[2], &[1]).raw(b"}b").stop(), limit("gives a state to a tensor")),
        ("build-name", proto(2).global("torch", "Tensor").raw(b"}b").stop(), limit("gives a state to a name")),
        ("build-list", proto(2).raw(b"]}b").stop(), limit("gives a state to a list")),
        ("CVE-2026-24747-setitem", proto(2).raw(b"]NNs").stop(), damaged("it sets keys of what is no dict")),
        ("CVE-2026-24747-tensor", proto(2).tensor(("FloatStorage", "0", 2), 0, &[2], &[1]).raw(b"K\x00Ns").stop(), damaged("it sets keys of what is no dict")),
        ("append-tuple", proto(2).raw(b")Na").stop(), damaged("it adds items to what is no list")),
        ("encode-other", proto(2).global("_codecs", "encode").str("x").str("zlib").raw(b"\x86R").stop(), damaged("the values it gives to _codecs.encode are none that it takes")),
        ("factory-other", proto(2).global("collections", "defaultdict").str("x").raw(b"\x85R").stop(), damaged("the values it gives to collections.defaultdict are none that it takes")),
        // Tensors that lie
        ("tensor-past-end", tensor(0, &[3], &[1]), not_inside("[3]", "[1]", "0")),
        ("tensor-offset", tensor(2, &[1], &[1]), not_inside("[1]", "[1]", "2")),
        ("tensor-offset-overflow", tensor(i64::MAX, &[2], &[1]), not_inside("[2]", "[1]", "9223372036854775807")),
        ("tensor-offset-negative", tensor(-1, &[1], &[1]), damaged("the values it makes a tensor from make none")),
        ("tensor-stride", tensor(0, &[2], &[2]), not_inside("[2]", "[2]", "0")),
        ("tensor-stride-overflow", tensor(0, &[2, 2], &[i64::MAX, i64::MAX]), not_inside("[2, 2]", "[9223372036854775807, 9223372036854775807]", "0")),
        ("tensor-stride-negative", tensor(1, &[2], &[-1]), damaged("the values it makes a tensor from make none")),
        ("tensor-shape-overflow", tensor(0, &[1 << 32, 1 << 32], &[0, 0]), not_inside("[4294967296, 4294967296]", "[0, 0]", "0")),
        ("tensor-shape-negative", tensor(0, &[-1], &[1]), damaged("the values it makes a tensor from make none")),
        ("tensor-rank", tensor(0, &[1; 65], &[1; 65]), damaged("the values it makes a tensor from make none")),
        ("tensor-strides-few", tensor(0, &[2, 1], &[1]), not_inside("[2, 1]", "[1]", "0")),
        ("tensor-expanded", tensor(0, &[1 << 40], &[0]), "refused: a tensor of shape [1099511627776] unfolds to more bytes than the file has: do not load this file".into()),
        ("tensors-shared", {
            let one = |pickle: Pickle, n: i64| pickle.int(n).tensor(("FloatStorage", "0", 2), 0, &[200_000], &[0]).set();
            (0..9).fold(proto(2).dict(), one).stop()
        }, "refused: its tensors unfold to more than 4 times the file's 1899 bytes: do not load this file".into()),
        ("storage-huge", proto(2).dict().str("w").tensor(("FloatStorage", "0", i64::MAX), 0, &[2], &[1]).set().stop(), damaged("a tensor of shape [2], strides [1] and offset 0 is not inside its storage \"0\" of 9223372036854775807 elements")),
        ("storage-size", proto(2).dict().str("w").tensor(("FloatStorage", "0", 4), 0, &[4], &[1]).set().stop(), r#"storage "0" has 8 bytes, its 4 elements of F32 need 16: do not load this file"#.into()),
        ("storage-type", proto(2).dict().str("w").tensor(("DoubleStorage", "0", 2), 0, &[2], &[1]).set().stop(), r#"storage "0" has 8 bytes, its 2 elements of F64 need 16: do not load this file"#.into()),
        ("storage-other-key", proto(2).dict().str("w").tensor(("FloatStorage", "../0", 2), 0, &[2], &[1]).set().stop(), r#"the data of storage "../0" is missing: download the file again"#.into()),
        ("storage-count-negative", proto(2).dict().str("w").tensor(("FloatStorage", "0", -2), 0, &[2], &[1]).set().stop(), damaged("a reference to a storage is none")),
        ("storage-no-class", proto(2).mark().str("storage").str("FloatStorage").str("0").str("cpu").int(2).raw(b"tQ").stop(), damaged("a reference to a storage is none")),
        ("tensor-no-storage", proto(2).global("torch._utils", "_rebuild_tensor_v2").raw(b"(NK\0K\0K\0N)tR").stop(), damaged("the values it makes a tensor from make none")),
        ("names-same", proto(2).dict().str("a.b").tensor(("FloatStorage", "0", 2), 0, &[2], &[1]).set().str("a").dict().str("b").tensor(("FloatStorage", "0", 2), 0, &[2], &[1]).set().set().stop(), r#"tensor "a.b": named twice: do not use this file"#.into()),
        ("names-long", {
            let mut pickle = proto(2).dict().str("a").tensor(("FloatStorage", "0", 2), 0, &[2], &[1]).set().raw(b"q\x01");
            for _ in 0..100 {
                pickle = pickle.raw(b"0}").str(&"k".repeat(100)).raw(b"h\x01sq\x01");
            }
            pickle.stop()
        }, "refused: a name of more than 4096 bytes: do not load this file".into()),
        ("no-dict", proto(2).int(1).stop(), "the file holds no dict of tensors: save the model's state_dict, not the model".into()),
        ("name-with-newline", proto(2).global("torch\u{1b}[2J", "all is well").stop(), asks_for(r#""torch\u{1b}[2J.all is well""#)),
    ]
}

/// The head of a tar archive, as torch wrote before 0.1.10.
fn tar() -> Vec<u8> {
    let mut tar = vec![0; 1024];
    tar[..8].copy_from_slice(b"storages");
    tar[257..262].copy_from_slice(b"ustar");
    tar
}

/// The pickle of an attack, with a storage; but for the one that is a file of its own.
fn in_archive(name: &str, pickle: Vec<u8>) -> Vec<u8> {
    if name == "CVE-2025-32434" { pickle } else { torch_zip(pickle, &[("0", &[0; 8])]) }
}

#[test]
fn every_hostile_pickle_gets_its_message() {
    let mut wrong = Vec::new();
    for (name, pickle, expected) in attacks() {
        match verdict(&in_archive(name, pickle)) {
            Some(verdict) if verdict == expected => {}
            verdict => wrong.push(format!("{name}: {verdict:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `(name in attacks/README.md, file in the older form, message after the file's name)`
fn legacy_attacks() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let weights = || tensor(0, &[2], &[1]);
    let sound = || torch_legacy(weights(), &[("0", 2, &[0; 8])]);
    let view = |first: i64, count: i64| {
        let storage = proto(2).dict().str("w").global("torch._utils", "_rebuild_tensor_v2").mark();
        let storage = storage.mark().str("storage").global("torch", "FloatStorage").str("0").str("cpu").int(2);
        let storage = storage.mark().str("view").int(first).int(count).raw(b"ttQ");
        let tensor =
            storage.int(0).ints(&[1]).ints(&[1]).raw(b"\x89").global("collections", "OrderedDict").raw(b")RtRs");
        torch_legacy(tensor.stop(), &[("0", 2, &[0; 8])])
    };
    let two_types = proto(2).dict().str("a").tensor(("FloatStorage", "0", 2), 0, &[2], &[1]).set();
    let two_types = two_types.str("b").tensor(("DoubleStorage", "0", 2), 0, &[2], &[1]).set().stop();
    vec![
        (
            "GHSA-97f8-7cmv-76j2",
            [proto(2).global("__builtin__", "eval").str("0x1950A86A20F9469CFC6C").raw(b"\x85R").stop(), sound()]
                .concat(),
            "refused: it asks for __builtin__.eval, which is none of the names that weights are made of: do not load this file, here or elsewhere; look for a safetensors copy of the model",
        ),
        (
            "magic-other",
            proto(2).int(42).stop(),
            "this is a pickle, but none that torch.save wrote: load it with what wrote it and save safetensors",
        ),
        (
            "version-other",
            [&sound()[..15], b"\x80\x02M\xea\x03."].concat(),
            "this PyTorch file has an unknown version: save it again with torch",
        ),
        (
            "system-calls",
            [&sound()[..21], &proto(2).global("platform", "popen").stop()].concat(),
            "refused: it asks for platform.popen, which is none of the names that weights are made of: do not load this file, here or elsewhere; look for a safetensors copy of the model",
        ),
        (
            "keys-no-list",
            [torch_legacy(proto(2).dict().stop(), &[]).strip_suffix(b"\x80\x02].").unwrap(), b"\x80\x02N."].concat(),
            "the pickle is damaged: the list of its storages is none: download the file again",
        ),
        (
            "data-cut-off",
            sound()[..sound().len() - 1].to_vec(),
            r#"the file is cut off in storage "0": download it again"#,
        ),
        (
            "data-count-lies",
            torch_legacy(weights(), &[("0", 1 << 60, &[0; 8])]),
            r#"storage "0" has another number of elements than the pickle says: do not load this file"#,
        ),
        ("data-trailing", [sound(), vec![0]].concat(), "the file goes on for 1 bytes after its data: do not load it"),
        (
            "data-missing",
            torch_legacy(weights(), &[]),
            r#"the data of storage "0" is missing: download the file again"#,
        ),
        (
            "data-unnamed",
            torch_legacy(weights(), &[("0", 2, &[0; 8]), ("1", 2, &[0; 8])]),
            r#"storage "1" has data that nothing refers to: do not load this file"#,
        ),
        (
            "data-twice",
            torch_legacy(weights(), &[("0", 2, &[0; 8]), ("0", 2, &[0; 8])]),
            r#"storage "0" has data twice: do not load this file"#,
        ),
        (
            "data-two-types",
            torch_legacy(two_types, &[("0", 2, &[0; 16])]),
            r#"storage "0" is of two types or sizes: do not load this file"#,
        ),
        (
            "view-past-end",
            view(1, 2),
            r#"the pickle is damaged: a part of storage "0" reaches past its 2 elements: download the file again"#,
        ),
        (
            "view-overflow",
            view(i64::MAX, i64::MAX),
            r#"the pickle is damaged: a part of storage "0" reaches past its 2 elements: download the file again"#,
        ),
        (
            "view-short",
            view(0, 0),
            r#"the pickle is damaged: a tensor of shape [1], strides [1] and offset 0 is not inside its storage "0" of 0 elements: download the file again"#,
        ),
    ]
}

/// Each of both lists.
pub(crate) fn files() -> Vec<(String, Vec<u8>)> {
    let pickles = attacks().into_iter().map(|(name, pickle, _)| (name.to_owned(), in_archive(name, pickle)));
    pickles.chain(legacy_attacks().into_iter().map(|(name, file, _)| (name.to_owned(), file))).collect()
}

#[test]
fn every_hostile_file_in_the_older_form_gets_its_message() {
    let mut wrong = Vec::new();
    for (name, file, expected) in legacy_attacks() {
        match verdict(&file) {
            Some(verdict) if verdict == expected => {}
            verdict => wrong.push(format!("{name}: {verdict:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(verdict(&torch_legacy(tensor(0, &[2], &[1]), &[("0", 2, &[0; 8])])), None);
}

#[test]
fn the_readme_lists_every_pickle() {
    let names: Vec<_> = attacks().iter().map(|attack| attack.0).collect();
    assert_eq!(listed("Pickles"), names);
    let names: Vec<_> = legacy_attacks().iter().map(|attack| attack.0).collect();
    assert_eq!(listed("The older form of PyTorch files"), names);
}
