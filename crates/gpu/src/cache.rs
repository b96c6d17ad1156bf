//! Compiled kernels on disk, so that a card's driver compiles each once.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use calotype_formats::write_atomic;

use crate::arena::lock;

/// Before the data: what the file is, and the check of what follows. Drivers trust what they are given.
const MAGIC: &[u8; 8] = b"calogpu1";
const HEADER: usize = MAGIC.len() + 8;
/// A file that is larger is not this program's.
const LARGEST: u64 = 256 << 20;

/// The kernels that a driver has compiled, and the file where they are kept.
pub(crate) struct Cache {
    pub(crate) cache: wgpu::PipelineCache,
    file: PathBuf,
    /// How many kernels were compiled that the file may lack.
    fresh: AtomicUsize,
    writing: Mutex<()>,
}

/// FNV-1a (Fowler, Noll and Vo 1991), of 64 bits.
fn check(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// What a whole file holds; none if it is broken.
fn unwrapped(file: &[u8]) -> Option<&[u8]> {
    let (head, data) = file.split_at_checked(HEADER)?;
    let (magic, sum) = head.split_at(MAGIC.len());
    (magic == MAGIC && sum == check(data).to_le_bytes()).then_some(data)
}

fn read(file: &Path) -> Option<Vec<u8>> {
    let found = fs::metadata(file).ok()?;
    if !found.is_file() || found.len() > LARGEST {
        return None;
    }
    fs::read(file).ok()
}

/// The name of the file of a driver: another version has another.
fn name(info: &wgpu::AdapterInfo) -> String {
    let driver = format!("{} {} {} {}", info.name, info.driver, info.driver_info, env!("CARGO_PKG_VERSION"));
    format!("{:08x}-{:08x}-{:016x}.bin", info.vendor, info.device, check(driver.as_bytes()))
}

impl Cache {
    /// That of a driver in this folder. What is there and whole is taken, and what is broken is as if it were not there.
    pub(crate) fn open(device: &wgpu::Device, info: &wgpu::AdapterInfo, folder: &Path) -> Self {
        let file = folder.join(name(info));
        let bytes = read(&file);
        let data = bytes.as_deref().and_then(unwrapped);
        let descriptor = wgpu::PipelineCacheDescriptor { label: None, data, fallback: true };
        // SAFETY: the data are what `get_data` gave for this driver and adapter: the file has their name and the check of its bytes,
        // and `wgpu` compares the driver's own key.
        let cache = unsafe { device.create_pipeline_cache(&descriptor) };
        Self { cache, file, fresh: AtomicUsize::new(0), writing: Mutex::default() }
    }

    /// A kernel was compiled.
    pub(crate) fn compiled(&self) {
        self.fresh.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes the file, if there is something new. One that can't be written is not there, which only takes time.
    pub(crate) fn save(&self) {
        if self.fresh.load(Ordering::Relaxed) == 0 {
            return;
        }
        let _one = lock(&self.writing);
        self.fresh.store(0, Ordering::Relaxed);
        let Some(data) = self.cache.get_data() else { return };
        let write = |to: &mut dyn io::Write| {
            to.write_all(MAGIC)?;
            to.write_all(&check(&data).to_le_bytes())?;
            to.write_all(&data)
        };
        if let Some(folder) = self.file.parent()
            && fs::create_dir_all(folder).is_ok()
        {
            let _ = write_atomic(&self.file, write);
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.save();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_broken_is_not_taken() {
        let data = b"pipelines".as_slice();
        let whole = [MAGIC.as_slice(), &check(data).to_le_bytes(), data].concat();
        assert_eq!(unwrapped(&whole), Some(data));
        for end in 0..whole.len() {
            assert_eq!(unwrapped(&whole[..end]), None, "{end} bytes");
        }
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 1;
            assert_eq!(unwrapped(&broken), None, "byte {at}");
        }
        assert_eq!(check(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(check(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
