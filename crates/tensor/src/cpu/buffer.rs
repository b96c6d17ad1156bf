//! Memory for tensors: aligned, recycled, always initialised.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    collections::HashMap,
    ptr::NonNull,
    sync::{Arc, Mutex, PoisonError},
};

/// Bytes of a cache line, and of the widest vector.
const ALIGN: usize = 64;
/// Kernels read whole vectors, so every buffer has this much readable room after its end.
const SLACK: usize = 512;

/// Buffers that were given back, by size. Recycling spares the kernel's page faults, which cost more than many operations.
#[derive(Default)]
pub(crate) struct Pool {
    free: Mutex<HashMap<usize, Vec<Block>>>,
}

/// One allocation.
struct Block {
    data: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a block is plain memory that its holder owns alone.
unsafe impl Send for Block {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for Block {}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: `data` came from `alloc_zeroed` with this layout and is freed once.
        unsafe { dealloc(self.data.as_ptr(), self.layout) }
    }
}

impl Block {
    fn new(capacity: usize) -> Self {
        let Ok(layout) = Layout::from_size_align(capacity, ALIGN) else {
            panic!("a buffer of {capacity} bytes is past the address space")
        };
        // SAFETY: the layout has a size over zero, since every capacity includes the slack.
        let Some(data) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        Self { data, layout }
    }
}

/// The elements of a tensor or of a packed weight: bytes with typed views.
pub(crate) struct Buffer {
    /// Taken only when dropped.
    block: Option<Block>,
    length: usize,
    pool: Arc<Pool>,
}

impl Buffer {
    /// Room for `length` floats with unspecified (but initialised) contents.
    pub(crate) fn f32(pool: &Arc<Pool>, length: usize) -> Self {
        let bytes = length * size_of::<f32>() + SLACK;
        // Eight classes per power of two waste an eighth at most.
        let step = (bytes.next_power_of_two() / 16).max(ALIGN);
        let capacity = bytes.next_multiple_of(step);
        let recycled = pool.free.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&capacity).and_then(Vec::pop);
        Self { block: Some(recycled.unwrap_or_else(|| Block::new(capacity))), length, pool: pool.clone() }
    }

    /// Room for `length` zeros.
    pub(crate) fn zeros(pool: &Arc<Pool>, length: usize) -> Self {
        let mut buffer = Self::f32(pool, length);
        buffer.as_mut().fill(0.0);
        buffer
    }

    fn start(&self) -> *mut f32 {
        match &self.block {
            Some(block) => block.data.as_ptr().cast(),
            None => NonNull::<f32>::dangling().as_ptr(),
        }
    }
}

impl AsRef<[f32]> for Buffer {
    fn as_ref(&self) -> &[f32] {
        // SAFETY: the block holds `length` floats and more, aligned, initialised by zeros or an earlier owner.
        unsafe { std::slice::from_raw_parts(self.start(), self.length) }
    }
}

impl AsMut<[f32]> for Buffer {
    fn as_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and `&mut self` owns the block alone.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.length) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
            free.entry(block.layout.size()).or_default().push(block);
        }
    }
}
