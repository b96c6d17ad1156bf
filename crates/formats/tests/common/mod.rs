//! What the tests of hostile files share: writers of pickles, zip archives and PyTorch files, and the list in
//! `attacks/README.md`.

#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod onnx;
pub(crate) mod pickle;
pub(crate) mod zip;

use std::{fs, path::Path};

use calotype_formats::{Checkpoint, Error, TorchFile};

use pickle::Pickle;
use zip::Zip;

/// The first pickles of a file in the older form.
const LEGACY_HEAD: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}q\x00.";

/// A PyTorch file in the zip form: this pickle, and these storages.
pub(crate) fn torch_zip(pickle: impl Into<Vec<u8>>, storages: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = Zip::default();
    zip.add("archive/data.pkl", pickle);
    for (key, data) in storages {
        zip.add(&format!("archive/data/{key}"), *data);
    }
    zip.add("archive/version", *b"3\n");
    zip.build().bytes
}

/// A PyTorch file in the older form: this pickle, and these storages `(key, elements, bytes)`.
pub(crate) fn torch_legacy(pickle: impl Into<Vec<u8>>, storages: &[(&str, u64, &[u8])]) -> Vec<u8> {
    let mut file = LEGACY_HEAD.to_vec();
    file.extend(pickle.into());
    let mut keys = Pickle::new(2).list();
    for (key, ..) in storages {
        keys = keys.str(key).raw(b"a");
    }
    file.extend(keys.stop());
    for (_, count, data) in storages {
        file.extend(count.to_le_bytes());
        file.extend(*data);
    }
    file
}

/// What is said of these bytes, less the file's name: by the tree's reader and by that of a model's weights, from disk and
/// from memory, which must agree. `None` if they are taken.
pub(crate) fn verdict(bytes: &[u8]) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.ckpt");
    fs::write(&path, bytes).unwrap();
    let on_disk = message(TorchFile::open(&path), &path.display().to_string());
    let in_memory = message(TorchFile::from_bytes(bytes.to_vec()), "weights in memory");
    let weights = message(Checkpoint::open(&path, ""), &path.display().to_string());
    assert_eq!(on_disk, in_memory);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the file made other files");
    if on_disk.is_some() {
        // Of what is no PyTorch file at all, the two say different things.
        let same = |text: &str| text.replace("a file of weights", "a PyTorch file");
        assert_eq!(weights.as_deref().map(same), on_disk);
        return on_disk;
    }
    weights
}

/// What the tree's reader says of these bytes, less the file's name. `None` if they are taken.
pub(crate) fn verdict_in_memory(bytes: Vec<u8>) -> Option<String> {
    message(TorchFile::from_bytes(bytes), "weights in memory")
}

fn message<T>(result: Result<T, Error>, label: &str) -> Option<String> {
    let message = result.err()?.to_string();
    assert!(!message.contains('\n') && message.len() < 1000, "{message}");
    Some(message.strip_prefix(label).unwrap_or_else(|| panic!("not of {label}: {message}"))[2..].to_owned())
}

/// The names in the table below a heading of `attacks/README.md`.
pub(crate) fn listed(heading: &str) -> Vec<String> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../attacks/README.md")).unwrap();
    let sections: Vec<&str> = readme.split("\n## ").collect();
    let section = sections.iter().find(|section| section.lines().next() == Some(heading));
    let lines = section.unwrap_or_else(|| panic!("no heading {heading}")).lines();
    lines.filter_map(|line| Some(line.strip_prefix("| `")?.split('`').next()?.to_owned())).collect()
}

/// Seconds of processor time that this thread has taken: other tests run beside it. 0 where there is no telling.
pub(crate) fn processor_seconds() -> f64 {
    processor_seconds_of(&fs::read_to_string("/proc/thread-self/stat").unwrap_or_default())
}

/// The same, from the text of `/proc/self/stat`.
pub(crate) fn processor_seconds_of(stat: &str) -> f64 {
    // After the name in brackets: user and system time are fields 14 and 15, in hundredths.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}
