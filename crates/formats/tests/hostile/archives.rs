//! The hostile zip archives of `attacks/README.md`: each must be refused with exactly the message given.

use std::{fs::File, io::Write};

use crate::common::{
    listed,
    pickle::Pickle,
    processor_seconds, torch_zip, verdict,
    zip::{Built, Zip},
};
use calotype_formats::{Checkpoint, TorchFile};

/// A pickle of one tensor of two numbers, in storage 0.
fn weights() -> Vec<u8> {
    Pickle::new(2).dict().str("w").tensor(("FloatStorage", "0", 2), 0, &[2], &[1]).set().stop()
}

/// A sound archive of [`weights`]: the pickle, the storage, a version.
fn sound() -> Built {
    with(&[("archive/data.pkl", &weights()), ("archive/data/0", &[0; 8]), ("archive/version", b"3\n")])
}

fn with(entries: &[(&str, &[u8])]) -> Built {
    let mut zip = Zip::default();
    entries.iter().for_each(|(name, data)| zip.add(name, *data));
    zip.build()
}

/// A sound archive, spoiled.
fn spoiled(spoil: impl Fn(&Built) -> (usize, Vec<u8>)) -> Vec<u8> {
    let built = sound();
    let (at, with) = spoil(&built);
    built.patch(at, &with).bytes
}

/// The same change to an entry's local and central header: places in each, and the bytes.
fn both(entry: usize, local: usize, central: usize, with: &[u8]) -> Vec<u8> {
    let built = sound();
    let (l, c) = (built.local[entry] + local, built.central[entry] + central);
    built.patch(l, with).patch(c, with).bytes
}

fn called(name: &str) -> Vec<u8> {
    with(&[("archive/data.pkl", &weights()), ("archive/data/0", &[0; 8]), (name, b"x")]).bytes
}

/// The 64-bit end is taken away; the 32-bit one alone is right too.
fn without_64() -> Built {
    let mut built = sound();
    built.bytes.drain(built.end_64..built.end);
    built.end = built.end_64;
    built
}

