use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::Path,
};

use bytes::Bytes;
use calotype_files::json;
use serde::Deserialize;

use crate::{
    Error, Extra, FileFormat, Floats, Result, SafeTensors, TensorInfo, TorchFile,
    error::{json_advice, json_problem, quote, show_path},
    header::MAX_HEADER,
    json::{Object, UniqueMap},
    sniff::{Seems, sniff},
    source::Source,
    tensors::Tensors,
    torch::weights,
};

/// Ends the name of a safetensors file.
const SUFFIX: &str = ".safetensors";
/// Ends the name of the file that says which shard holds which tensor.
const INDEX_SUFFIX: &str = ".safetensors.index.json";
/// Bytes at the end of a file that are looked at.
const TAIL: usize = 64 << 10;
/// Ends the name of PyTorch's.
const BIN_SUFFIX: &str = ".bin";

/// The weights of one model: one file, safetensors or PyTorch's (`.ckpt`, `.pt`, `.bin`), whichever its content is; or an
/// index and its shards as diffusers and transformers write them.
///
/// Of a PyTorch file these are the tensors below `state_dict` where there is one, as Lightning writes it, else all of them:
/// see [`TorchFile`] for everything in it. Nested dicts give names joined by dots.
///
/// It has the methods of [`SafeTensors`], from which it can also be made.
pub struct Checkpoint {
    /// The file, or the index.
    label: String,
    shards: Vec<Tensors>,
    format: FileFormat,
    extras: Vec<Extra>,
    /// `(shard, place in the shard)` of every tensor, sorted by name.
    places: Vec<(usize, usize)>,
    metadata: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens the weights `basename` (such as `diffusion_pytorch_model`) in a folder: `BASENAME.safetensors` if it is
    /// there, else `BASENAME.safetensors.index.json` and the shards it lists. A path that is a file is taken as the one
    /// or the other itself, or as a PyTorch file.
    ///
    /// # Errors
    /// Neither is there, a file breaks a rule of its format, or the index and the shards don't hold the same tensors.
    pub fn open(folder_or_file: &Path, basename: &str) -> Result<Self> {
        if !folder_or_file.is_dir() {
            let is_index = folder_or_file.file_name().is_some_and(|name| is_index(&name.to_string_lossy()));
            return if is_index { Self::open_index(folder_or_file) } else { Self::open_single(folder_or_file) };
        }
        let single = folder_or_file.join(format!("{basename}{SUFFIX}"));
        if single.exists() {
            return Self::open_single(&single);
        }
        let index = folder_or_file.join(format!("{basename}{INDEX_SUFFIX}"));
        if index.exists() {
            return Self::open_index(&index);
        }
        let problem =
            format!("no {basename}{SUFFIX} in this folder (nor {basename}{INDEX_SUFFIX}): download the weights");
        Err(Error::file(&show_path(folder_or_file), problem))
    }

    /// One file in memory, of whichever format; messages call it `label`.
    ///
    /// # Errors
    /// It breaks a rule of its format.
    pub fn from_bytes(label: &str, bytes: impl Into<Bytes>) -> Result<Self> {
        Self::from_source(Source::memory(label, bytes.into()))
    }

