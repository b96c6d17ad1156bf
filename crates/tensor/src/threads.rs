//! Work divided among threads.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rayon::prelude::*;

use crate::{Error, Result};

/// The threads of a device, which all its backends share. Cloning shares them too.
///
/// One thread is the caller's own: then no other is ever started. What a task computes must not depend on which thread runs it, nor on
/// how many there are: that keeps results the same on every machine with the same instructions.
#[derive(Clone, Debug)]
pub struct Threads(Option<Arc<Pool>>);

#[derive(Debug)]
struct Pool {
    threads: rayon::ThreadPool,
    /// Whether work runs inside, see [`Threads::enter`].
    is_entered: AtomicBool,
}

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
        let threads = rayon::ThreadPoolBuilder::new().num_threads(count).thread_name(name).build();
        let threads = threads
            .map_err(|e| Error::Invalid { op: "threads", message: format!("{count} threads can't be started: {e}") })?;
        Ok(Self(Some(Arc::new(Pool { threads, is_entered: AtomicBool::new(false) }))))
    }

    /// The thread that asks, alone.
    pub const CALLER: &Self = &Self(None);

    /// How many threads there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.as_ref().map_or(1, |pool| pool.threads.current_num_threads())
    }

    /// The pool, where work of so many tasks is worth it.
    fn pool(&self, count: usize) -> Option<&rayon::ThreadPool> {
        self.0.as_deref().filter(|_| count > 1).map(|pool| &pool.threads)
    }

    /// Runs `work`, which divides many small pieces of work among the threads, on one of them: each piece then begins without waking
    /// who waits for it. A second caller's work runs on its own thread meanwhile, so that nobody waits for a whole network.
    ///
    /// `work` must hold no lock that other work on these threads takes: a thread that waits for a piece does other pieces.
    pub fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        /// Leaves even if the work panics.
        struct Inside<'a>(&'a AtomicBool);
        impl Drop for Inside<'_> {
            fn drop(&mut self) {
                self.0.store(false, Ordering::Release);
            }
        }
        match &self.0 {
            Some(pool) if !pool.is_entered.swap(true, Ordering::Acquire) => {
                let _inside = Inside(&pool.is_entered);
                pool.threads.install(work)
            }
            _ => work(),
        }
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

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        thread,
    };

    use super::*;

    fn is_inside() -> bool {
        thread::current().name().is_some_and(|name| name.starts_with("calotype-"))
    }

    #[test]
    fn one_caller_at_a_time_is_inside() {
        let threads = Threads::new(2).unwrap();
        let sum = |threads: &Threads| threads.map(100, |n| n).iter().sum::<usize>();
        let inside = threads.enter(|| {
            let second = thread::scope(|scope| scope.spawn(|| threads.enter(|| (is_inside(), sum(&threads)))).join());
            let nested = threads.enter(|| (is_inside(), sum(&threads)));
            (is_inside(), nested, second.unwrap())
        });
        assert_eq!(inside, (true, (true, 4950), (false, 4950)));
        let broken = catch_unwind(AssertUnwindSafe(|| threads.enter(|| -> usize { panic!("on purpose") })));
        assert!(broken.is_err());
        assert!(threads.enter(is_inside) && !is_inside());
        assert!(!Threads::CALLER.enter(is_inside));
    }
}
