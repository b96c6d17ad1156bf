use std::{collections::HashMap, ops::Range};

use super::{Storages, storage_bytes};
use crate::{
    Error, Result,
    error::quote,
    pickle::Tree,
    source::Source,
    tensors::Checksum,
    zip::{Entry, entries},
};

/// The pickle's name in its folder.
const PICKLE: &str = "data.pkl";
/// The longest text that tells the order of bytes.
const MAX_BYTE_ORDER: usize = 16;

/// The form since torch 1.6: `NAME/data.pkl`, `NAME/data/KEY` for each storage, and small ones beside them.
pub(super) struct Archive {
    /// Bytes of the pickle.
    pub(super) pickle: Range<u64>,
    /// Bytes of each storage and their checksum, by its key.
    data: HashMap<Box<str>, (Range<u64>, u32)>,
    /// Whether there are checksums at all.
    summed: bool,
}

impl Archive {
    pub(super) fn open(source: &Source) -> Result<Self> {
        let entries = entries(source)?;
        let fail = |problem: String| Err(Error::file(&source.label, problem));
        let mut pickles = entries.iter().filter(|entry| entry.name.rsplit('/').next() == Some(PICKLE));
        let Some(pickle) = pickles.next() else {
            let problem = "this is a zip archive, but none that torch.save wrote: it has no data.pkl";
            return fail(format!("{problem}: unpack it, if it holds weights"));
        };
        if pickles.next().is_some() {
            return fail(format!("refused: the zip archive has two entries called {PICKLE}: do not load this file"));
        }
        let folder = match pickle.name.rsplit_once('/') {
            Some((folder, _)) if !folder.contains('/') => folder,
            _ => {
                let problem = format!("its pickle is at {}, not in a folder of its own", quote(&pickle.name));
                return fail(format!("refused: {problem}: do not load this file"));
            }
        };
        let inside =
            |entry: &Entry| -> Option<Box<str>> { Some(entry.name.strip_prefix(folder)?.strip_prefix('/')?.into()) };
        if let Some(stray) = entries.iter().find(|entry| inside(entry).is_none()) {
            let problem = format!("entry {} is not in the folder {}", quote(&stray.name), quote(folder));
            return fail(format!("refused: {problem}: do not load this file"));
        }
        let named = |name: &str| entries.iter().find(|entry| inside(entry).is_some_and(|inside| *inside == *name));
        if named("constants.pkl").is_some()
            || entries.iter().any(|entry| inside(entry).is_some_and(|n| n.starts_with("code/")))
        {
            let problem = "this is a TorchScript program (torch.jit.save), not a checkpoint";
            return fail(format!("{problem}: load it with torch and save its state_dict as safetensors"));
        }
        if let Some(order) = named("byteorder") {
            let mut text = vec![0; MAX_BYTE_ORDER.min((order.bytes.end - order.bytes.start) as usize)];
            source.read_at(&mut text, order.bytes.start)?;
            if text.trim_ascii() != b"little" {
                let order = quote(&String::from_utf8_lossy(&text));
                return fail(format!("its bytes are in {order} order: load it with torch and save it as safetensors"));
            }
        }
        // `torch.serialization.set_crc32_options(False)` writes every checksum as zero.
        let summed = entries.iter().any(|entry| entry.crc != 0);
        let checksum = Checksum { bytes: pickle.bytes.clone(), crc: pickle.crc };
        if summed && !checksum.holds(source, |_| true)? {
            return fail(format!("entry {} does not match its checksum: download the file again", quote(&pickle.name)));
        }
        let mut data = HashMap::new();
        for entry in &entries {
            // `tensors/` where torch 1.4 and 1.5 were asked for a zip archive.
            let key = inside(entry)
                .and_then(|name| name.strip_prefix("data/").or(name.strip_prefix("tensors/")).map(Box::from));
            if let Some(key) = key
                && data.insert(key, (entry.bytes.clone(), entry.crc)).is_some()
            {
                return fail(format!(
                    "refused: two entries hold the storage of {}: do not load this file",
                    quote(&entry.name)
                ));
            }
        }
        Ok(Self { pickle: pickle.bytes.clone(), data, summed })
    }

    /// Where each storage of the pickle is, and the checksums of them. Each is as long as the pickle says.
    pub(super) fn storages(mut self, source: &Source, tree: &Tree) -> Result<(Storages, Vec<Checksum>)> {
        let (mut storages, mut checksums) = (Storages::new(), Vec::new());
        for storage in tree.storages() {
            let expected = storage_bytes(source, storage)?;
            let bytes = match storages.get(&storage.key) {
                Some(bytes) => bytes.clone(),
                None => {
                    let (bytes, crc) = self.data.remove(&*storage.key).ok_or_else(|| {
                        let problem =
                            format!("the data of storage {} is missing: download the file again", quote(&storage.key));
                        Error::file(&source.label, problem)
                    })?;
                    if self.summed {
                        checksums.push(Checksum { bytes: bytes.clone(), crc });
                    }
                    bytes
                }
            };
            let len = bytes.end - bytes.start;
            if len != expected {
                let problem = format!(
                    "storage {} has {len} bytes, its {} elements of {} need {expected}: do not load this file",
                    quote(&storage.key),
                    storage.count,
                    storage.dtype
                );
                return Err(Error::file(&source.label, problem));
            }
            storages.insert(storage.key.clone(), bytes);
        }
        Ok((storages, checksums))
    }
}
