//! The reference backend: every operation as plain loops, the truth that the fast backends are held to.
//!
//! Operations are written once, in double precision, one file per family; `Reference<E>` rounds their results to `E`.
//! `Reference<f64>` so is exact enough for finite differences, and `Reference<f32>` is the best that `f32` results can be.

mod activation;
mod array;
mod attention;
mod backend;
mod conv;
mod differentiable;
mod elementwise;
mod form;
mod linear;
mod norm;
mod optimizer;

use std::marker::PhantomData;

use array::Wide;
pub use array::{Array, Element, Param};

/// The reference backend with elements `E`: `f32` or `f64`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference<E>(PhantomData<E>);

impl<E: Element> Reference<E> {
    /// The backend; it has no state.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

/// Rounds a result to the backend's elements.
fn round<E: Element>(x: Wide) -> Array<E> {
    x.convert(E::from_f64)
}
