//! What a download asks of the disk; a test puts a failing one in its place.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
};

/// A disk.
pub trait Disk {
    /// The free bytes of the file system that a folder is on; none where the system does not say.
    fn available(&self, folder: &Path) -> Option<u64>;

    /// Writes at the end of what was written.
    ///
    /// # Errors
    /// The disk is full or broken.
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()>;
}

/// The disk of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn available(&self, folder: &Path) -> Option<u64> {
        #[cfg(any(unix, windows))]
        return fs4::available_space(folder).ok();
        #[cfg(not(any(unix, windows)))]
        return None;
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }
}
