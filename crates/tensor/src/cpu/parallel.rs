//! Work divided among threads.

use rayon::prelude::*;

/// A pointer that tasks share. Each task must write its own elements only.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(*mut T);

// SAFETY: whoever dereferences promises that tasks touch disjoint elements.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T: Copy> Shared<T> {
    pub(crate) fn new(data: &mut [T]) -> Self {
        Self(data.as_mut_ptr())
    }

    /// The elements from `start` on, as a slice.
    ///
    /// # Safety
    /// They are within the data, which is still borrowed, and no other task touches them meanwhile.
    pub(crate) unsafe fn slice<'a>(self, start: usize, length: usize) -> &'a mut [T] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), length) }
    }
}

/// The threads of a backend.
pub(crate) struct Threads(rayon::ThreadPool);

impl Threads {
    /// `count` threads; as many as there are cores when it is 0.
    pub(crate) fn new(count: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        rayon::ThreadPoolBuilder::new().num_threads(count).thread_name(|i| format!("calotype-{i}")).build().map(Self)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.current_num_threads()
    }

    /// Runs `task(0..count)` on all threads. What a task computes must not depend on which thread runs it, nor on how many
    /// there are: that keeps results the same on every machine with the same instructions.
    pub(crate) fn each(&self, count: usize, task: impl Fn(usize) + Sync) {
        match count {
            0 => {}
            1 => task(0),
            _ => self.0.install(|| (0..count).into_par_iter().with_max_len(1).for_each(&task)),
        }
    }

    /// What `task(0..count)` gives, in that order; as [`each`](Self::each).
    pub(crate) fn map<T: Send>(&self, count: usize, task: impl Fn(usize) -> T + Sync) -> Vec<T> {
        match count {
            0 => Vec::new(),
            1 => vec![task(0)],
            _ => self.0.install(|| (0..count).into_par_iter().with_max_len(1).map(&task).collect()),
        }
    }

    /// As [`each`](Self::each), until a task fails.
    pub(crate) fn try_each<E: Send>(
        &self,
        count: usize,
        task: impl Fn(usize) -> Result<(), E> + Sync,
    ) -> Result<(), E> {
        match count {
            0 => Ok(()),
            1 => task(0),
            _ => self.0.install(|| (0..count).into_par_iter().with_max_len(1).try_for_each(&task)),
        }
    }

    /// Runs `task(first index, chunk)` over chunks of `length` elements of `data`.
    pub(crate) fn chunks<T: Send>(&self, data: &mut [T], length: usize, task: impl Fn(usize, &mut [T]) + Sync) {
        let length = length.max(1);
        if data.len() <= length {
            if !data.is_empty() {
                task(0, data);
            }
            return;
        }
        self.0.install(|| {
            data.par_chunks_mut(length).with_max_len(1).enumerate().for_each(|(i, chunk)| task(i * length, chunk))
        });
    }
}