    /// The tensors of several files, which messages call by the path `of` that they have in common.
    ///
    /// # Errors
    /// Two of them have a tensor of the same name.
    pub fn join(of: &Path, files: Vec<Self>) -> Result<Self> {
        let format = files.first().map_or(FileFormat::SafeTensors, Self::format);
        let (mut shards, mut extras) = (Vec::new(), Vec::new());
        for file in files {
            shards.extend(file.shards);
            extras.extend(file.extras);
        }
        let joined = Self { extras, ..Self::new(show_path(of), format, shards) };
        let names: Vec<&str> = joined.tensors().map(|tensor| tensor.name.as_str()).collect();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            None => Ok(joined),
            Some(pair) => Err(Error::tensor(&joined.label, pair[0], "in two of its files: give one of them")),
        }
    }

    /// The same with `prefix` before the name of every tensor.
    #[must_use]
    pub fn prefixed(mut self, prefix: &str) -> Self {
        for tensor in self.shards.iter_mut().flat_map(|shard| &mut shard.tensors) {
            tensor.name.insert_str(0, prefix);
        }
        self
    }

    /// Whatever format the content has: people rename files.
    fn open_single(path: &Path) -> Result<Self> {
        let source = Source::open(path)?;
        // aria2 makes the whole file first, and removes its notes when it is done.
        let mut notes = path.as_os_str().to_owned();
        notes.push(".aria2");
        if Path::new(&notes).exists() {
            let problem = "aria2 has not finished this download (its notes, .aria2, are beside it): let it go on";
            return Err(Error::file(&source.label, problem));
        }
        Self::from_source(source)
    }

    fn from_source(source: Source) -> Result<Self> {
        match sniff(&source)? {
            Seems::SafeTensors => SafeTensors::new(source).map(Self::from),
            Seems::Zip => TorchFile::zipped(source).and_then(Self::try_from),
            Seems::Pickle => TorchFile::legacy(source).and_then(Self::try_from),
            Seems::Other(kind) => Err(Error::file(&source.label, format!("this is {kind}, not a file of weights"))),
        }
    }

    fn open_index(path: &Path) -> Result<Self> {
        let label = show_path(path);
        let weight_map = read_index(path, &label)?;
        let folder = path.parent().unwrap_or(Path::new(""));

        let mut shards: Vec<Tensors> = Vec::new();
        let mut format = FileFormat::SafeTensors;
        let mut number_of = BTreeMap::new();
        for shard in weight_map.values() {
            if let Entry::Vacant(place) = number_of.entry(shard.as_str()) {
                check_shard_name(&label, shard)?;
                place.insert(shards.len());
                let opened = Self::open_single(&folder.join(shard))?;
                format = opened.format;
                shards.extend(opened.shards);
            }
        }
        for (tensor, shard) in &weight_map {
            if number_of.get(shard.as_str()).and_then(|&n| shards.get(n)).and_then(|s| s.get(tensor)).is_none() {
                let problem = format!("not in its shard {}: download index and shards again", quote(shard));
                return Err(Error::tensor(&label, tensor, problem));
            }
        }
        // Every tensor listed is where the index says; one more in any shard is then a second copy or an unlisted one.
        for (shard, tensor) in shards.iter().flat_map(|shard| shard.tensors.iter().map(move |tensor| (shard, tensor))) {
            let listed = weight_map.get(&tensor.name).and_then(|name| number_of.get(name.as_str()));
            if !listed.and_then(|&n| shards.get(n)).is_some_and(|home| std::ptr::eq(home, shard)) {
                let problem = "in this shard, but not by the index: download index and shards again";
                return Err(Error::tensor(&shard.source.label, &tensor.name, problem));
            }
        }
        Ok(Self::new(label, format, shards))
    }

    pub(crate) fn single(format: FileFormat, tensors: Tensors) -> Self {
        Self::new(tensors.source.label.clone(), format, vec![tensors])
    }

    fn new(label: String, format: FileFormat, shards: Vec<Tensors>) -> Self {
        let mut named: Vec<(&str, (usize, usize))> = Vec::new();
        let mut metadata = BTreeMap::new();
        for (number, shard) in shards.iter().enumerate() {
            named.extend(
                shard.tensors.iter().enumerate().map(|(place, tensor)| (tensor.name.as_str(), (number, place))),
            );
            metadata.extend(shard.metadata.clone());
        }
        named.sort_unstable();
        let places = named.into_iter().map(|(_, place)| place).collect();
        Self { label, shards, format, extras: Vec::new(), places, metadata }
    }

    /// How messages call these weights: the path of the file or of the index.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Every tensor of every shard, sorted by name.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &TensorInfo> {
        self.places.iter().map(|&place| self.at(place).1)
    }

    /// What the files say of the tensor `name`.
    pub fn get(&self, name: &str) -> Option<&TensorInfo> {
        self.find(name).map(|(_, tensor)| tensor)
    }

    /// The format of the file or of the shards.
    pub fn format(&self) -> FileFormat {
        self.format
    }

    /// What a PyTorch file holds beside the model, such as the optimiser's state.
    pub fn extras(&self) -> &[Extra] {
        &self.extras
    }

    /// The files' free text (`__metadata__`), all shards' together; of a PyTorch file, its texts and numbers that are no
    /// tensors, such as `global_step`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// As [`SafeTensors::read`].
    ///
    /// # Errors
    /// As there.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.home(name)?.read(name)
    }

    /// As [`SafeTensors::read_f32`].
    ///
    /// # Errors
    /// As there.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>> {
        self.home(name)?.read_f32(name)
    }

    /// As [`SafeTensors::floats`].
    ///
    /// # Errors
    /// As there.
    pub fn floats(&self, name: &str) -> Result<Floats<'_>> {
        self.home(name)?.floats(name)
    }

    /// As [`SafeTensors::read_i64`].
    ///
    /// # Errors
    /// As there.
    pub fn read_i64(&self, name: &str) -> Result<Vec<i64>> {
        self.home(name)?.read_i64(name)
    }

    /// Whether a safetensors file among these ends in 64 KiB of zeros, as a download may that was cut off after its room was
    /// made. Weights hardly ever do.
    pub fn ends_in_zeros(&self) -> bool {
        let mut end = vec![0; TAIL];
        let of = |shard: &Tensors, end: &mut [u8]| {
            let data: u64 = shard.tensors.iter().map(TensorInfo::byte_count).sum();
            let start = shard.source.len.checked_sub(TAIL as u64).filter(|_| data > 2 * TAIL as u64);
            start.is_some_and(|start| shard.source.read_at(end, start).is_ok() && end.iter().all(|&byte| byte == 0))
        };
        self.format == FileFormat::SafeTensors && self.shards.iter().any(|shard| of(shard, &mut end))
    }

    /// Bytes of data of which the files have checksums: those of PyTorch's zip form do, unless they were written without.
    pub fn summed_bytes(&self) -> u64 {
        let sums = self.shards.iter().flat_map(|shard| &shard.checksums);
        sums.map(|checksum| checksum.bytes.end - checksum.bytes.start).sum()
    }

    /// Reads all data of which there are checksums and compares it. `read` is told how many bytes were read each time, and
    /// says whether to go on.
    ///
    /// # Errors
    /// A tensor's data is not what was written; or the file can't be read; or `read` says to stop.
    pub fn check_sums(&self, mut read: impl FnMut(u64) -> bool) -> Result<()> {
        self.shards.iter().try_for_each(|shard| shard.check_sums(&mut read))
    }

    fn home(&self, name: &str) -> Result<&Tensors> {
        let found = self.find(name).map(|(shard, _)| shard);
        found.ok_or_else(|| Error::Missing { file: self.label.clone(), tensor: quote(name) })
    }

    fn find(&self, name: &str) -> Option<(&Tensors, &TensorInfo)> {
        let found = self.places.binary_search_by(|&place| self.at(place).1.name.as_str().cmp(name));
        found.ok().map(|n| self.at(self.places[n]))
    }

    fn at(&self, (shard, place): (usize, usize)) -> (&Tensors, &TensorInfo) {
        let shard = &self.shards[shard];
        (shard, &shard.tensors[place])
    }
}

