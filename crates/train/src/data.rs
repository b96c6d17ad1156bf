//! Folders of pictures with captions, and the order in which training sees them.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use calotype_image::{Limits, RgbImage, centre_crop_square, open, resize};

use crate::{
    Error, Notice, Result, RunOptions,
    list::List,
    random::{Stream, fnv1a, generator},
};

/// Pictures that a thread reads before it is told how far they are.
const BLOCK: usize = 32;

/// A folder of pictures and what is seen in them: see [`List`].
pub(crate) struct Dataset {
    folder: PathBuf,
    files: Vec<PathBuf>,
    captions: Vec<String>,
    /// How many of them have no caption, and the first of those.
    without: Option<(usize, PathBuf)>,
    size: u32,
    memory_limit_mb: u64,
    /// All pictures, decoded, when they are few enough.
    cached: Option<Vec<RgbImage>>,
    hash: u64,
}

impl Dataset {
    /// Reads the list, but no picture yet.
    pub(crate) fn open(folder: &Path, size: u32, memory_limit_mb: u64) -> Result<Self> {
        let List { files, captions, without, text } = List::read(folder)?;
        let without = without.first().map(|first| (without.len(), first.clone()));
        let (folder, cached) = (folder.to_owned(), None);
        let mut set = Self { folder, files, captions, without, size, memory_limit_mb, cached, hash: 0 };
        let lengths = set.files.iter().filter_map(|file| set.length(file)).flat_map(u64::to_le_bytes);
        set.hash = fnv1a(text.bytes().chain(size.to_le_bytes()).chain(lengths));
        Ok(set)
    }

    /// Decodes every picture, so that a run does not end at the first bad one hours later; keeps them if they take no more
    /// than `memory_limit_mb` MiB. All that are bad are told, and refused or left out.
    pub(crate) fn decode(&mut self, options: &mut RunOptions<'_>) -> Result<()> {
        let bytes = self.len() as u64 * u64::from(self.size) * u64::from(self.size) * 3;
        let keeps = bytes <= self.memory_limit_mb.saturating_mul(1 << 20);
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let (mut bad, mut kept) = (Vec::new(), Vec::new());
        for start in (0..self.len()).step_by(BLOCK * threads) {
            let end = self.len().min(start + BLOCK * threads);
            for (index, picture) in (start..end).zip(self.decoded(start..end, threads)) {
                match picture {
                    Ok(picture) => kept.extend(Some(picture).filter(|_| keeps)),
                    Err(error) => bad.push((index, error.to_string())),
                }
            }
            options.reached("pictures read", end, self.len())?;
        }
        let indices: Vec<u8> = bad.iter().flat_map(|(index, _)| index.to_le_bytes()).collect();
        self.leave_out(bad, options)?;
        if !indices.is_empty() {
            self.hash ^= fnv1a(indices);
        }
        self.cached = Some(kept).filter(|_| keeps);
        Ok(())
    }

