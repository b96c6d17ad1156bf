//! The directory of a zip archive, as far as `torch.save` uses the format: every entry stored as it is, one after the other
//! from the first byte on, then the central directory, then the end. Whatever differs is refused, since another reader might
//! see other files in it. Fields as in the [application note](https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT)
//! 6.3.10; with 64-bit fields where 32 bits don't suffice.
//!
//! This is our own reader because the checks are its purpose: general ones look for what can be extracted, and take
//! archives whose two directories disagree.

use std::{collections::HashSet, ops::Range};

use crate::{Error, Result, error::quote, source::Source};

/// The most entries. A full training checkpoint has some thousands.
const MAX_ENTRIES: u64 = 200_000;
/// The most bytes of directory.
const MAX_DIRECTORY: u64 = 24 << 20;
/// The longest name of an entry.
const MAX_NAME: u16 = 512;

const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const END_64_LOCATOR: &[u8] = b"PK\x06\x07";
const CENTRAL: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";
const DESCRIPTOR: &[u8] = b"PK\x07\x08";

/// Flag: sizes and checksum follow the data.
const HAS_DESCRIPTOR: u16 = 1 << 3;
/// Flag: the name is UTF-8.
const UTF8: u16 = 1 << 11;
/// The 64-bit extra field.
const ZIP64: u16 = 1;

/// One file in an archive.
pub(crate) struct Entry {
    pub(crate) name: Box<str>,
    /// CRC-32 of its bytes, as the directory says.
    pub(crate) crc: u32,
    /// Where its bytes are, in the archive's file.
    pub(crate) bytes: Range<u64>,
}

/// What the central directory says of an entry.
struct Central {
    name: Box<str>,
    flags: u16,
    crc: u32,
    size: u64,
    local: u64,
}

/// Every entry of the archive, in the order of their bytes.
pub(crate) fn entries(source: &Source) -> Result<Vec<Entry>> {
    let directory = find_directory(source)?;
    let mut central = read_directory(source, &directory)?;
    let mut names = HashSet::new();
    if let Some(twice) = central.iter().find(|entry| !names.insert(&*entry.name)) {
        return Err(refuse(source, format!("two entries are called {}", quote(&twice.name))));
    }
    drop(names);
    if let Some(outside) = central.iter().find(|entry| entry.local >= directory.bytes.start) {
        return Err(refuse(source, format!("entry {} lies past all data", quote(&outside.name))));
    }
    central.sort_by_key(|entry| entry.local);
    let mut entries = Vec::with_capacity(central.len());
    let mut end = 0;
    let count = central.len();
    let starts: Vec<u64> = central.iter().map(|entry| entry.local).chain([directory.bytes.start]).collect();
    for (n, entry) in central.into_iter().enumerate() {
        if entry.local != end {
            let what = if entry.local < end { "overlaps the one before it" } else { "leaves a hole before it" };
            return Err(refuse(source, format!("entry {} {what}", quote(&entry.name))));
        }
        let bytes = check_local(source, &entry, starts[n + 1])?;
        end = starts[n + 1];
        entries.push(Entry { name: entry.name, crc: entry.crc, bytes });
    }
    if count == 0 {
        return Err(refuse(source, "it has no entries"));
    }
    Ok(entries)
}

struct Directory {
    bytes: Range<u64>,
    count: u64,
}

