use std::{fmt, ops::Deref};

use crate::{Error, Result};

/// The extents of a tensor, outermost first, one to four of them: `(B, H, W, C)`, `(B, L, C)`, `(B, C)` or `(C)`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [usize; 4],
    rank: usize,
}

impl Shape {
    /// A shape from a slice of one to four extents over 0 whose product fits in memory.
    pub fn new(dims: &[usize]) -> Result<Self> {
        let fits = dims
            .iter()
            .try_fold(8usize, |product, &dim| product.checked_mul(dim))
            .is_some_and(|n| n <= isize::MAX as usize);
        if dims.is_empty() || dims.len() > 4 || dims.contains(&0) || !fits {
            return Err(Error::Invalid {
                op: "shape",
                message: format!("{dims:?} is not one to four extents over 0 that fit in memory"),
            });
        }
        let mut shape = Self { dims: [1; 4], rank: dims.len() };
        shape.dims[..dims.len()].copy_from_slice(dims);
        Ok(shape)
    }

    /// The number of elements.
    pub fn count(&self) -> usize {
        self.iter().product()
    }

    /// The innermost extent: channels, or features.
    pub fn last(&self) -> usize {
        self[self.rank - 1]
    }

    /// How many rows of [`last`](Self::last) elements there are.
    pub fn rows(&self) -> usize {
        self[..self.rank - 1].iter().product()
    }

    /// The same shape with another innermost extent.
    pub fn with_last(mut self, last: usize) -> Self {
        self.dims[self.rank - 1] = last;
        self
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(array: [usize; N]) -> Self {
        const { assert!(N >= 1 && N <= 4) };
        let mut dims = [1; 4];
        dims[..N].copy_from_slice(&array);
        Self { dims, rank: N }
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.dims[..self.rank]
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        for (i, dim) in self.iter().enumerate() {
            write!(f, "{}{dim}", if i > 0 { ", " } else { "" })?;
        }
        f.write_str(")")
    }
}