/// `(name in attacks/README.md, file, message after the file's name)`
fn attacks() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let u16s = |n: u16| n.to_le_bytes().to_vec();
    let u32s = |n: u32| n.to_le_bytes().to_vec();
    let u64s = |n: u64| n.to_le_bytes().to_vec();
    let eval = || Pickle::new(4).stack_global("builtins", "eval").str("1").raw(b"\x85R").stop();
    vec![
        // Published
        (
            "GHSA-7q5r-7gvp-wc82",
            spoiled(|zip| (zip.local[0] + 30, b"archive/datap.kl".to_vec())),
            r#"refused: the zip archive is none that torch wrote: entry "archive/data.pkl" has two names: do not load this file"#,
        ),
        (
            "GHSA-w8jq-xcqf-f792-0x1",
            spoiled(|zip| (zip.central[0] + 8, u16s(0x809))),
            r#"refused: the zip archive is none that torch wrote: entry "archive/data.pkl" is encrypted: do not load this file"#,
        ),
        (
            "GHSA-w8jq-xcqf-f792-0x20",
            spoiled(|zip| (zip.central[0] + 8, u16s(0x828))),
            r#"refused: the zip archive is none that torch wrote: entry "archive/data.pkl" is flagged in a way no checkpoint is: do not load this file"#,
        ),
        (
            "GHSA-w8jq-xcqf-f792-0x40",
            spoiled(|zip| (zip.central[0] + 8, u16s(0x848))),
            r#"refused: the zip archive is none that torch wrote: entry "archive/data.pkl" is encrypted: do not load this file"#,
        ),
        (
            "GHSA-w8jq-xcqf-f792-local",
            spoiled(|zip| (zip.local[0] + 6, u16s(0x809))),
            r#"refused: the zip archive is none that torch wrote: entry "archive/data.pkl" has two kinds of data: do not load this file"#,
        ),
        (
            "GHSA-mjqp-26hc-grxg",
            spoiled(|zip| (zip.data[0] + 10, b"W".to_vec())),
            r#"entry "archive/data.pkl" does not match its checksum: download the file again"#,
        ),
        (
            "GHSA-769v-p64c-89pr",
            with(&[
                ("archive/data.pkl", &weights()),
                ("archive/data/0", &[0; 8]),
                ("archive/config.p", &eval()),
                ("other/data.pkl", &eval()),
            ])
            .bytes,
            "refused: the zip archive has two entries called data.pkl: do not load this file",
        ),
        (
            "GHSA-jgw4-cr84-mqxg",
            torch_zip(eval(), &[]),
            "refused: it asks for builtins.eval, which is none of the names that weights are made of: do not load this file, here or elsewhere; look for a safetensors copy of the model",
        ),
        (
            "CVE-2026-24747-storage",
            torch_zip(weights(), &[("0", &[0; 4])]),
            r#"storage "0" has 4 bytes, its 2 elements of F32 need 8: do not load this file"#,
        ),
        (
            "picklescan-7z",
            b"7z\xbc\xaf\x27\x1c\0\x04................................".to_vec(),
            "this is a 7z archive (unpack it first), not a PyTorch file",
        ),
        (
            "CVE-2019-6446",
            [b"\x93NUMPY\x01\0\x36\0{'descr': '|O', 'fortran_order': False, 'shape': (1,)}\n".as_slice(), &eval()]
                .concat(),
            "this is a NumPy array, not a PyTorch file",
        ),
        (
            "picklescan-no-folder",
            with(&[("data.pkl", &eval())]).bytes,
            r#"refused: its pickle is at "data.pkl", not in a folder of its own: do not load this file"#,
        ),
        (
            "fickling-polyglot-prefix",
            [b"some other file".as_slice(), &sound().bytes].concat(),
            "this is a damaged file, or one of a format that is not known here, not a PyTorch file",
        ),
        // Names
        (
            "two-pickles",
            with(&[
                ("archive/data.pkl", &weights()),
                ("archive/data/0", &[0; 8]),
                ("archive/sub/data.pkl", &weights()),
            ])
            .bytes,
            "refused: the zip archive has two entries called data.pkl: do not load this file",
        ),
        (
            "same-name",
            with(&[("archive/data.pkl", &weights()), ("archive/data/0", &[0; 8]), ("archive/data.pkl", &eval())]).bytes,
            r#"refused: the zip archive is none that torch wrote: two entries are called "archive/data.pkl": do not load this file"#,
        ),
        (
            "parent",
            called("archive/../../evil"),
            r#"refused: the zip archive is none that torch wrote: entry "archive/../../evil" has no plain name: do not load this file"#,
        ),
        (
            "absolute",
            called("/etc/evil"),
            r#"refused: the zip archive is none that torch wrote: entry "/etc/evil" has no plain name: do not load this file"#,
        ),
        (
            "backslash",
            called("archive\\..\\evil"),
            r#"refused: the zip archive is none that torch wrote: entry "archive\\..\\evil" has no plain name: do not load this file"#,
        ),
        (
            "drive",
            called("C:evil"),
            r#"refused: the zip archive is none that torch wrote: entry "C:evil" has no plain name: do not load this file"#,
        ),
        (
            "control",
            called("archive/\u{1b}[2Jevil\n"),
            r#"refused: the zip archive is none that torch wrote: entry "archive/\u{1b}[2Jevil\n" has no plain name: do not load this file"#,
        ),
        (
            "nul",
            called("archive/data.pkl\0.txt"),
            r#"refused: the zip archive is none that torch wrote: entry "archive/data.pkl\0.txt" has no plain name: do not load this file"#,
        ),
        (
            "folder-entry",
            called("archive/data/"),
            r#"refused: the zip archive is none that torch wrote: entry "archive/data/" has no plain name: do not load this file"#,
        ),
        (
            "other-folder",
            called("elsewhere/data/0"),
            r#"refused: entry "elsewhere/data/0" is not in the folder "archive": do not load this file"#,
        ),
        (
            "not-utf8",
            both(0, 30, 46, b"\xff"),
            "refused: the zip archive is none that torch wrote: entry \"\u{fffd}rchive/data.pkl\" has no plain name: do not load this file",
        ),
        (
            "two-storages",
            with(&[("archive/data.pkl", &weights()), ("archive/data/0", &[0; 8]), ("archive/tensors/0", &[0; 8])])
                .bytes,
            r#"refused: two entries hold the storage of "archive/tensors/0": do not load this file"#,
        ),
        // Data
        (
            "deflated",
            both(1, 8, 10, &u16s(8)),
            r#"refused: the zip archive is none that torch wrote: entry "archive/data/0" is compressed, torch stores them as they are: do not load this file"#,
        ),
        (
            "deflated-locally",
            spoiled(|zip| (zip.local[1] + 8, u16s(8))),
            r#"refused: the zip archive is none that torch wrote: entry "archive/data/0" has two kinds of data: do not load this file"#,
        ),
        (
            "bomb",
            both(1, 22, 24, &u32s(0xffff_fffe)),
            r#"refused: the zip archive is none that torch wrote: entry "archive/data/0" is stored, but has 8 bytes for 4294967294: do not load this file"#,
        ),
        (
            "size-lies",
            both(1, 18, 20, &[u32s(0xffff_fff0), u32s(0xffff_fff0)].concat()),
            r#"refused: the zip archive is none that torch wrote: entry "archive/data/0" of 4294967280 bytes is longer than its place: do not load this file"#,
        ),
        (
            "size-two",
            spoiled(|zip| (zip.local[1] + 18, [u32s(4), u32s(4)].concat())),
            r#"refused: the zip archive is none that torch wrote: entry "archive/data/0" has two sizes: do not load this file"#,
        ),
        (
            "size-short",
            spoiled(|zip| (zip.central[1] + 20, [u32s(4), u32s(4)].concat())),
            r#"refused: the zip archive is none that torch wrote: entry "archive/data/0" has 20 bytes after its data: do not load this file"#,
        ),
        (
            "checksum-two",
            spoiled(|zip| (zip.local[1] + 14, u32s(7))),
            r#"refused: the zip archive is none that torch wrote: entry "archive/data/0" has two checksums: do not load this file"#,
        ),
        (
            "descriptor-size",
            spoiled(|zip| (zip.descriptor[1] + 8, u32s(4))),
            r#"refused: the zip archive is none that torch wrote: entry "archive/data/0" has two sizes or checksums: do not load this file"#,
        ),
        (
            "descriptor-none",
            spoiled(|zip| (zip.descriptor[1], b"none".to_vec())),
            r#"refused: the zip archive is none that torch wrote: entry "archive/data/0" has 16 bytes after its data: do not load this file"#,
        ),
        (
            "overlap",
            spoiled(|zip| (zip.central[1] + 42, u32s(zip.local[0] as u32))),
            r#"refused: the zip archive is none that torch wrote: entry "archive/data.pkl" is not where the directory says: do not load this file"#,
        ),
        (
            "overlap-inside",
            spoiled(|zip| (zip.central[1] + 42, u32s(zip.data[0] as u32))),
            r#"refused: the zip archive is none that torch wrote: entry "archive/data.pkl" of 148 bytes is longer than its place: do not load this file"#,
        ),
        (
            "hole",
            {
                let built = sound();
                built.clone().patch(built.central[0] + 42, &u32s(1)).bytes
            },
            r#"refused: the zip archive is none that torch wrote: entry "archive/data.pkl" leaves a hole before it: do not load this file"#,
        ),
        (
            "offset-past-end",
            spoiled(|zip| (zip.central[2] + 42, u32s(0xffff_ff00))),
            r#"refused: the zip archive is none that torch wrote: entry "archive/version" lies past all data: do not load this file"#,
        ),
        // The directory
        (
            "trailing",
            [sound().bytes.as_slice(), b"MZ"].concat(),
            "the zip archive has no end where the file ends: it is cut off, or followed by something: download it again",
        ),
        (
            "comment",
            [&sound().bytes[..sound().bytes.len() - 2], b"\x02\0PK"].concat(),
            "the zip archive has no end where the file ends: it is cut off, or followed by something: download it again",
        ),
        (
            "comment-inside",
            spoiled(|zip| (zip.end + 20, u16s(22))),
            "refused: the zip archive is none that torch wrote: it has a comment at its end: do not load this file",
        ),
        (
            "two-archives",
            [sound().bytes, sound().bytes].concat(),
            "refused: the zip archive is none that torch wrote: its 64-bit end is not where it says: do not load this file",
        ),
        (
            "parts",
            spoiled(|zip| (zip.end + 4, u16s(1))),
            "refused: the zip archive is none that torch wrote: it is one of several parts: do not load this file",
        ),
        (
            "count-lies",
            without_64().patch(0, b"PK").patch(without_64().end + 8, &[u16s(2), u16s(2)].concat()).bytes,
            "refused: the zip archive is none that torch wrote: its end counts 2 entries, there are 3: do not load this file",
        ),
        (
            "directory-size-lies",
            without_64().patch(without_64().end + 12, &u32s(10)).bytes,
            "refused: the zip archive is none that torch wrote: its directory does not lie right before its end: do not load this file",
        ),
        (
            "directory-damaged",
            spoiled(|zip| (zip.central[1], b"PK\x01\x03".to_vec())),
            "refused: the zip archive is none that torch wrote: its directory is damaged: do not load this file",
        ),
        (
            "directory-name-lies",
            spoiled(|zip| (zip.central[2] + 28, u16s(0xffff))),
            "refused: the zip archive is none that torch wrote: its directory is damaged: do not load this file",
        ),
        (
            "zip64-count-lies",
            spoiled(|zip| (zip.end_64 + 24, [u64s(1 << 40), u64s(1 << 40)].concat())),
            "refused: the zip archive is none that torch wrote: its 64-bit end says something else than its 32-bit end: do not load this file",
        ),
        (
            "zip64-offset-overflow",
            spoiled(|zip| (zip.end_64 + 48, u64s(u64::MAX))),
            "refused: the zip archive is none that torch wrote: its 64-bit end is damaged: do not load this file",
        ),
        (
            "zip64-locator-lies",
            spoiled(|zip| (zip.locator + 8, u64s(u64::MAX - 40))),
            "refused: the zip archive is none that torch wrote: its 64-bit end is not where it says: do not load this file",
        ),
        (
            "zip64-size-lies",
            spoiled(|zip| (zip.end_64 + 4, u64s(u64::MAX))),
            "refused: the zip archive is none that torch wrote: its 64-bit end is damaged: do not load this file",
        ),
        (
            "zip64-missing",
            spoiled(|zip| (zip.central[1] + 20, [u32s(u32::MAX), u32s(u32::MAX)].concat())),
            r#"refused: the zip archive is none that torch wrote: entry "archive/data/0" lacks its 64-bit sizes: do not load this file"#,
        ),
        (
            "many-entries",
            without_64().patch(without_64().end + 8, &[u16s(0xffff), u16s(0xffff)].concat()).bytes,
            "refused: the zip archive is none that torch wrote: its end counts 65535 entries, there are 3: do not load this file",
        ),
        (
            "empty-archive",
            b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
            "refused: the zip archive is none that torch wrote: it has no entries: do not load this file",
        ),
        // What it is
        (
            "no-pickle",
            with(&[("word/document.xml", b"<xml/>")]).bytes,
            "this is a zip archive, but none that torch.save wrote: it has no data.pkl: unpack it, if it holds weights",
        ),
        (
            "torchscript",
            with(&[
                ("net/data.pkl", &weights()),
                ("net/code/__torch__.py", b"import os"),
                ("net/constants.pkl", b"\x80\x02)."),
            ])
            .bytes,
            "this is a TorchScript program (torch.jit.save), not a checkpoint: load it with torch and save its state_dict as safetensors",
        ),
        (
            "big-endian",
            with(&[("archive/data.pkl", &weights()), ("archive/byteorder", b"big"), ("archive/data/0", &[0; 8])]).bytes,
            r#"its bytes are in "big" order: load it with torch and save it as safetensors"#,
        ),
        (
            "storage-missing",
            torch_zip(weights(), &[]),
            r#"the data of storage "0" is missing: download the file again"#,
        ),
        (
            "second-pickle",
            torch_zip([weights(), eval()].concat(), &[("0", &[0; 8])]),
            "the pickle goes on after its end: do not load this file",
        ),
        ("pickle-empty", torch_zip([], &[]), "the pickle is cut off: download the file again"),
    ]
}

