//! Attention.

use calotype_tensor::{Attention, Error, Result, op_shapes};

use super::{Run, lanes, words};
use crate::{
    Gpu, Tensor,
    kernel::{Program, WIDEST_HEAD, queries},
};

impl Gpu {
    pub(crate) fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor, options: Attention) -> Result<Tensor> {
        let op = "attention";
        let extents = op_shapes::attention(q.shape, k.shape, v.shape, &options)?;
        if extents.head_dim > WIDEST_HEAD {
            let message = format!("a head has {} channels, a card takes {WIDEST_HEAD}", extents.head_dim);
            return Err(Error::Invalid { op, message });
        }
        let y = self.tensor(q.shape)?;
        let chunks = extents.head_dim.div_ceil(64) as u32;
        let scale = 1.0 / (extents.head_dim as f32).sqrt();
        let [queries_all, keys, heads, dim] =
            words(op, [extents.queries, extents.keys, options.heads, extents.head_dim])?;
        self.launch(Run {
            program: Program::Attention { chunks },
            wide: lanes(&[extents.head_dim]) == 4,
            spans: &[Some(y.span()), Some(q.span()), Some(k.span()), Some(v.span())],
            words: &[queries_all, keys, heads, dim, options.causal.into(), scale.to_bits()],
            grid: [extents.queries.div_ceil(queries(chunks) as usize), options.heads, extents.batch],
        })?;
        Ok(y)
    }
}