/// Follows the end of the file to the directory.
fn find_directory(source: &Source) -> Result<Directory> {
    const LEN: u64 = 22;
    let start = source.len.checked_sub(LEN).ok_or_else(|| cut_off(source))?;
    let end: [u8; LEN as usize] = read(source, start)?;
    let mut fields = Fields(&end);
    if fields.take(4) != END {
        return Err(cut_off(source));
    }
    let (disk, directory_disk, here, count) = (fields.u16(), fields.u16(), fields.u16(), fields.u16());
    let (size, offset, comment) = (fields.u32(), fields.u32(), fields.u16());
    if disk != 0 || directory_disk != 0 || here != count {
        return Err(refuse(source, "it is one of several parts"));
    }
    if comment != 0 {
        return Err(refuse(source, "it has a comment at its end"));
    }
    let mut directory = Directory { bytes: offset.into()..u64::from(offset) + u64::from(size), count: count.into() };
    let mut directory_end = start;
    if let Some((large, large_start)) = find_directory_64(source, start)? {
        // What fits is given twice and must agree; what doesn't is all ones.
        let agrees = |small: u64, ones: u64, large: u64| small == large || small == ones && large >= ones;
        let size_64 = large.bytes.end - large.bytes.start;
        if !agrees(directory.count, 0xffff, large.count)
            || !agrees(offset.into(), 0xffff_ffff, large.bytes.start)
            || !agrees(size.into(), 0xffff_ffff, size_64)
        {
            return Err(refuse(source, "its 64-bit end says something else than its 32-bit end"));
        }
        (directory, directory_end) = (large, large_start);
    }
    if directory.bytes.end != directory_end {
        return Err(refuse(source, "its directory does not lie right before its end"));
    }
    if directory.count > MAX_ENTRIES || directory.bytes.end - directory.bytes.start > MAX_DIRECTORY {
        return Err(refuse(source, format!("it has more than {MAX_ENTRIES} entries or {MAX_DIRECTORY} bytes of them")));
    }
    Ok(directory)
}

/// The 64-bit end, if there is one before the 32-bit end at `end`, and where it starts.
fn find_directory_64(source: &Source, end: u64) -> Result<Option<(Directory, u64)>> {
    const LOCATOR: u64 = 20;
    const LEN: u64 = 56;
    let Some(locator_start) = end.checked_sub(LOCATOR) else { return Ok(None) };
    let locator: [u8; LOCATOR as usize] = read(source, locator_start)?;
    let mut fields = Fields(&locator);
    if fields.take(4) != END_64_LOCATOR {
        return Ok(None);
    }
    let (disk, start, disks) = (fields.u32(), fields.u64(), fields.u32());
    if disk != 0 || disks != 1 || start.checked_add(LEN) != Some(locator_start) {
        return Err(refuse(source, "its 64-bit end is not where it says"));
    }
    let record: [u8; LEN as usize] = read(source, start)?;
    let mut fields = Fields(&record);
    let (signature, len) = (fields.take(4), fields.u64());
    let _versions = fields.u32();
    let (disk, directory_disk, here, count) = (fields.u32(), fields.u32(), fields.u64(), fields.u64());
    let (size, offset) = (fields.u64(), fields.u64());
    let bytes = offset.checked_add(size).map(|end| offset..end);
    match bytes {
        Some(bytes) if signature == END_64 && len == LEN - 12 && disk == 0 && directory_disk == 0 && here == count => {
            Ok(Some((Directory { bytes, count }, start)))
        }
        _ => Err(refuse(source, "its 64-bit end is damaged")),
    }
}

fn read_directory(source: &Source, directory: &Directory) -> Result<Vec<Central>> {
    let mut bytes = vec![0; (directory.bytes.end - directory.bytes.start) as usize];
    source.read_at(&mut bytes, directory.bytes.start)?;
    let mut rest = bytes.as_slice();
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let (entry, after) = read_central(source, rest)?;
        entries.push(entry);
        rest = after;
    }
    if entries.len() as u64 != directory.count {
        return Err(refuse(source, format!("its end counts {} entries, there are {}", directory.count, entries.len())));
    }
    Ok(entries)
}

