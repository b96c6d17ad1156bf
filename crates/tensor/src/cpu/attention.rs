//! Attention in blocks of queries and keys, with a running softmax (Dao et al. 2022, "FlashAttention", algorithm 1).

use super::{
    Cpu, Tensor,
    buffer::Buffer,
    gemm::{add, multiply_block, multiply_panels, outer_block},
    isa::for_each_isa,
    kernel::ROWS,
    math,
    packed::Packed,
    parallel::Shared,
};
use crate::{Attention, Result, infer, infer::AttentionExtents};

/// Queries that are worked on together.
const QUERIES: usize = 16 * ROWS;
/// Keys whose scores are held at a time in the forward pass.
const KEYS: usize = 256;

/// One head's part of a `(B, L, heads·D)` tensor: rows of `D` floats, `stride` apart.
struct Head<'a> {
    rows: &'a [f32],
    stride: usize,
}

/// Where head `(b, h)` begins in a tensor of `length` rows per batch.
fn head_start(task: usize, heads: usize, length: usize, head_dim: usize) -> usize {
    let (b, h) = (task / heads, task % heads);
    b * length * heads * head_dim + h * head_dim
}

impl Cpu {
    pub(super) fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor, options: Attention) -> Result<Tensor> {
        let extents = infer::attention(q.shape(), k.shape(), v.shape(), &options)?;
        let AttentionExtents { batch, queries, keys, head_dim } = extents;
        let stride = options.heads * head_dim;
        let scale = 1.0 / (head_dim as f32).sqrt();
        // Keys and values of every head are packed once, then all blocks of queries use them.
        let mut packed: Vec<Option<(Packed, Packed)>> = (0..batch * options.heads).map(|_| None).collect();
        let slots = std::sync::Mutex::new(&mut packed);
        self.threads.each(batch * options.heads, |task| {
            let start = head_start(task, options.heads, keys, head_dim);
            let mut by_keys = Packed::empty(self.isa, &self.pool, [head_dim, keys]);
            by_keys.fill_columns(&k.data()[start..], stride);
            let mut values = Packed::empty(self.isa, &self.pool, [keys, head_dim]);
            values.fill_rows(&v.data()[start..], stride);
            let mut slots = slots.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            slots[task] = Some((by_keys, values));
        });
        let blocks = queries.div_ceil(QUERIES);
        Ok(self.make(q.shape(), |out| {
            let out = Shared::new(out);
            self.threads.each(packed.len() * blocks, |task| {
                let (head, first) = (task / blocks, task % blocks * QUERIES);
                let Some((by_keys, values)) = &packed[head] else { return };
                let start = head_start(head, options.heads, queries, head_dim);
                let count = QUERIES.min(queries - first);
                let rows = Head { rows: &q.data()[start + first * stride..], stride };
                let sums = self.attend_block(&rows, count, first, by_keys, values, scale, options.causal);
                for (r, row) in sums.as_ref().chunks_exact(head_dim).enumerate() {
                    // SAFETY: this task alone has these rows of this head.
                    unsafe { out.slice(start + (first + r) * stride, head_dim) }.copy_from_slice(row);
                }
            });
        }))
    }

    /// The output of `count` queries of one head, `(count, D)`.
    fn attend_block(
        &self,
        q: &Head<'_>,
        count: usize,
        first: usize,
        by_keys: &Packed,
        values: &Packed,
        scale: f32,
        causal: bool,
    ) -> Buffer {
        let (keys, head_dim) = (by_keys.columns, values.columns);
        let mut scores = self.buffer(QUERIES * KEYS);
        let mut sums = Buffer::zeros(&self.pool, count * head_dim);
        let mut most = [f32::NEG_INFINITY; QUERIES];
        let mut total = [0.0f32; QUERIES];
        let seen = if causal { keys.min(first + count) } else { keys };
        let panels_per_block = KEYS / self.isa.panel();
        for start in (0..seen).step_by(KEYS) {
            let block = KEYS.min(seen - start);
            let scores = scores.as_mut();
            let panels = start / self.isa.panel()..by_keys.panels().min(start / self.isa.panel() + panels_per_block);
            multiply_panels(q.rows, q.stride, count, by_keys, panels, 0..head_dim, |row, column, sum| {
                scores[row * KEYS + column - start..][..sum.len()].copy_from_slice(sum);
            });
            for row in 0..count {
                let visible = if causal { block.min((first + row + 1).saturating_sub(start)) } else { block };
                let scores = &mut scores[row * KEYS..][..block];
                let shrink = running_softmax(self.isa, scores, visible, scale, &mut most[row], &mut total[row]);
                if shrink != 1.0 {
                    sums.as_mut()[row * head_dim..][..head_dim].iter_mut().for_each(|x| *x *= shrink);
                }
            }
            let sums = sums.as_mut();
            multiply_block(scores, KEYS, count, values, start..start + block, |row, column, sum| {
                add(self.isa, &mut sums[row * head_dim + column..][..sum.len()], sum);
            });
        }
        for (row, total) in sums.as_mut().chunks_exact_mut(head_dim).zip(total) {
            row.iter_mut().for_each(|x| *x /= total);
        }
        sums
    }

    pub(super) fn attend_backward(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        dy: &Tensor,
        options: Attention,
    ) -> Result<[Tensor; 3]> {
        let extents = infer::attention(q.shape(), k.shape(), v.shape(), &options)?;
        infer::same("attention_backward", "dy", q.shape(), dy.shape())?;
        let mut gradients = [q, k, v].map(|x| Buffer::zeros(&self.pool, x.shape().count()));
        let [dq, dk, dv] = gradients.each_mut().map(|g| Shared::new(g.as_mut()));
        self.threads.each(extents.batch * options.heads, |task| {
            self.attend_backward_head([q, k, v, dy].map(Tensor::data), [dq, dk, dv], extents, options, task);
        });
        let [dq, dk, dv] = gradients;
        Ok([Tensor::new(q.shape(), dq), Tensor::new(k.shape(), dk), Tensor::new(v.shape(), dv)])
    }

    fn attend_backward_head(
        &self,
        [q, k, v, dy]: [&[f32]; 4],
        [dq, dk, dv]: [Shared; 3],
        extents: AttentionExtents,
        options: Attention,
        task: usize,
    ) {
        let AttentionExtents { queries, keys, head_dim, .. } = extents;
        let stride = options.heads * head_dim;
        let scale = 1.0 / (head_dim as f32).sqrt();
        let (start_q, start_k) =
            (head_start(task, options.heads, queries, head_dim), head_start(task, options.heads, keys, head_dim));
        let mut by_keys = Packed::empty(self.isa, &self.pool, [head_dim, keys]);
        by_keys.fill_columns(&k[start_k..], stride);
        let mut by_values = Packed::empty(self.isa, &self.pool, [head_dim, keys]);
        by_values.fill_columns(&v[start_k..], stride);
        let mut key_rows = Packed::empty(self.isa, &self.pool, [keys, head_dim]);
        key_rows.fill_rows(&k[start_k..], stride);
        let mut weights = self.buffer(QUERIES * keys);
        let mut slopes = self.buffer(QUERIES * keys);
        for first in (0..queries).step_by(QUERIES) {
            let count = QUERIES.min(queries - first);
            let at = start_q + first * stride;
            let (p, ds) = (weights.as_mut(), slopes.as_mut());
            multiply_block(&q[at..], stride, count, &by_keys, 0..head_dim, |row, column, sum| {
                p[row * keys + column..][..sum.len()].copy_from_slice(sum);
            });
            multiply_block(&dy[at..], stride, count, &by_values, 0..head_dim, |row, column, sum| {
                ds[row * keys + column..][..sum.len()].copy_from_slice(sum);
            });
            for row in 0..count {
                let visible = if options.causal { keys.min(first + row + 1) } else { keys };
                let (p, ds) = (&mut p[row * keys..][..keys], &mut ds[row * keys..][..keys]);
                let (mut most, mut total) = (f32::NEG_INFINITY, 0.0);
                running_softmax(self.isa, p, visible, scale, &mut most, &mut total);
                softmax_backward(self.isa, p, ds, 1.0 / total, scale);
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
    }
}

for_each_isa! {
    /// Turns a block of scores into `e^(scale·score - most)` and keeps the row's running maximum and sum. Scores from `visible` on are
    /// masked. Returns what earlier sums of the row must be multiplied with.
    fn running_softmax(scores: &mut [f32], visible: usize, scale: f32, most: &mut f32, total: &mut f32) -> f32 {
        const LANES: usize = 16;
        let (seen, hidden) = scores.split_at_mut(visible);
        hidden.fill(0.0);
        if seen.is_empty() {
            return 1.0;
        }
        let mut maxima = [f32::NEG_INFINITY; LANES];
        let (blocks, rest) = seen.as_chunks::<LANES>();
        for block in blocks {
            for (m, &s) in maxima.iter_mut().zip(block) {
                *m = if s > *m { s } else { *m };
            }
        }
        let highest = maxima.iter().chain(rest).fold(f32::NEG_INFINITY, |m, &s| m.max(s)) * scale;
        let new = most.max(highest);
        let shrink = if *most == f32::NEG_INFINITY { 0.0 } else { math::exp(*most - new) };
        *most = new;
        let mut sums = [0.0; LANES];
        let (blocks, rest) = seen.as_chunks_mut::<LANES>();
        for block in blocks {
            for (sum, s) in sums.iter_mut().zip(block) {
                *s = math::exp(*s * scale - new);
                *sum += *s;
            }
        }
        let mut sum: f32 = sums.iter().sum();
        for s in rest {
            *s = math::exp(*s * scale - new);
            sum += *s;
        }
        *total = *total * shrink + sum;
        shrink
    }

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
