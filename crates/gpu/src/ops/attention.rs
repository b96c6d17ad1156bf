//! Attention.

use calotype_tensor::{Attention, DType, Error, Op, Result, op_shapes};

use super::{Run, lanes, words};
use crate::{
    Gpu, Tensor,
    kernel::{Program, WIDEST_HEAD, WIDEST_MATRIX_HEAD, queries},
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
        let dim = extents.head_dim;
        let wide = lanes(&[dim]) == 4;
        let by_matrices = wide && self.dtype == DType::F16 && dim <= WIDEST_MATRIX_HEAD;
        // None of this depends on the number of queries, as the batch may not.
        let (program, block) = match self.context.matrices.filter(|_| by_matrices) {
            Some(matrices) => {
                let steps = (dim as u32).div_ceil(matrices.side);
                (Program::MatrixAttention { steps, matrices }, 4 * matrices.side)
            }
            None => {
                let chunks = dim.div_ceil(64) as u32;
                (Program::Attention { chunks }, queries(chunks))
            }
        };
        let scale = 1.0 / (extents.head_dim as f32).sqrt();
        let [queries_all, keys, heads, dim] =
            words(op, [extents.queries, extents.keys, options.heads, extents.head_dim])?;
        let blocks = extents.queries.div_ceil(block as usize);
        let flops = Op::Attention(options).flops(&[q.shape, k.shape, v.shape], &[]);
        self.in_parts(blocks, flops, |first, count| {
            self.launch(Run {
                program,
                wide,
                spans: &[Some(y.span()), Some(q.span()), Some(k.span()), Some(v.span())],
                words: &[queries_all, keys, heads, dim, options.causal.into(), scale.to_bits(), first],
                grid: [count, options.heads, extents.batch],
            })
        })?;
        Ok(y)
    }
}
