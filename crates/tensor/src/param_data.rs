use std::sync::OnceLock;

use crate::{CancelToken, DType, Error, Result, Threads};

/// How many elements one thread reads at a time.
const PIECE: usize = 1 << 16;
/// How many elements are turned into bytes at a time.
const READ: usize = 1 << 12;

/// The values of a parameter, which a backend reads in pieces while it packs them: no whole copy need be in memory.
///
/// Elements are in the layout of files, row-major (see [`ParamKind`](crate::ParamKind)).
pub trait ParamData: Sync {
    /// How many elements there are.
    fn count(&self) -> usize;

    /// Writes the elements from `start` on to `to`, as many as it holds. Several threads read at once.
    ///
    /// # Errors
    /// There are not so many elements, or they can't be had: then [`Error::Data`] carries the reason.
    fn read(&self, start: usize, to: &mut [f32]) -> Result<()>;

    /// The type that the elements are kept in where they come from. A backend that keeps it too need not widen and narrow them.
    fn dtype(&self) -> DType {
        DType::F32
    }

    /// Writes the elements from `start` on to `to` in their [`dtype`](Self::dtype), little-endian, as many as it holds. Several threads
    /// read at once.
    ///
    /// # Errors
    /// As [`read`](Self::read), or `to` does not hold whole elements.
    fn read_bytes(&self, start: usize, to: &mut [u8]) -> Result<()> {
        let (numbers, rest) = to.as_chunks_mut::<{ size_of::<f32>() }>();
        if !rest.is_empty() || self.dtype() != DType::F32 {
            let (length, dtype) = (to.len(), self.dtype());
            return Err(Error::Invalid { op: "param", message: format!("{length} bytes of {dtype} can't be read") });
        }
        let mut floats = vec![0.0; numbers.len().min(READ)];
        for (n, numbers) in numbers.chunks_mut(READ).enumerate() {
            let floats = &mut floats[..numbers.len()];
            self.read(start + n * READ, floats)?;
            numbers.iter_mut().zip(floats).for_each(|(bytes, x)| *bytes = x.to_le_bytes());
        }
        Ok(())
    }

    /// All elements, read by the thread that asks.
    ///
    /// # Errors
    /// As [`read`](Self::read), or there is not as much memory.
    fn to_vec(&self) -> Result<Vec<f32>> {
        self.to_vec_with(Threads::CALLER)
    }

    /// All elements, read by all threads.
    ///
    /// # Errors
    /// As [`to_vec`](Self::to_vec).
    fn to_vec_with(&self, threads: &Threads) -> Result<Vec<f32>> {
        let mut values = zeros(self.count())?;
        let error = OnceLock::new();
        threads.chunks(&mut values, PIECE, |start, piece| {
            if error.get().is_none()
                && let Err(e) = self.read(start, piece)
            {
                // The first is told.
                let _ = error.set(e);
            }
        });
        error.into_inner().map_or(Ok(values), Err)
    }
}

/// So many zeros.
///
/// # Errors
/// [`Error::OutOfMemory`].
pub(crate) fn zeros(count: usize) -> Result<Vec<f32>> {
    let mut values = Vec::new();
    let needed = count.saturating_mul(size_of::<f32>());
    values.try_reserve_exact(count).map_err(|_| Error::OutOfMemory { needed })?;
    values.resize(count, 0.0);
    Ok(values)
}

/// Values in memory.
impl<T: AsRef<[f32]> + Sync + ?Sized> ParamData for T {
    fn count(&self) -> usize {
        self.as_ref().len()
    }

    fn read(&self, start: usize, to: &mut [f32]) -> Result<()> {
        let from = self.as_ref().get(start..).and_then(|from| from.get(..to.len())).ok_or_else(|| Error::Invalid {
            op: "param",
            message: format!("{} elements from {start} on were asked for, there are {}", to.len(), self.count()),
        })?;
        to.copy_from_slice(from);
        Ok(())
    }
}

/// The data of another, until a token is cancelled.
pub(crate) struct Cancellable<'a> {
    pub(crate) data: &'a dyn ParamData,
    pub(crate) cancel: &'a CancelToken,
}

impl ParamData for Cancellable<'_> {
    fn count(&self) -> usize {
        self.data.count()
    }

    fn read(&self, start: usize, to: &mut [f32]) -> Result<()> {
        self.cancel.check()?;
        self.data.read(start, to)
    }

    fn dtype(&self) -> DType {
        self.data.dtype()
    }

    fn read_bytes(&self, start: usize, to: &mut [u8]) -> Result<()> {
        self.cancel.check()?;
        self.data.read_bytes(start, to)
    }
}