/// The first entry of a directory, and what follows it.
fn read_central<'a>(source: &Source, directory: &'a [u8]) -> Result<(Central, &'a [u8])> {
    const LEN: usize = 46;
    let damaged = || refuse(source, "its directory is damaged");
    let (head, rest) = directory.split_at_checked(LEN).ok_or_else(damaged)?;
    let mut fields = Fields(head);
    if fields.take(4) != CENTRAL {
        return Err(damaged());
    }
    let _versions = fields.u32();
    let (flags, method) = (fields.u16(), fields.u16());
    let _time = fields.u32();
    let (crc, packed, size) = (fields.u32(), fields.u32(), fields.u32());
    let (name_len, extra_len, comment_len) = (fields.u16(), fields.u16(), fields.u16());
    let disk = fields.u16();
    let _attributes = (fields.u16(), fields.u32());
    let local = fields.u32();

    let (name, rest) = rest.split_at_checked(name_len.into()).ok_or_else(damaged)?;
    let (extra, rest) = rest.split_at_checked(extra_len.into()).ok_or_else(damaged)?;
    let (_comment, rest) = rest.split_at_checked(comment_len.into()).ok_or_else(damaged)?;
    let name = check_name(source, name)?;
    if flags & !(HAS_DESCRIPTOR | UTF8) != 0 {
        let what = if flags & 0x2041 != 0 { "encrypted" } else { "flagged in a way no checkpoint is" };
        return Err(refuse(source, format!("entry {} is {what}", quote(&name))));
    }
    if method != 0 {
        let what = format!("entry {} is compressed, torch stores them as they are", quote(&name));
        return Err(refuse(source, what));
    }
    let mut wide = zip64(extra).ok_or_else(damaged)?.map(Fields);
    let mut widen = |small: u32| match (small, &mut wide) {
        (u32::MAX, Some(fields)) if fields.0.len() >= 8 => Some(fields.u64()),
        (u32::MAX, _) => None,
        (small, _) => Some(small.into()),
    };
    // In this order, and only those that don't fit.
    let (Some(size), Some(packed), Some(local)) = (widen(size), widen(packed), widen(local)) else {
        return Err(refuse(source, format!("entry {} lacks its 64-bit sizes", quote(&name))));
    };
    if wide.is_some_and(|fields| !fields.0.is_empty()) || disk != 0 {
        return Err(refuse(source, format!("entry {} has 64-bit sizes where none are needed", quote(&name))));
    }
    if packed != size {
        let what = format!("entry {} is stored, but has {packed} bytes for {size}", quote(&name));
        return Err(refuse(source, what));
    }
    Ok((Central { name, flags, crc, size, local }, rest))
}

/// A name that leads nowhere outside, in any system's spelling.
fn check_name(source: &Source, name: &[u8]) -> Result<Box<str>> {
    if name.len() > usize::from(MAX_NAME) {
        return Err(refuse(source, format!("an entry's name has {} bytes", name.len())));
    }
    let text = String::from_utf8_lossy(name);
    let plain = std::str::from_utf8(name).is_ok()
        && text.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
        && !text.contains(|c: char| c == '\\' || c == ':' || c.is_control());
    if plain { Ok(text.into()) } else { Err(refuse(source, format!("entry {} has no plain name", quote(&text)))) }
}

/// The 64-bit field among the extra fields; `None` if these are damaged.
fn zip64(mut extra: &[u8]) -> Option<Option<&[u8]>> {
    let mut found = None;
    while !extra.is_empty() {
        let (head, rest) = extra.split_first_chunk::<4>()?;
        let [a, b, c, d] = *head;
        let (field, rest) = rest.split_at_checked(u16::from_le_bytes([c, d]).into())?;
        if u16::from_le_bytes([a, b]) == ZIP64 && found.replace(field).is_some() {
            return None;
        }
        extra = rest;
    }
    Some(found)
}

