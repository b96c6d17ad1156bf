//! The gradient of attention; the scores are computed again, block by block (Dao et al. 2022).

use crate::cpu::{
    Cpu, Tensor,
    attention::{
        QUERIES, head_start,
        softmax::{Running, running_softmax},
    },
    gemm::{
        add,
        backward::{multiply_block, outer_block},
        packed::{Format, Packed, bits},
    },
    isa::for_each_isa,
    memory::buffer::Buffer,
    parallel::Shared,
};
use crate::{Attention, DType, Result, op_shapes, op_shapes::AttentionExtents};

impl Cpu {
    pub(in crate::cpu) fn attend_backward(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        dy: &Tensor,
        options: Attention,
    ) -> Result<[Tensor; 3]> {
        let extents = op_shapes::attention(q.shape(), k.shape(), v.shape(), &options)?;
        op_shapes::same("attention_backward", "dy", q.shape(), dy.shape())?;
        let op = "attention_backward";
        let data = [q.f32(op)?, k.f32(op)?, v.f32(op)?, dy.f32(op)?];
        let zeros = |x: &Tensor| Buffer::zeros(&self.pool, x.shape().count());
        let mut gradients = [zeros(q)?, zeros(k)?, zeros(v)?];
        let [dq, dk, dv] = gradients.each_mut().map(|g| Shared::new(g.slice_mut::<f32>()));
        self.each(extents.batch * options.heads, |task| {
            self.attend_backward_head(data, [dq, dk, dv], extents, options, task)
        })?;
        let [dq, dk, dv] = gradients;
        let tensor = |x: &Tensor, gradient| Tensor::new(x.shape(), DType::F32, gradient);
        Ok([tensor(q, dq), tensor(k, dk), tensor(v, dv)])
    }

    fn attend_backward_head<'a>(
        &self,
        [q, k, v, dy]: [&'a [f32]; 4],
        [dq, dk, dv]: [Shared<f32>; 3],
        extents: AttentionExtents,
        options: Attention,
        task: usize,
    ) -> Result<()> {
        let AttentionExtents { queries, keys, head_dim, .. } = extents;
        let stride = options.heads * head_dim;
        let scale = 1.0 / (head_dim as f32).sqrt();
        let (start_q, start_k) =
            (head_start(task, options.heads, queries, head_dim), head_start(task, options.heads, keys, head_dim));
        let row = |x: &'a [f32], n: usize| &bits(x)[start_k + n * stride..][..head_dim];
        let format = Format::new(self.isa, DType::F32);
        let matrix = |depth, columns| Packed::empty(self, format, [1, depth, columns]);
        let by_keys = matrix(head_dim, keys)?.with_columns(|n| row(k, n));
        let by_values = matrix(head_dim, keys)?.with_columns(|n| row(v, n));
        let key_rows = matrix(keys, head_dim)?.with_rows(|n| row(k, n));
        let mut weights = self.buffer::<f32>(QUERIES * keys)?;
        let mut slopes = self.buffer::<f32>(QUERIES * keys)?;
        for first in (0..queries).step_by(QUERIES) {
            let count = QUERIES.min(queries - first);
            let at = start_q + first * stride;
            let (p, ds) = (weights.slice_mut::<f32>(), slopes.slice_mut::<f32>());
            multiply_block(&q[at..], stride, count, &by_keys, 0..head_dim, |row, column, sum| {
                p[row * keys + column..][..sum.len()].copy_from_slice(sum);
            });
            multiply_block(&dy[at..], stride, count, &by_values, 0..head_dim, |row, column, sum| {
                ds[row * keys + column..][..sum.len()].copy_from_slice(sum);
            });
            for row in 0..count {
                let visible = if options.causal { keys.min(first + row + 1) } else { keys };
                let (p, ds) = (&mut p[row * keys..][..keys], &mut ds[row * keys..][..keys]);
                let mut running = Running::START;
                running_softmax(self.isa, p, visible, scale, &mut running);
                softmax_backward(self.isa, p, ds, 1.0 / running.total, scale);
            }
            multiply_block(ds, keys, count, &key_rows, 0..keys, |row, column, sum| {
                // SAFETY: this task alone has this head.
                unsafe { dq.slice(at + row * stride + column, sum.len()) }.copy_from_slice(sum);
            });
            for (left, right, to) in [(&*ds, &q[at..], dk), (&*p, &dy[at..], dv)] {
                outer_block(self.isa, (left, keys, keys), (right, stride, head_dim), count, |key, column, sum| {
                    // SAFETY: this task alone has this head.
                    let out = unsafe { to.slice(start_k + key * stride + column, sum.len()) };
                    add(self.isa, out, sum);
                });
            }
        }
        Ok(())
    }
}

for_each_isa! {
    /// From unnormalised weights `p` and the gradient `ds` of the weights: `p` becomes the weights, `ds` the gradient of the raw scores,
    /// `scale · p (ds - Σ p ds)`.
    fn softmax_backward(p: &mut [f32], ds: &mut [f32], factor: f32, scale: f32) {
        const LANES: usize = 16;
        let mut sums = [0.0; LANES];
        for (p, ds) in p.chunks_mut(LANES).zip(ds.chunks(LANES)) {
            for ((sum, p), ds) in sums.iter_mut().zip(p).zip(ds) {
                *p *= factor;
                *sum += *p * ds;
            }
        }
        let mean: f32 = sums.iter().sum();
        for (p, ds) in p.iter().zip(ds) {
            *ds = scale * p * (*ds - mean);
        }
    }
}
