//! Changes of low rank beside weights that don't learn (LoRA: Hu et al. 2021).

use std::rc::Rc;

use super::{Parameter, Tape, Var};
use crate::{Activation, Backend, Conv2d, Differentiable, Op, Result, Shape};

/// A change of low rank: `s · B(A x)` is added to what the weight makes of `x`.
pub struct LowRank<B: Differentiable> {
    /// `A`: a linear map to the rank; of a convolution one with the weight's kernel.
    pub down: Parameter<B>,
    /// `B`: a linear map from the rank; of a convolution one of 1×1.
    pub up: Parameter<B>,
    /// `s`.
    pub scale: f32,
    /// What `x` is multiplied by on its way to `A`: zeros, and for the rest one over their share. It must give the same for the same
    /// step, since a checkpoint's block runs twice.
    pub dropout: Option<Rc<dyn Fn(Shape) -> Vec<f32>>>,
}

impl<B: Differentiable> Tape<B> {
    /// Adds a change to the weight of this name, of a linear map or a convolution, wherever it is multiplied by from now on.
    pub fn adapt(&self, weight: &str, change: LowRank<B>) {
        self.changed.borrow_mut().insert(weight.to_owned(), Rc::new(change));
    }

    /// The change of a weight.
    fn change_of(&self, weight: &Parameter<B>) -> Option<Rc<LowRank<B>>> {
        let changed = self.changed.borrow();
        if changed.is_empty() { None } else { changed.get(weight.name()).cloned() }
    }

    /// The product `op` of a weight that is changed: `activation(W x + b + s · B(A x)) + residual`. None of one that is not.
    pub(super) fn product_of_changed(
        &self,
        op: &Op,
        (x, residual): (&Var<B>, Option<&Var<B>>),
        (weight, bias): (&Parameter<B>, Option<&Parameter<B>>),
    ) -> Result<Option<Var<B>>> {
        let Some(change) = self.change_of(weight) else { return Ok(None) };
        let kept = match &change.dropout {
            Some(mask) => &self.mul(x, &self.from_f32(self.shape(x), mask(self.shape(x)))?)?,
            None => x,
        };
        let none = Activation::None;
        let (y, activation) = match *op {
            Op::Linear(activation) => {
                let low = self.linear(kept, &change.down, None, None, none)?;
                let added = self.scale(&self.linear(&low, &change.up, None, None, none)?, change.scale)?;
                (self.product_without_change(&Op::Linear(none), (x, Some(&added)), (weight, bias))?, activation)
            }
            Op::Conv2d(options) => {
                let plain = Conv2d { activation: none, ..options };
                let low = self.conv2d(kept, &change.down, None, None, plain)?;
                let added = self.scale(&self.conv2d(&low, &change.up, None, None, Conv2d::padded(0))?, change.scale)?;
                (
                    self.product_without_change(&Op::Conv2d(plain), (x, Some(&added)), (weight, bias))?,
                    options.activation,
                )
            }
            _ => return Ok(None),
        };
        let y = if activation == none { y } else { self.activation(&y, activation)? };
        Ok(Some(match residual {
            Some(residual) => self.add(&y, residual)?,
            None => y,
        }))
    }
}
