//! Folders of pictures with captions, and the order in which training sees them.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use calotype_image::{Limits, RgbImage, centre_crop_square, open, resize};
use serde::Deserialize;

use crate::{
    Error, Result,
    random::{Stream, fnv1a, generator},
};

/// A line of `metadata.jsonl`; other fields are for other readers.
#[derive(Deserialize)]
struct Entry {
    file_name: String,
    text: String,
}

/// A folder of pictures with `metadata.jsonl` (`{"file_name": …, "text": …}` a line), the Hugging Face imagefolder form.
pub(crate) struct Dataset {
    folder: PathBuf,
    files: Vec<PathBuf>,
    captions: Vec<String>,
    size: u32,
    /// All pictures, decoded, when they are few enough.
    cached: Option<Vec<RgbImage>>,
    hash: u64,
}

/// The longest list of pictures, in bytes: some millions of lines.
const LONGEST_LIST: u64 = 1 << 30;

impl Dataset {
    /// Reads the list, and the pictures when they take no more than `memory_limit_mb` MiB decoded.
    pub(crate) fn open(folder: &Path, size: u32, memory_limit_mb: u64) -> Result<Self> {
        let list = folder.join("metadata.jsonl");
        let text = calotype_files::read_text(&list, LONGEST_LIST)
            .map_err(|e| Error::io(&list, "read the list of pictures", e))?;
        let (mut files, mut captions) = (Vec::new(), Vec::new());
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let at = |problem: String| Error::data(&list, format!("line {}: {problem}", index + 1));
            let entry: Entry = calotype_files::json::from_str(line)
                .map_err(|e| at(format!("expected {{\"file_name\": \"…\", \"text\": \"…\"}}: {e}")))?;
            let name = PathBuf::from(&entry.file_name);
            if entry.file_name.is_empty() || !name.components().all(|part| matches!(part, Component::Normal(_))) {
                return Err(at(format!("file_name {:?} must be a path inside the folder", entry.file_name)));
            }
            files.push(name);
            captions.push(entry.text);
        }
        if files.is_empty() {
            return Err(Error::data(&list, "lists no picture: give at least one line"));
        }
        let mut dataset = Self { folder: folder.to_owned(), files, captions, size, cached: None, hash: 0 };
        dataset.hash = fnv1a(text.bytes().chain(size.to_le_bytes()).chain(dataset.lengths()?));
        let bytes = dataset.len() as u64 * u64::from(size) * u64::from(size) * 3;
        if bytes <= memory_limit_mb.saturating_mul(1 << 20) {
            dataset.cached = Some((0..dataset.len()).map(|i| dataset.picture(i)).collect::<Result<_>>()?);
        }
        Ok(dataset)
    }

    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    pub(crate) fn captions(&self) -> &[String] {
        &self.captions
    }

    /// The lengths of the files: pictures that changed have others, with few exceptions.
    fn lengths(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.len() * 8);
        for file in &self.files {
            let path = self.folder.join(file);
            let length = fs::metadata(&path).map_err(|e| Error::io(&path, "open the picture", e))?.len();
            bytes.extend(length.to_le_bytes());
        }
        Ok(bytes)
    }

    /// Tells this set from other pictures, or the same in another size.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// Picture `index`, a square of the set's size.
    pub(crate) fn picture(&self, index: usize) -> Result<RgbImage> {
        if let Some(picture) = self.cached.as_ref().and_then(|pictures| pictures.get(index)) {
            return Ok(picture.clone());
        }
        let file = self.files.get(index).ok_or_else(|| Error::data(&self.folder, format!("has no picture {index}")))?;
        let picture = open(self.folder.join(file), &Limits::default())?;
        if (picture.width(), picture.height()) == (self.size, self.size) {
            return Ok(picture);
        }
        Ok(resize(&centre_crop_square(&picture), self.size, self.size)?)
    }

    /// The pictures `indices` as the autoencoder takes them: `(B, size, size, 3)` in [-1, 1].
    pub(crate) fn batch(&self, indices: &[usize]) -> Result<Vec<f32>> {
        let mut values = Vec::with_capacity(indices.len() * (self.size as usize).pow(2) * 3);
        for &index in indices {
            values.extend(self.picture(index)?.to_unit_f32());
        }
        Ok(values)
    }
}

/// The endless sequence of samples: the whole set in random order, then again in another.
pub(crate) struct Order {
    seed: u64,
    count: usize,
    epoch: u64,
    order: Vec<usize>,
}

impl Order {
    /// The sequence over `count` pictures; at least one.
    pub(crate) fn new(seed: u64, count: usize) -> Self {
        Self { seed, count: count.max(1), epoch: 0, order: shuffled(seed, count.max(1), 0) }
    }

    /// The picture of sample `number`, counted from the start of the run.
    pub(crate) fn picture(&mut self, number: u64) -> usize {
        let epoch = number / self.count as u64;
        if epoch != self.epoch {
            (self.epoch, self.order) = (epoch, shuffled(self.seed, self.count, epoch));
        }
        self.order.get((number % self.count as u64) as usize).copied().unwrap_or(0)
    }
}

fn shuffled(seed: u64, count: usize, epoch: u64) -> Vec<usize> {
    generator(seed, Stream::Order, epoch).randperm(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, list: &str) {
        fs::write(folder.join("metadata.jsonl"), list).unwrap();
        let png = calotype_image::encode_png(&RgbImage::filled(6, 4, [255, 0, 51]), &[]).unwrap();
        fs::write(folder.join("a.png"), png).unwrap();
    }

    #[test]
    fn pictures_are_squares_in_unit_range() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "{\"file_name\":\"a.png\",\"text\":\"a red field\",\"more\":1}\n\n");
        for limit in [0, 1] {
            let set = Dataset::open(folder.path(), 2, limit).unwrap();
            assert_eq!((set.len(), set.captions()), (1, &["a red field".to_owned()][..]));
            assert_eq!(set.batch(&[0, 0]).unwrap()[..3], [1.0, -1.0, -0.6]);
            assert_eq!(set.batch(&[0, 0]).unwrap().len(), 2 * 2 * 2 * 3);
            assert!(set.picture(1).is_err());
        }
    }

    #[test]
    fn a_bad_list_is_an_error_that_names_the_line() {
        let folder = tempfile::tempdir().unwrap();
        for (list, expected) in [
            ("", "lists no picture"),
            ("{\"file_name\":\"a.png\"}", "line 1: expected"),
            ("\n{\"file_name\":\"../a.png\",\"text\":\"\"}", "line 2: file_name \"../a.png\" must be a path inside"),
            ("{\"file_name\":\"/a.png\",\"text\":\"\"}", "must be a path inside"),
            ("{\"file_name\":\"\",\"text\":\"\"}", "must be a path inside"),
            ("{\"file_name\":\"b.png\",\"text\":\"\"}", "b.png: cannot open the picture"),
        ] {
            write(folder.path(), list);
            let message = Dataset::open(folder.path(), 2, 1).err().unwrap().to_string();
            assert!(message.contains(expected) && !message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn each_epoch_sees_each_picture_once() {
        let mut order = Order::new(3, 10);
        let mut epoch = |e: u64| -> Vec<usize> { (e * 10..e * 10 + 10).map(|n| order.picture(n)).collect() };
        let (first, second) = (epoch(0), epoch(1));
        assert_ne!(first, second);
        assert_eq!(epoch(0), first);
        let mut sorted = second;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..10).collect::<Vec<_>>());
    }
}
