use std::collections::{HashMap, hash_map::Entry};

use super::{Storages, explain, storage_bytes};
use crate::{
    Error, Result,
    error::quote,
    pickle::{Flavor, Node, Problem, Reader, Slot, StorageRef, Tree, load},
    source::Source,
};

/// `0x1950a86a20f9469cfc6c`, little-endian: the first pickle of the file.
const MAGIC: &[u8] = b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
/// The second.
const VERSION: i64 = 1001;

/// The form before torch 1.6: five pickles (a magic number, a version, what system wrote it, the values, the keys of their
/// storages), then for each key the number of elements (8 bytes) and the elements, little-endian on every system.
pub(super) fn read(source: &Source) -> Result<(Tree, Slot, Storages)> {
    let mut reader = Reader::new(source, 0..source.len);
    let mut next = |flavor| load(&mut reader, flavor).map_err(|problem| explain(source, problem));
    let not_torch = || {
        let problem =
            "this is a pickle, but none that torch.save wrote: load it with what wrote it and save safetensors";
        Error::file(&source.label, problem)
    };

    let (tree, magic) = next(Flavor::Plain)?;
    let is_magic =
        matches!(magic, Slot::Node(place) if matches!(tree.node(place), Node::Big(bytes) if **bytes == *MAGIC));
    if !is_magic {
        return Err(not_torch());
    }
    match next(Flavor::Plain)? {
        (_, Slot::Int(VERSION)) => {}
        _ => {
            return Err(Error::file(
                &source.label,
                "this PyTorch file has an unknown version: save it again with torch",
            ));
        }
    }
    next(Flavor::Plain)?;
    let (tree, root) = next(Flavor::Torch)?;
    let (keys_tree, keys) = next(Flavor::Plain)?;
    let damaged = || explain(source, Problem::broken("the list of its storages is none"));
    let keys = keys_tree.sequence(keys).ok_or_else(damaged)?;

    let named = by_key(source, &tree)?;
    let mut storages = Storages::new();
    let mut at = reader.position();
    for key in keys {
        let key = keys_tree.str(*key).ok_or_else(damaged)?;
        let fail = |what: &str| {
            let problem = format!("storage {} {what}: do not load this file", quote(key));
            Err(Error::file(&source.label, problem))
        };
        let Some(storage) = named.get(key) else { return fail("has data that nothing refers to") };
        let len = storage_bytes(source, storage)?;
        let start = at.saturating_add(8);
        let end = start.saturating_add(len);
        if end > source.len {
            let problem = format!("the file is cut off in storage {}: download it again", quote(key));
            return Err(Error::file(&source.label, problem));
        }
        let mut count = [0; 8];
        source.read_at(&mut count, at)?;
        if u64::from_le_bytes(count) != storage.count {
            return fail("has another number of elements than the pickle says");
        }
        if storages.insert(storage.key.clone(), start..end).is_some() {
            return fail("has data twice");
        }
        at = end;
    }
    if at != source.len {
        let problem = format!("the file goes on for {} bytes after its data: do not load it", source.len - at);
        return Err(Error::file(&source.label, problem));
    }
    if let Some(missing) = named.keys().find(|key| !storages.contains_key(**key)) {
        let problem = format!("the data of storage {} is missing: download the file again", quote(missing));
        return Err(Error::file(&source.label, problem));
    }
    Ok((tree, root, storages))
}

/// The storages that the values refer to. All references to one must call it the same size and type.
fn by_key<'a>(source: &Source, tree: &'a Tree) -> Result<HashMap<&'a str, &'a StorageRef>> {
    let mut named: HashMap<&str, &StorageRef> = HashMap::new();
    for storage in tree.storages() {
        match named.entry(&storage.key) {
            Entry::Vacant(place) => {
                place.insert(storage);
            }
            Entry::Occupied(place) => {
                let first = place.get();
                if (first.dtype, first.count) != (storage.dtype, storage.count) {
                    let problem =
                        format!("storage {} is of two types or sizes: do not load this file", quote(&storage.key));
                    return Err(Error::file(&source.label, problem));
                }
            }
        }
    }
    Ok(named)
}