/// Each of them.
pub(crate) fn files() -> Vec<(String, Vec<u8>)> {
    attacks().into_iter().map(|(name, file, _)| (name.to_owned(), file)).collect()
}

#[test]
fn every_hostile_archive_gets_its_message() {
    let mut wrong = Vec::new();
    for (name, bytes, expected) in attacks() {
        let verdict = verdict(&bytes).unwrap_or_else(|| panic!("{name} was taken"));
        if verdict != expected {
            wrong.push(format!("{name}: {verdict}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_sound_archive_is_taken() {
    assert_eq!(verdict(&sound().bytes), None);
    assert_eq!(verdict(&without_64().bytes), None);
    let file = TorchFile::from_bytes(sound().bytes).unwrap();
    assert_eq!(format!("{:?}", file.root()), r#"{Str("w"): Tensor(F32 [2])}"#);
}

#[test]
fn an_archive_cut_at_any_byte_or_changed_in_its_frame_is_refused_or_the_same() {
    let built = sound();
    for len in 0..built.bytes.len() {
        assert!(verdict_of(&built.bytes[..len]).is_some(), "{len}");
    }
    let whole = format!("{:?}", TorchFile::from_bytes(built.bytes.clone()).unwrap().root());
    for at in 0..built.bytes.len() {
        for to in [0, 1, 0x7f, 0x80, 0xff, built.bytes[at].wrapping_add(1)] {
            let changed = built.clone().patch(at, &[to]).bytes;
            if let Ok(file) = TorchFile::from_bytes(changed) {
                assert_eq!(format!("{:?}", file.root()), whole, "byte {at} made {to}");
            }
        }
    }
}

fn verdict_of(bytes: &[u8]) -> Option<String> {
    TorchFile::from_bytes(bytes.to_vec()).err().map(|error| error.to_string())
}

/// Two gigabytes of a file that should be longer: nothing of it is read but its ends.
#[test]
fn a_large_file_that_is_cut_off_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for (name, head) in [
        ("zip.ckpt", sound().bytes[..300].to_vec()),
        ("legacy.ckpt", crate::common::torch_legacy(weights(), &[("0", 2, &[])])),
        ("large.safetensors", {
            let header = br#"{"a":{"dtype":"U8","shape":[3000000000],"data_offsets":[0,3000000000]}}"#;
            [(header.len() as u64).to_le_bytes().as_slice(), header].concat()
        }),
    ] {
        let path = folder.path().join(name);
        let mut file = File::create(&path).unwrap();
        file.write_all(&head).unwrap();
        file.set_len(2_000_000_000).unwrap();
        let start = processor_seconds();
        let error = Checkpoint::open(&path, "").err().unwrap().to_string();
        let spent = processor_seconds() - start;
        assert!(spent < 1.0, "{name} took {spent} seconds");
        assert!(error.contains("download it again") || error.contains("do not load"), "{error}");
    }
}

#[test]
fn the_readme_lists_every_archive() {
    assert_eq!(listed("Zip archives"), attacks().iter().map(|attack| attack.0).collect::<Vec<_>>());
}
