use rayon::prelude::*;

use crate::{Error, Result};

/// How many elements one thread reads at a time.
const PIECE: usize = 1 << 16;

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

    /// All elements, read on all cores.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn to_vec(&self) -> Result<Vec<f32>> {
        let mut values = vec![0.0; self.count()];
        values.par_chunks_mut(PIECE).enumerate().try_for_each(|(n, piece)| self.read(n * PIECE, piece))?;
        Ok(values)
    }
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
