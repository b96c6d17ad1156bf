//! Memory for tensors: aligned, recycled, always initialised.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    collections::BTreeMap,
    ptr::NonNull,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{Error, Intervals, Result};

/// Bytes of a cache line, and of the widest vector.
const ALIGN: usize = 64;
/// Kernels read whole vectors, so every buffer has this much readable room after its end.
const SLACK: usize = 512;

/// What a buffer of so many bytes takes: eight classes per power of two waste an eighth at most.
pub(in crate::cpu) fn capacity(bytes: usize) -> usize {
    // No allocation is as large.
    let bytes = bytes.min(isize::MAX as usize / 4);
    let step = ((bytes + SLACK).next_power_of_two() / 16).max(ALIGN);
    (bytes + SLACK).next_multiple_of(step)
}

/// Types that any bits are a value of.
///
/// # Safety
/// The type has no padding and no invalid bit pattern, and an alignment of at most [`ALIGN`].
pub(crate) unsafe trait Plain: Copy + Send + Sync + 'static {}
// SAFETY: numbers take any bits.
unsafe impl Plain for f32 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for i8 {}

/// Where buffers come from: an arena, once its size is known, and outside of it blocks that were given back, by size. Recycling spares
/// the kernel's page faults, which cost more than many operations.
#[derive(Default)]
pub(crate) struct Pool {
    arena: Mutex<Option<Arc<Arena>>>,
    free: Mutex<BTreeMap<usize, Vec<Block>>>,
    /// Bytes of all blocks that were ever made outside the arena.
    outside_arena: AtomicUsize,
}

/// One allocation that many buffers are parts of.
struct Arena {
    /// Keeps the allocation.
    whole: Block,
    intervals: Mutex<Intervals>,
}

impl Pool {
    /// Makes an arena of so many bytes, if there is none as large, which the buffers to come are parts of as long as they fit.
    pub(in crate::cpu) fn reserve(&self, bytes: usize) -> Result<()> {
        let mut current = self.arena.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes == 0 || current.as_ref().is_some_and(|arena| arena.whole.capacity >= bytes) {
            return Ok(());
        }
        // An earlier one goes with the last buffer in it, and so before the larger one comes if there is none.
        *current = None;
        self.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let arena = Arena { whole: Block::new(bytes)?, intervals: Mutex::new(Intervals::new(bytes)) };
        *current = Some(Arc::new(arena));
        Ok(())
    }

    /// Gives free blocks back to the system, and the arena if no buffer is part of it.
    pub(in crate::cpu) fn trim(&self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let mut arena = self.arena.lock().unwrap_or_else(PoisonError::into_inner);
        // Parts hold it too. New ones are made under this lock only.
        if arena.as_ref().is_some_and(|arena| Arc::strong_count(arena) == 1) {
            *arena = None;
        }
    }

    /// A block of at least `capacity` bytes: of the arena, or recycled, or new.
    fn block(&self, capacity: usize) -> Result<Block> {
        let arena = self.arena.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(block) = arena.and_then(|arena| arena.part(capacity)).or_else(|| self.recycled(capacity)) {
            return Ok(block);
        }
        let block = Block::new(capacity)?;
        self.outside_arena.fetch_add(capacity, Ordering::Relaxed);
        Ok(block)
    }

    /// Bytes of all blocks that were ever made outside the arena.
    pub(in crate::cpu) fn outside_arena(&self) -> usize {
        self.outside_arena.load(Ordering::Relaxed)
    }

    /// Takes back a block.
    fn recycle(&self, block: Block) {
        if block.arena.is_none() {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            free.entry(block.capacity).or_default().push(block);
        }
    }

    /// A free block of at least `capacity` bytes, if there is one that does not waste as much again.
    fn recycled(&self, capacity: usize) -> Option<Block> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let (&size, blocks) = free.range_mut(capacity..=2 * capacity).next()?;
        let block = blocks.pop();
        if blocks.is_empty() {
            free.remove(&size);
        }
        block
    }
}

/// One allocation, or a part of an arena.
struct Block {
    /// The first byte, a multiple of [`ALIGN`].
    data: NonNull<u8>,
    capacity: usize,
    /// What the allocator gave, unless it is a part.
    allocation: Option<(NonNull<u8>, Layout)>,
    /// What it is a part of, and where it begins there.
    arena: Option<(Arc<Arena>, usize)>,
}

