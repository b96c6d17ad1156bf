use std::marker::PhantomData;

use super::{Element, Reference};
use crate::{BackendOptions, CancelToken, DType, Device, Error, Precision, Result, Threads};

/// The reference as a device: whatever runs on devices can be held to it. It computes on the thread that asks, in its elements only.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReferenceDevice<E>(PhantomData<E>);

impl<E: Element> ReferenceDevice<E> {
    /// The device; it has no state.
    #[must_use]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<E: Element> Device for ReferenceDevice<E> {
    type Backend = Reference<E>;

    fn name(&self) -> String {
        format!("reference ({})", E::DTYPE)
    }

    fn backend(&self, options: BackendOptions) -> Result<Reference<E>> {
        match options.precision.activations() {
            DType::F32 => Ok(Reference::with_cancel(options.cancel)),
            _ => Err(Error::Invalid {
                op: "reference",
                message: format!("it does not compute in {}, expected f32", options.precision),
            }),
        }
    }

    fn with_cancel(_: &Reference<E>, cancel: CancelToken) -> Reference<E> {
        Reference::with_cancel(cancel)
    }

    fn fastest_precision(&self) -> Precision {
        Precision::F32
    }

    fn threads(&self) -> &Threads {
        Threads::CALLER
    }
}
