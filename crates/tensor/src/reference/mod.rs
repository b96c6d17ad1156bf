//! The reference backend: every operation as plain loops, the truth that the fast backends are held to.
//!
//! Operations are written once, in double precision, one file per family; `Reference<E>` rounds their results to `E`.
//! `Reference<f64>` so is exact enough for finite differences, and `Reference<f32>` is the best that `f32` results can be.

mod activation;
mod array;
mod attention;
mod backend;
mod conv;
mod depthwise;
mod device;
mod elementwise;
mod form;
mod linear;
mod norm;
mod optimizer;

use std::marker::PhantomData;

use crate::{CancelToken, Result};

use array::Wide;
pub use array::{Array, Element, Param};
pub use device::ReferenceDevice;

/// The reference backend with elements `E`: `f32` or `f64`.
#[derive(Clone, Debug, Default)]
pub struct Reference<E> {
    /// What stops it, if anything does.
    cancel: Option<CancelToken>,
    elements: PhantomData<E>,
}

impl<E: Element> Reference<E> {
    /// The backend, which nothing stops.
    pub const fn new() -> Self {
        Self { cancel: None, elements: PhantomData }
    }

    fn with_cancel(cancel: CancelToken) -> Self {
        Self { cancel: Some(cancel), ..Self::new() }
    }

    /// Fails once it was cancelled.
    fn check_cancel(&self) -> Result<()> {
        self.cancel.as_ref().map_or(Ok(()), CancelToken::check)
    }
}

/// Rounds a result to the backend's elements.
fn round<E: Element>(x: Wide) -> Array<E> {
    x.convert(E::from_f64)
}