impl Arena {
    /// A part of at least `capacity` bytes, if it has as many that are free.
    fn part(self: Arc<Self>, capacity: usize) -> Option<Block> {
        let start = self.intervals.lock().unwrap_or_else(PoisonError::into_inner).take(capacity)?;
        // SAFETY: the interval is within the allocation.
        let data = unsafe { self.whole.data.add(start) };
        Some(Block { data, capacity, allocation: None, arena: Some((self, start)) })
    }
}

// SAFETY: a block is plain memory that its holder owns alone.
unsafe impl Send for Block {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for Block {}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some((start, layout)) = self.allocation {
            // SAFETY: `start` came from `alloc_zeroed` with this layout and is freed once.
            unsafe { dealloc(start.as_ptr(), layout) }
        }
        if let Some((arena, start)) = &self.arena {
            arena.intervals.lock().unwrap_or_else(PoisonError::into_inner).give(*start, self.capacity);
        }
    }
}

impl Block {
    /// An allocator that is asked for more than its usual alignment writes the zeros itself. Asked for less, it leaves
    /// them to the system, so that a page is made by the thread that first needs it.
    fn new(capacity: usize) -> Result<Self> {
        let none = Error::OutOfMemory { needed: capacity };
        let Some(Ok(layout)) = capacity.checked_add(ALIGN).map(|bytes| Layout::from_size_align(bytes, 1)) else {
            return Err(none);
        };
        // SAFETY: the layout has a size over zero, that of the alignment.
        let Some(start) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { return Err(none) };
        // SAFETY: the offset is below `ALIGN`, by which the allocation is larger than the capacity.
        let data = unsafe { start.add(start.align_offset(ALIGN)) };
        Ok(Self { data, capacity, allocation: Some((start, layout)), arena: None })
    }
}

/// The elements of a tensor or of a packed weight: bytes with typed views.
pub(crate) struct Buffer {
    /// Taken only when dropped.
    block: Option<Block>,
    bytes: usize,
    pool: Arc<Pool>,
}

impl Buffer {
    /// Room for `length` elements with unspecified (but initialised) contents.
    pub(crate) fn new<T: Plain>(pool: &Arc<Pool>, length: usize) -> Result<Self> {
        let bytes = length.checked_mul(size_of::<T>()).filter(|&bytes| bytes <= isize::MAX as usize / 4);
        let bytes = bytes.ok_or(Error::OutOfMemory { needed: length.saturating_mul(size_of::<T>()) })?;
        let block = pool.block(capacity(bytes))?;
        Ok(Self { block: Some(block), bytes, pool: pool.clone() })
    }

    /// Room for so many bytes of the same pool.
    pub(crate) fn alike(&self, bytes: usize) -> Result<Self> {
        Self::new::<i8>(&self.pool, bytes)
    }

    /// Room for `length` zeros.
    pub(crate) fn zeros(pool: &Arc<Pool>, length: usize) -> Result<Self> {
        let mut buffer = Self::new::<f32>(pool, length)?;
        buffer.slice_mut::<f32>().fill(0.0);
        Ok(buffer)
    }

    fn start<T: Plain>(&self) -> *mut T {
        match &self.block {
            Some(block) => block.data.as_ptr().cast(),
            None => NonNull::<T>::dangling().as_ptr(),
        }
    }

    /// Its elements, as many as fit.
    pub(crate) fn slice<T: Plain>(&self) -> &[T] {
        // SAFETY: the block holds that many bytes and more, aligned, initialised by zeros or an earlier owner, and any bits are a `T`.
        unsafe { std::slice::from_raw_parts(self.start::<T>(), self.bytes / size_of::<T>()) }
    }

    /// Its elements, as many as fit.
    pub(crate) fn slice_mut<T: Plain>(&mut self) -> &mut [T] {
        // SAFETY: as above, and `&mut self` owns the block alone.
        unsafe { std::slice::from_raw_parts_mut(self.start::<T>(), self.bytes / size_of::<T>()) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.pool.recycle(block);
        }
    }
}
