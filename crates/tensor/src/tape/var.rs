use crate::Differentiable;

/// A tensor on a [`Tape`](super::Tape), which knows where its gradient goes. Cloning is cheap.
pub struct Var<B: Differentiable> {
    value: B::Tensor,
    source: Option<Source>,
}

/// Where a gradient goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// To a leaf, by its number.
    Leaf(u64),
    /// To a parameter, by its index.
    Parameter(usize),
    /// To the node at `index`. Places are used again, serial numbers never.
    Node { index: usize, serial: u64 },
    /// Nowhere yet: computed inside a checkpoint that is not being replayed.
    Inside,
}

impl<B: Differentiable> Var<B> {
    pub(super) fn new(value: B::Tensor, source: Option<Source>) -> Self {
        Self { value, source }
    }

    /// The tensor itself.
    pub fn value(&self) -> &B::Tensor {
        &self.value
    }

    pub(super) fn source(&self) -> Option<Source> {
        self.source
    }
}

impl<B: Differentiable> Clone for Var<B> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), source: self.source }
    }
}