    /// The pictures of these indices, by several threads.
    fn decoded(&self, indices: std::ops::Range<usize>, threads: usize) -> Vec<Result<RgbImage>> {
        let next = AtomicUsize::new(indices.start);
        let work = || {
            let mut done = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= indices.end {
                    return done;
                }
                done.push((index, self.picture(index)));
            }
        };
        let mut all: Vec<(usize, Result<RgbImage>)> = thread::scope(|scope| {
            let workers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut all = work();
            all.extend(workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()));
            all
        });
        all.sort_unstable_by_key(|(index, _)| *index);
        all.into_iter().map(|(_, picture)| picture).collect()
    }

    /// Tells pictures that can't be used, each with the reason, and goes on without them if that is wanted.
    fn leave_out(&mut self, bad: Vec<(usize, String)>, options: &mut RunOptions<'_>) -> Result<()> {
        let Some((_, first)) = bad.first() else { return Ok(()) };
        let (count, all) = (bad.len(), self.len());
        if !options.skip_bad {
            let which = if count == 1 { first.clone() } else { format!("as listed; the first is {first}") };
            for (_, reason) in &bad {
                (options.tell)(&Notice::Warning(format!("this picture can't be used: {reason}")));
            }
            let advice = "mend or remove them, or go on without them by --skip-bad";
            return Err(Error::data(
                &self.folder,
                format!("{count} of {all} pictures can't be used, {which}: {advice}"),
            ));
        }
        for (_, reason) in &bad {
            (options.tell)(&Notice::Warning(format!("this picture is left out: {reason}")));
        }
        if count == all {
            return Err(Error::data(&self.folder, "none of its pictures can be used"));
        }
        let is_good = |index: usize| bad.binary_search_by_key(&index, |(index, _)| *index).is_err();
        let mut index = 0..;
        self.files.retain(|_| index.next().is_some_and(is_good));
        let mut index = 0..;
        self.captions.retain(|_| index.next().is_some_and(is_good));
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    pub(crate) fn captions(&self) -> &[String] {
        &self.captions
    }

    /// How many pictures have no caption at all, and the first of them.
    pub(crate) fn without_caption(&self) -> Option<(usize, PathBuf)> {
        self.without.as_ref().map(|(count, first)| (*count, self.folder.join(first)))
    }

    /// Where the pictures are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The length of a file, if it is there: a picture that changed has another, with few exceptions.
    fn length(&self, file: &Path) -> Option<u64> {
        Some(fs::metadata(self.folder.join(file)).ok()?.len())
    }

    /// Tells this set from other pictures, or the same in another size.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The file of picture `index`.
    pub(crate) fn file(&self, index: usize) -> PathBuf {
        self.files.get(index).map_or_else(|| self.folder.clone(), |file| self.folder.join(file))
    }

    /// Picture `index`, a square of the set's size.
    pub(crate) fn picture(&self, index: usize) -> Result<RgbImage> {
        if let Some(picture) = self.cached.as_ref().and_then(|pictures| pictures.get(index)) {
            return Ok(picture.clone());
        }
        if index >= self.len() {
            return Err(Error::data(&self.folder, format!("has no picture {index}")));
        }
        let picture = open(self.file(index), &Limits::default())?;
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
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn write(folder: &Path, list: &str) {
        fs::write(folder.join("metadata.jsonl"), list).unwrap();
        let png = calotype_image::encode_png(&RgbImage::filled(6, 4, [255, 0, 51]), &[]).unwrap();
        fs::write(folder.join("a.png"), png).unwrap();
    }

    fn open(folder: &Path, limit: u64, skip_bad: bool) -> (Result<Dataset, String>, Vec<String>) {
        let (stop, mut told) = (AtomicBool::new(false), Vec::new());
        let mut tell = |notice: &Notice| {
            if let Notice::Warning(text) = notice {
                told.push(text.clone());
            }
        };
        let (resume, threads, progress) = (false, 1, &mut |_: &crate::Progress| {});
        let mut options = RunOptions { resume, threads, skip_bad, set: &[], stop: &stop, progress, tell: &mut tell };
        let opened = Dataset::open(folder, 2, limit).and_then(|mut set| {
            set.decode(&mut options)?;
            Ok(set)
        });
        (opened.map_err(|error| error.to_string()), told)
    }

    #[test]
    fn pictures_are_squares_in_unit_range() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "{\"file_name\":\"a.png\",\"text\":\"a red field\",\"more\":1}\n\n");
        for limit in [0, 1] {
            let set = open(folder.path(), limit, false).0.unwrap();
            assert_eq!((set.len(), set.captions()), (1, &["a red field".to_owned()][..]));
            assert_eq!(set.batch(&[0, 0]).unwrap()[..3], [1.0, -1.0, -0.6]);
            assert_eq!(set.batch(&[0, 0]).unwrap().len(), 2 * 2 * 2 * 3);
            assert!(set.picture(1).is_err());
        }
    }

    /// All at once, before anything is learned.
    #[test]
    fn bad_pictures_are_all_told_and_may_be_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let line = |name: &str| format!("{{\"file_name\":\"{name}\",\"text\":\"{name}\"}}\n");
        let list = |names: &[&str]| write(folder.path(), &names.iter().map(|name| line(name)).collect::<String>());
        fs::write(folder.path().join("bad.png"), "no picture").unwrap();
        fs::write(folder.path().join("cut.png"), b"\x89PNG\r\n\x1a\n\0\0").unwrap();
        let many: Vec<String> = (0..100).map(|n| format!("{n}.png")).collect();
        let good = calotype_image::encode_png(&RgbImage::filled(2, 2, [9; 3]), &[]).unwrap();
        many.iter().for_each(|name| fs::write(folder.path().join(name), &good).unwrap());
        let mut names: Vec<&str> = many.iter().map(String::as_str).collect();
        list(&names);
        let hash = open(folder.path(), 1, false).0.unwrap().hash();
        names.insert(90, "cut.png");
        names.insert(3, "bad.png");
        list(&names);
        for limit in [0, 1] {
            let (refused, told) = open(folder.path(), limit, false);
            let (bad, cut) = (folder.path().join("bad.png"), folder.path().join("cut.png"));
            let reason = "not a PNG";
            assert_eq!(told.len(), 2);
            assert!(
                told[0].starts_with(&format!("this picture can't be used: {}: {reason}", bad.display())),
                "{told:?}"
            );
            assert!(told[1].starts_with(&format!("this picture can't be used: {}: ", cut.display())), "{told:?}");
            let message = refused.err().unwrap();
            let begin = format!(
                "{}: 2 of 102 pictures can't be used, as listed; the first is {}: {reason}",
                folder.path().display(),
                bad.display()
            );
            let end = ": mend or remove them, or go on without them by --skip-bad";
            assert!(message.starts_with(&begin) && message.ends_with(end), "{message}");

            let (set, told) = open(folder.path(), limit, true);
            let set = set.unwrap();
            assert!(told.len() == 2 && told[1].starts_with(&format!("this picture is left out: {}: ", cut.display())));
            assert_eq!(
                (set.len(), set.captions()[3].as_str(), set.file(99)),
                (100, "3.png", folder.path().join("99.png"))
            );
            assert_eq!(set.batch(&[99]).unwrap().len(), 12);
            assert!(set.hash() != hash);
            let again = open(folder.path(), limit, true).0.unwrap();
            assert_eq!(again.hash(), set.hash());
        }
        list(&["gone.png", "0.png"]);
        let (refused, _) = open(folder.path(), 1, false);
        assert!(refused.err().unwrap().contains("gone.png: cannot be read: "));
        assert_eq!(open(folder.path(), 1, true).0.unwrap().captions(), ["0.png"]);
        list(&["bad.png"]);
        assert!(open(folder.path(), 1, true).0.err().unwrap().ends_with("none of its pictures can be used"));
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