/// Holds an entry's own header, and what may follow its data up to `end`, against the directory. Gives where its data is.
fn check_local(source: &Source, entry: &Central, end: u64) -> Result<Range<u64>> {
    const LEN: u64 = 30;
    let differs = |what: &str| refuse(source, format!("entry {} has two {what}", quote(&entry.name)));
    let damaged = || refuse(source, format!("entry {} is not where the directory says", quote(&entry.name)));
    if entry.local.checked_add(LEN).is_none_or(|after| after > end) {
        return Err(damaged());
    }
    let head: [u8; LEN as usize] = read(source, entry.local)?;
    let mut fields = Fields(&head);
    if fields.take(4) != LOCAL {
        return Err(damaged());
    }
    let _version = fields.u16();
    let (flags, method) = (fields.u16(), fields.u16());
    let _time = fields.u32();
    let (crc, packed, size) = (fields.u32(), fields.u32(), fields.u32());
    let (name_len, extra_len) = (fields.u16(), fields.u16());
    let name_start = entry.local + LEN;
    let data_start = name_start + u64::from(name_len) + u64::from(extra_len);
    if data_start.checked_add(entry.size).is_none_or(|data_end| data_end > end) {
        return Err(refuse(
            source,
            format!("entry {} of {} bytes is longer than its place", quote(&entry.name), entry.size),
        ));
    }
    let mut rest = vec![0; usize::from(name_len) + usize::from(extra_len)];
    source.read_at(&mut rest, name_start)?;
    let (name, extra) = rest.split_at(name_len.into());
    if name != entry.name.as_bytes() {
        return Err(differs("names"));
    }
    if flags != entry.flags || method != 0 {
        return Err(differs("kinds of data"));
    }
    let later = flags & HAS_DESCRIPTOR != 0;
    let mut wide = zip64(extra).ok_or_else(damaged)?.map(Fields);
    let mut widen = |small: u32| match &mut wide {
        Some(fields) if small == u32::MAX && fields.0.len() >= 8 => fields.u64(),
        _ => small.into(),
    };
    let sizes = [widen(size), widen(packed)];
    // With a descriptor, these may be given here as well, or left at zero.
    if sizes.iter().any(|&size| size != entry.size && !(later && size == 0)) {
        return Err(differs("sizes"));
    }
    if crc != entry.crc && !(later && crc == 0) {
        return Err(differs("checksums"));
    }
    let data_end = data_start + entry.size;
    check_descriptor(source, entry, later, data_end..end)?;
    Ok(data_start..data_end)
}

/// Between an entry's data and the next one there is its descriptor, if it says so, and nothing else.
fn check_descriptor(source: &Source, entry: &Central, expected: bool, place: Range<u64>) -> Result<()> {
    let len = place.end - place.start;
    let hole = || refuse(source, format!("entry {} has {len} bytes after its data", quote(&entry.name)));
    if !matches!((expected, len), (false, 0) | (true, 16 | 24)) {
        return Err(hole());
    }
    if !expected {
        return Ok(());
    }
    let mut descriptor = vec![0; len as usize];
    source.read_at(&mut descriptor, place.start)?;
    let mut fields = Fields(&descriptor);
    if fields.take(4) != DESCRIPTOR {
        return Err(hole());
    }
    let crc = fields.u32();
    let mut size = || if len == 24 { fields.u64() } else { fields.u32().into() };
    if crc != entry.crc || size() != entry.size || size() != entry.size {
        return Err(refuse(source, format!("entry {} has two sizes or checksums", quote(&entry.name))));
    }
    Ok(())
}

fn read<const N: usize>(source: &Source, at: u64) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    source.read_at(&mut bytes, at)?;
    Ok(bytes)
}

fn cut_off(source: &Source) -> Error {
    let problem =
        "the zip archive has no end where the file ends: it is cut off, or followed by something: download it again";
    Error::file(&source.label, problem)
}

fn refuse(source: &Source, what: impl Into<String>) -> Error {
    let problem = format!("refused: the zip archive is none that torch wrote: {}: do not load this file", what.into());
    Error::file(&source.label, problem)
}

/// Little-endian fields of a record that is long enough.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (field, rest) = self.0.split_at(len);
        self.0 = rest;
        field
    }

    fn number<const N: usize>(&mut self) -> [u8; N] {
        let mut number = [0; N];
        number.copy_from_slice(self.take(N));
        number
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.number())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.number())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.number())
    }
}
