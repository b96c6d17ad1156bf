//! Work divided among threads.

use std::sync::Arc;

use rayon::prelude::*;

use crate::{Error, Result};

/// The threads of a device, which all its backends share. Cloning shares them too.
///
/// One thread is the caller's own: then no other is ever started. What a task computes must not depend on which thread runs it, nor on
/// how many there are: that keeps results the same on every machine with the same instructions.
#[derive(Clone, Debug)]
pub struct Threads(Option<Arc<rayon::ThreadPool>>);

impl Threads {
    /// `count` threads; as many as there are cores when it is 0.
    ///
    /// # Errors
    /// The system starts no more threads.
    pub fn new(count: usize) -> Result<Self> {
        let count = match count {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        if count == 1 {
            return Ok(Self(None));
        }
        let name = |i| format!("calotype-{i}");
        let pool = rayon::ThreadPoolBuilder::new().num_threads(count).thread_name(name).build();
        let pool = pool
            .map_err(|e| Error::Invalid { op: "threads", message: format!("{count} threads can't be started: {e}") })?;
        Ok(Self(Some(Arc::new(pool))))
    }

    /// The thread that asks, alone.
    pub const CALLER: &Self = &Self(None);

    /// How many threads there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.as_ref().map_or(1, |pool| pool.current_num_threads())
    }

    /// The pool, where work of so many tasks is worth it.
    fn pool(&self, count: usize) -> Option<&rayon::ThreadPool> {
        self.0.as_deref().filter(|_| count > 1)
    }

    /// Runs `task(0..count)` on all threads.
    pub fn each(&self, count: usize, task: impl Fn(usize) + Sync) {
        match self.pool(count) {
            None => (0..count).for_each(task),
            Some(pool) => pool.install(|| (0..count).into_par_iter().with_max_len(1).for_each(&task)),
        }
    }

    /// As [`each`](Self::each), until a task fails.
    ///
    /// # Errors
    /// That of a task that failed.
    pub fn try_each<E: Send>(&self, count: usize, task: impl Fn(usize) -> Result<(), E> + Sync) -> Result<(), E> {
        match self.pool(count) {
            None => (0..count).try_for_each(task),
            Some(pool) => pool.install(|| (0..count).into_par_iter().with_max_len(1).try_for_each(&task)),
        }
    }

    /// What `task(0..count)` gives, in that order, until one fails.
    ///
    /// # Errors
    /// That of a task that failed.
    pub fn try_map<T: Send, E: Send>(
        &self,
        count: usize,
        task: impl Fn(usize) -> Result<T, E> + Sync,
    ) -> Result<Vec<T>, E> {
        match self.pool(count) {
            None => (0..count).map(task).collect(),
            Some(pool) => pool.install(|| (0..count).into_par_iter().with_max_len(1).map(&task).collect()),
        }
    }

    /// What `task(0..count)` gives, in that order.
    pub fn map<T: Send>(&self, count: usize, task: impl Fn(usize) -> T + Sync) -> Vec<T> {
        match self.pool(count) {
            None => (0..count).map(task).collect(),
            Some(pool) => pool.install(|| (0..count).into_par_iter().with_max_len(1).map(&task).collect()),
        }
    }

    /// Runs `task(first index, chunk)` over chunks of `length` elements of `data`.
    pub fn chunks<T: Send>(&self, data: &mut [T], length: usize, task: impl Fn(usize, &mut [T]) + Sync) {
        let length = length.max(1);
        match self.pool(data.len().div_ceil(length)) {
            None => data.chunks_mut(length).enumerate().for_each(|(i, chunk)| task(i * length, chunk)),
            Some(pool) => pool.install(|| {
                data.par_chunks_mut(length).with_max_len(1).enumerate().for_each(|(i, chunk)| task(i * length, chunk))
            }),
        }
    }
}
