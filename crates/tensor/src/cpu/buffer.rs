//! Memory for tensors: aligned, recycled, always initialised.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    collections::BTreeMap,
    ptr::NonNull,
    sync::{Arc, Mutex, PoisonError},
};

/// Bytes of a cache line, and of the widest vector.
const ALIGN: usize = 64;
/// Kernels read whole vectors, so every buffer has this much readable room after its end.
const SLACK: usize = 512;

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

/// Buffers that were given back, by size. Recycling spares the kernel's page faults, which cost more than many operations.
#[derive(Default)]
pub(crate) struct Pool {
    free: Mutex<BTreeMap<usize, Vec<Block>>>,
}

impl Pool {
    /// A free block of at least `capacity` bytes, if there is one that does not waste as much again.
    fn take(&self, capacity: usize) -> Option<Block> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let (&size, blocks) = free.range_mut(capacity..=2 * capacity).next()?;
        let block = blocks.pop();
        if blocks.is_empty() {
            free.remove(&size);
        }
        block
    }
}

/// One allocation.
struct Block {
    /// What the allocator gave.
    start: NonNull<u8>,
    layout: Layout,
    /// The first multiple of [`ALIGN`] in it.
    data: NonNull<u8>,
    capacity: usize,
}

// SAFETY: a block is plain memory that its holder owns alone.
unsafe impl Send for Block {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for Block {}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: `start` came from `alloc_zeroed` with this layout and is freed once.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

impl Block {
    /// An allocator that is asked for more than its usual alignment writes the zeros itself. Asked for less, it leaves
    /// them to the system, so that a page is made by the thread that first needs it.
    fn new(capacity: usize) -> Self {
        let Some(Ok(layout)) = capacity.checked_add(ALIGN).map(|bytes| Layout::from_size_align(bytes, 1)) else {
            panic!("a buffer of {capacity} bytes is past the address space")
        };
        // SAFETY: the layout has a size over zero, since every capacity includes the slack.
        let Some(start) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        // SAFETY: the offset is below `ALIGN`, by which the allocation is larger than the capacity.
        let data = unsafe { start.add(start.align_offset(ALIGN)) };
        Self { start, layout, data, capacity }
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
    pub(crate) fn new<T: Plain>(pool: &Arc<Pool>, length: usize) -> Self {
        let bytes = length * size_of::<T>();
        // Eight classes per power of two waste an eighth at most.
        let step = ((bytes + SLACK).next_power_of_two() / 16).max(ALIGN);
        let capacity = (bytes + SLACK).next_multiple_of(step);
        let block = pool.take(capacity).unwrap_or_else(|| Block::new(capacity));
        Self { block: Some(block), bytes, pool: pool.clone() }
    }

    /// Room for so many bytes of the same pool.
    pub(crate) fn alike(&self, bytes: usize) -> Self {
        Self::new::<i8>(&self.pool, bytes)
    }

    /// Room for `length` zeros.
    pub(crate) fn zeros(pool: &Arc<Pool>, length: usize) -> Self {
        let mut buffer = Self::new::<f32>(pool, length);
        buffer.slice_mut::<f32>().fill(0.0);
        buffer
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
            let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
            free.entry(block.capacity).or_default().push(block);
        }
    }
}
