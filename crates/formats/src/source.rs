use std::{fs::File, io, path::Path};

use bytes::Bytes;

use crate::{
    Error, Result,
    error::{quote, show_path},
};

/// What fails, in messages.
const READ: &str = "read the bytes its header promises (was it changed while in use?)";

/// How messages call bytes in memory that have no name.
pub(crate) const IN_MEMORY: &str = "weights in memory";

/// Where a file's bytes are: on disk, read by position, or in memory.
pub(crate) struct Source {
    /// How messages call it.
    pub(crate) label: String,
    /// Bytes in all.
    pub(crate) len: u64,
    place: Place,
}

enum Place {
    Memory(Bytes),
    Disk(PositionedFile),
}

impl Source {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let label = show_path(path);
        if path.is_dir() {
            return Err(Error::file(&label, "this is a folder: give the safetensors file in it"));
        }
        let file = calotype_files::open(path).map_err(|e| Error::read(path, "open the file", e))?;
        let len = file.metadata().map_err(|e| Error::read(path, "open the file", e))?.len();
        Ok(Self { label, len, place: Place::Disk(PositionedFile::new(file)) })
    }

    /// Bytes in memory, which messages call `label`.
    pub(crate) fn memory(label: &str, bytes: Bytes) -> Self {
        Self { label: label.to_owned(), len: bytes.len() as u64, place: Place::Memory(bytes) }
    }

    /// Fills `buffer` from byte `offset` of the source.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.fill(buffer, offset).map_err(|source| Error::Read { file: self.label.clone(), action: READ, source })
    }

    /// Fills `buffer` from byte `offset` of the source, which is in the tensor `tensor`. Any number of threads may read at once.
    pub(crate) fn read_tensor_at(&self, tensor: &str, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.fill(buffer, offset).map_err(|source| {
            let file = format!("{}: tensor {}", self.label, quote(tensor));
            Error::Read { file, action: READ, source }
        })
    }

    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.place {
            Place::Memory(bytes) => {
                let from = usize::try_from(offset).ok().and_then(|start| bytes.get(start..)?.get(..buffer.len()));
                from.map(|from| buffer.copy_from_slice(from)).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
            }
            Place::Disk(file) => file.read_at(buffer, offset),
        }
    }
}

#[cfg(any(unix, windows))]
struct PositionedFile(File);

#[cfg(any(unix, windows))]
impl PositionedFile {
    fn new(file: File) -> Self {
        Self(file)
    }

    #[cfg(unix)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, buffer, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(&self.0, buffer, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    buffer = &mut buffer[read..];
                    offset += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Without a positioned read in the standard library, a lock keeps seek and read together.
#[cfg(not(any(unix, windows)))]
struct PositionedFile(std::sync::Mutex<File>);

#[cfg(not(any(unix, windows)))]
impl PositionedFile {
    fn new(file: File) -> Self {
        Self(std::sync::Mutex::new(file))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        use std::io::{Read, Seek};
        let mut file = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.seek(io::SeekFrom::Start(offset))?;
        file.read_exact(buffer)
    }
}