impl From<SafeTensors> for Checkpoint {
    fn from(file: SafeTensors) -> Self {
        Self::single(FileFormat::SafeTensors, file.into_tensors())
    }
}

/// Fails where the file's tensors have no names, or one name twice.
impl TryFrom<TorchFile> for Checkpoint {
    type Error = Error;

    fn try_from(file: TorchFile) -> Result<Self> {
        let format = file.format();
        let (tensors, extras) = weights(file)?;
        Ok(Self { extras, ..Self::single(format, tensors) })
    }
}

/// Which shard holds each tensor, as the index at `path` says.
fn read_index(path: &Path, label: &str) -> Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: UniqueMap,
    }

    let source = Source::open(path)?;
    if source.len > MAX_HEADER {
        let problem =
            format!("the index has {} bytes, at most {MAX_HEADER} are allowed: download it again", source.len);
        return Err(Error::file(label, problem));
    }
    let mut text = vec![0; source.len as usize];
    source.read_at(&mut text, 0)?;
    let Object(index) = json::from_slice::<Object<Index>>(&text).map_err(|e| {
        Error::file(label, format!("the index is not valid: {}: {}", json_problem(&e), json_advice(&e, "index")))
    })?;
    Ok(index.weight_map.0)
}

/// `….safetensors.index.json`, `….bin.index.json`, or with a variant: `….safetensors.index.fp16.json`.
fn is_index(name: &str) -> bool {
    let stem = name.strip_suffix(".json").unwrap_or_default();
    [SUFFIX, BIN_SUFFIX].iter().any(|suffix| {
        stem.rsplit_once(&format!("{suffix}.index")).is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with('.'))
    })
}

/// An index must not lead out of its own folder.
fn check_shard_name(label: &str, shard: &str) -> Result<()> {
    let plain = [SUFFIX, BIN_SUFFIX].iter().any(|suffix| shard.ends_with(suffix))
        && !shard.contains(['/', '\\', ':'])
        && !shard.contains(char::is_control);
    if plain {
        return Ok(());
    }
    let problem = format!(
        "shard {} is not the plain name of a {SUFFIX} or {BIN_SUFFIX} file: do not use this index",
        quote(shard)
    );
    Err(Error::file(label, problem))
}
