use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::var::Source;
use super::{Parameter, Var};
use crate::{Differentiable, Result};

/// The gradients of a loss, of every parameter and leaf that it depends on, in their shapes.
pub struct Gradients<B: Differentiable> {
    parameters: BTreeMap<usize, B::Tensor>,
    leaves: BTreeMap<u64, B::Tensor>,
}

impl<B: Differentiable> Gradients<B> {
    pub(super) fn new() -> Self {
        Self { parameters: BTreeMap::new(), leaves: BTreeMap::new() }
    }

    /// The gradient of a parameter; none if the loss does not depend on it.
    pub fn get(&self, parameter: &Parameter<B>) -> Option<&B::Tensor> {
        self.parameters.get(&parameter.index())
    }

    /// The gradient of a [leaf](super::Tape::leaf); none if the loss does not depend on it, or for any other value.
    pub fn leaf(&self, leaf: &Var<B>) -> Option<&B::Tensor> {
        match leaf.source() {
            Some(Source::Leaf(id)) => self.leaves.get(&id),
            _ => None,
        }
    }

    /// The gradients of the parameters, with their [indices](Parameter::index), in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &B::Tensor)> {
        self.parameters.iter().map(|(&index, gradient)| (index, gradient))
    }

    /// Adds other gradients of the same tape to these. Errors when a parameter's two have different shapes.
    pub fn accumulate(&mut self, inner: &B, other: Self) -> Result<()> {
        for (index, gradient) in other.parameters {
            add(inner, self.parameters.entry(index), gradient)?;
        }
        for (id, gradient) in other.leaves {
            add(inner, self.leaves.entry(id), gradient)?;
        }
        Ok(())
    }

    pub(super) fn add_parameter(&mut self, inner: &B, index: usize, gradient: B::Tensor) -> Result<()> {
        add(inner, self.parameters.entry(index), gradient)
    }

    pub(super) fn add_leaf(&mut self, inner: &B, id: u64, gradient: B::Tensor) -> Result<()> {
        add(inner, self.leaves.entry(id), gradient)
    }
}

fn add<B: Differentiable, K: Ord>(inner: &B, entry: Entry<'_, K, B::Tensor>, gradient: B::Tensor) -> Result<()> {
    match entry {
        Entry::Occupied(mut sum) => inner.accumulate(sum.get_mut(), &gradient),
        Entry::Vacant(place) => {
            place.insert(gradient);
            Ok(())
        }
    }
}
