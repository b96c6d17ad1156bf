//! Memory on the device: buffers, and places in them that are free again when they are dropped. As one queue runs everything in
//! order, a place can be taken again at once.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use calotype_tensor::{Error, Intervals, Result};

use crate::context::Context;

/// Places begin at multiples of it, as bindings must.
const STEP: usize = 256;
/// The least and the most of a buffer that is made before it is known how much is needed.
const BUFFERS: [usize; 2] = [1 << 20, 64 << 20];
/// The most of one buffer that every driver makes.
const LARGEST: usize = (1 << 31) - STEP;

/// What a place of so many bytes takes.
pub(crate) fn capacity(bytes: usize) -> usize {
    bytes.max(1).checked_next_multiple_of(STEP).unwrap_or(usize::MAX / STEP * STEP)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A buffer and what of it is free.
struct Chunk {
    buffer: wgpu::Buffer,
    id: u64,
    intervals: Mutex<Intervals>,
    context: Arc<Context>,
}

impl Drop for Chunk {
    fn drop(&mut self) {
        lock(&self.context.recorder).forget();
    }
}

/// Where the tensors of a backend lie, or its parameters.
pub(crate) struct Pool {
    context: Arc<Context>,
    chunks: Mutex<Vec<Arc<Chunk>>>,
}

impl Pool {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self { context: context.clone(), chunks: Mutex::default() }
    }

    /// A place of so many bytes.
    pub(crate) fn place(&self, bytes: usize) -> Result<Place> {
        let length = capacity(bytes);
        let mut chunks = lock(&self.chunks);
        let free = chunks.iter().find_map(|chunk| Some((chunk, lock(&chunk.intervals).take(length)?)));
        if let Some((chunk, start)) = free {
            return Ok(Place { chunk: chunk.clone(), start, length });
        }
        let so_far: usize = chunks.iter().map(|chunk| lock(&chunk.intervals).end()).sum();
        let chunk = self.chunk(length.max(so_far.clamp(BUFFERS[0], BUFFERS[1])))?;
        chunks.push(chunk.clone());
        let start = lock(&chunk.intervals).take(length).ok_or(Error::OutOfMemory { needed: length })?;
        Ok(Place { chunk, start, length })
    }

    fn chunk(&self, bytes: usize) -> Result<Arc<Chunk>> {
        /// Never 0, which stands for no buffer.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        Ok(Arc::new(Chunk {
            buffer: self.context.buffer(bytes, usage, false)?,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            intervals: Mutex::new(Intervals::new(bytes)),
            context: self.context.clone(),
        }))
    }

    /// Makes a buffer of so many bytes, if there is none as large; several where one can't be.
    pub(crate) fn reserve(&self, bytes: usize) -> Result<()> {
        let bytes = capacity(bytes);
        let mut chunks = lock(&self.chunks);
        if chunks.iter().any(|chunk| lock(&chunk.intervals).end() >= bytes) {
            return Ok(());
        }
        chunks.retain(|chunk| Arc::strong_count(chunk) > 1);
        let largest = LARGEST.min(usize::try_from(self.context.limits.max_buffer_size).unwrap_or(LARGEST));
        let whole = bytes / largest;
        // The whole can't be had where its parts are more than any device has.
        if whole > 64 {
            return Err(Error::OutOfMemory { needed: bytes });
        }
        let made = (0..=whole)
            .map(|part| if part < whole { largest } else { bytes % largest })
            .filter(|&part| part > 0)
            .map(|part| self.chunk(part))
            .collect::<Result<Vec<_>>>()
            .map_err(|error| match error {
                Error::OutOfMemory { .. } => Error::OutOfMemory { needed: bytes },
                other => other,
            })?;
        chunks.extend(made);
        Ok(())
    }

    /// Gives buffers back that nothing is in.
    pub(crate) fn trim(&self) {
        // New places are made under this lock only.
        lock(&self.chunks).retain(|chunk| Arc::strong_count(chunk) > 1);
    }

    /// How many buffers there are, and their bytes.
    pub(crate) fn held(&self) -> (usize, usize) {
        let chunks = lock(&self.chunks);
        (chunks.len(), chunks.iter().map(|chunk| lock(&chunk.intervals).end()).sum())
    }
}

/// Bytes of a buffer that are in use.
pub(crate) struct Place {
    chunk: Arc<Chunk>,
    start: usize,
    length: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.chunk.intervals).give(self.start, self.length);
    }
}

/// Bytes of a buffer, as they are bound.
#[derive(Clone, Copy)]
pub(crate) struct Span<'a> {
    pub(crate) buffer: &'a wgpu::Buffer,
    pub(crate) id: u64,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl Place {
    /// So many bytes from `start` on, with what a read of four elements takes after them.
    pub(crate) fn span(&self, start: usize, bytes: usize) -> Span<'_> {
        let length = bytes.max(1).next_multiple_of(16);
        debug_assert!(start + length <= self.length);
        Span {
            buffer: &self.chunk.buffer,
            id: self.chunk.id,
            offset: (self.start + start) as u64,
            length: length as u64,
        }
    }

    /// All of it.
    pub(crate) fn whole(&self) -> Span<'_> {
        self.span(0, self.length)
    }

    /// Whether it is memory of this device.
    pub(crate) fn is_on(&self, context: &Arc<Context>) -> bool {
        Arc::ptr_eq(&self.chunk.context, context)
    }
}
