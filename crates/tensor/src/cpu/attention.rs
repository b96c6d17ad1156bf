//! Attention in blocks of queries and keys, with a running softmax (Dao et al. 2022, "FlashAttention", algorithm 1).

use std::sync::{Mutex, PoisonError};

use super::{
    Cpu, Tensor,
    element::{Elements, ElementsMut, narrow},
    isa::for_each_isa,
    kernel::{Arithmetic, ROWS, RowSegments, Sums, multiply_rows},
    math,
    operand::fill_words,
    packed::{Format, Packed, Panel},
};
use crate::{Attention, DType, Result, infer, infer::AttentionExtents};

/// Queries that are worked on together.
pub(super) const QUERIES: usize = 16 * ROWS;
/// Keys whose scores are held at a time in the forward pass: whole panels.
const KEYS: usize = 256;

/// Where head `(b, h)` begins in a `(B, L, heads·D)` tensor of `length` rows per batch.
pub(super) fn head_start(task: usize, heads: usize, length: usize, head_dim: usize) -> usize {
    let (b, h) = (task / heads, task % heads);
    b * length * heads * head_dim + h * head_dim
}

/// A head's keys and values, packed once for all blocks of queries.
struct Head {
    /// `(D, Lk)`.
    by_keys: Packed,
    /// `(Lk, D)`.
    values: Packed,
}

/// What a block of queries needs of its surroundings.
#[derive(Clone, Copy)]
struct Block {
    /// Queries in it.
    count: usize,
    /// The position of its first.
    first: usize,
    scale: f32,
    causal: bool,
}

impl Cpu {
    pub(super) fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor, options: Attention) -> Result<Tensor> {
        let extents = infer::attention(q.shape(), k.shape(), v.shape(), &options)?;
        let AttentionExtents { batch, queries, keys, head_dim } = extents;
        let stride = options.heads * head_dim;
        let scale = 1.0 / (head_dim as f32).sqrt();
        // Narrow elements that the processor can't multiply are widened as they are packed.
        let dtype = Arithmetic::of(self.isa, self.precision.activations()).dtype();
        let heads: Vec<Mutex<Option<Head>>> = (0..batch * options.heads).map(|_| Mutex::default()).collect();
        self.threads.each(heads.len(), |task| {
            let start = head_start(task, options.heads, keys, head_dim);
            let from = |x: &'_ Tensor| -> usize { x.shape().count() - start };
            let by_keys = self.pack_columns(dtype, k.elements().part(start, from(k)), stride, [head_dim, keys]);
            let values = self.pack_rows(dtype, v.elements().part(start, from(v)), stride, [keys, head_dim]);
            *heads[task].lock().unwrap_or_else(PoisonError::into_inner) = Some(Head { by_keys, values });
        });
        let heads: Vec<Option<Head>> =
            heads.into_iter().map(|head| head.into_inner().unwrap_or_else(PoisonError::into_inner)).collect();
        let blocks = queries.div_ceil(QUERIES);
        Ok(self.make(q.shape(), |out| {
            let out = out.share();
            self.threads.each(heads.len() * blocks, |task| {
                let (head, first) = (task / blocks, task % blocks * QUERIES);
                let start = head_start(head, options.heads, queries, head_dim) + first * stride;
                let Some(head) = &heads[head] else { return };
                let block = Block { count: QUERIES.min(queries - first), first, scale, causal: options.causal };
                let q = q.elements().part(start, q.shape().count() - start);
                // SAFETY: this task alone has these rows of this head.
                self.attend_block(q, stride, head, block, |row| unsafe { out.part(start + row * stride, head_dim) });
            });
        }))
    }

    /// The outputs of a block of queries of one head; `out(row)` is where they go.
    fn attend_block<'o>(
        &self,
        q: Elements<'_>,
        stride: usize,
        Head { by_keys, values }: &Head,
        Block { count, first, scale, causal }: Block,
        out: impl Fn(usize) -> ElementsMut<'o>,
    ) {
        let (keys, head_dim) = (by_keys.columns, values.columns);
        let arithmetic = by_keys.format.arithmetic;
        let tiles = count.div_ceil(ROWS);
        let (words, score_words) = (by_keys.words(), KEYS / arithmetic.per_word());
        let width: usize = values.panels().map(|panel| panel.width).sum();

        let mut queries = self.buffer::<u32>(QUERIES * words);
        let queries = queries.slice_mut::<u32>();
        let mut scratch = Vec::new();
        for (row, words) in queries.chunks_exact_mut(words).take(count).enumerate() {
            fill_words(arithmetic, q.part(row * stride, head_dim).read(self.isa, &mut scratch), words);
        }
        let (mut scores, mut weights) = (self.buffer::<f32>(QUERIES * KEYS), self.buffer::<u32>(QUERIES * score_words));
        let (scores, weights) = (scores.slice_mut::<f32>(), weights.slice_mut::<u32>());
        let mut sums = self.buffer::<f32>(QUERIES * width);
        let sums = sums.slice_mut::<f32>();
        let mut most = [f32::NEG_INFINITY; QUERIES];
        let mut total = [0.0f32; QUERIES];

        let seen = if causal { keys.min(first + count) } else { keys };
        let panels: Vec<Panel> = by_keys.panels().collect();
        for start in (0..seen).step_by(KEYS) {
            let block = KEYS.min(seen - start);
            for panel in panels.iter().filter(|panel| (start..start + block).contains(&panel.start)) {
                let rows = by_keys.rows(*panel, 0, words, &mut scratch).as_ptr();
                for tile in 0..tiles {
                    let at = tile * ROWS * KEYS + panel.start - start;
                    let to = Sums { to: scores[at..].as_mut_ptr(), stride: KEYS, accumulate: false };
                    self.multiply_tile(arithmetic, &queries[tile * ROWS * words..], words, rows, panel.width, to);
                }
            }
            for row in 0..count {
                let visible = if causal { block.min((first + row + 1).saturating_sub(start)) } else { block };
                let scores = &mut scores[row * KEYS..][..block];
                let shrink = match arithmetic {
                    Arithmetic::F32 => {
                        running_softmax(self.isa, scores, visible, scale, &mut most[row], &mut total[row])
                    }
                    _ => {
                        rough_softmax(self.isa, scores, visible, scale, &mut most[row], &mut total[row])
                    }
                };
                let words = block.div_ceil(arithmetic.per_word());
                to_words(self.isa, arithmetic, scores, &mut weights[row * score_words..][..words]);
                if shrink != 1.0 && start > 0 {
                    sums[row * width..][..width].iter_mut().for_each(|x| *x *= shrink);
                }
            }
            for panel in values.panels() {
                let depth = block.div_ceil(arithmetic.per_word());
                let rows = values.rows(panel, start / arithmetic.per_word(), depth, &mut scratch).as_ptr();
                for tile in 0..tiles {
                    let at = tile * ROWS * width + panel.start;
                    let to = Sums { to: sums[at..].as_mut_ptr(), stride: width, accumulate: start > 0 };
                    let left = &weights[tile * ROWS * score_words..];
                    self.multiply_rows_of(arithmetic, left, score_words, depth, rows, panel.width, to);
                }
            }
        }
        for (row, total) in total.iter().enumerate().take(count) {
            let sums = &mut sums[row * width..][..head_dim];
            let factor = 1.0 / total;
            sums.iter_mut().for_each(|x| *x *= factor);
            narrow(self.isa, sums, out(row));
        }
    }

    /// A tile of a product of rows that lie `words` apart and are as long.
    fn multiply_tile(
        &self,
        arithmetic: Arithmetic,
        left: &[u32],
        words: usize,
        right: *const u32,
        width: usize,
        to: Sums,
    ) {
        self.multiply_rows_of(arithmetic, left, words, words, right, width, to);
    }

    /// A tile of a product of rows that lie `stride` apart, of which the first `length` words count.
    fn multiply_rows_of(
        &self,
        arithmetic: Arithmetic,
        left: &[u32],
        stride: usize,
        length: usize,
        right: *const u32,
        width: usize,
        to: Sums,
    ) {
        let pointers: [*const u32; ROWS] = std::array::from_fn(|r| left[r * stride..][..length].as_ptr());
        let left = RowSegments { pointers: pointers.as_ptr(), segments: 1, offset: 0, length };
        // SAFETY: every pointer is to `length` words; `right` is a panel's rows, as many; `to` has room for a tile; the instruction set was detected.
        unsafe { multiply_rows(self.isa, arithmetic, left, right, width, to) };
    }

    /// Packs rows of a matrix that lie `stride` elements apart.
    pub(super) fn pack_rows(
        &self,
        dtype: DType,
        matrix: Elements<'_>,
        stride: usize,
        [depth, columns]: [usize; 2],
    ) -> Packed {
        let mut packed = Packed::empty(Format::new(self.isa, dtype), &self.pool, [1, depth, columns]);
        let scratch = std::cell::RefCell::new(Vec::new());
        packed.fill(|k, n, to| {
            let length = to.len();
            to.copy_from_slice(matrix.part(k * stride + n, length).read(self.isa, &mut scratch.borrow_mut()));
        });
        packed
    }

    /// Packs the transpose of rows that lie `stride` elements apart: element `(k, n)` is `matrix[n · stride + k]`.
    pub(super) fn pack_columns(
        &self,
        dtype: DType,
        matrix: Elements<'_>,
        stride: usize,
        [depth, columns]: [usize; 2],
    ) -> Packed {
        let mut packed = Packed::empty(Format::new(self.isa, dtype), &self.pool, [1, depth, columns]);
        let mut transposed = vec![0.0; depth * columns];
        let mut scratch = Vec::new();
        for n in 0..columns {
            for (k, &x) in matrix.part(n * stride, depth).read(self.isa, &mut scratch).iter().enumerate() {
                transposed[k * columns + n] = x;
            }
        }
        packed.fill(|k, n, to| to.copy_from_slice(&transposed[k * columns + n..][..to.len()]));
        packed
    }
}

for_each_isa! {
    /// Turns a block of scores into `e^(scale·score - most)` and keeps the row's running maximum and sum. Scores from `visible` on are
    /// masked. Returns what earlier sums of the row must be multiplied with.
    pub(super) fn running_softmax(scores: &mut [f32], visible: usize, scale: f32, most: &mut f32, total: &mut f32) -> f32 {
        softmax(scores, visible, scale, most, total, math::exp)
    }

    /// The same for weights that are rounded to bf16: `e^x` to 1e-4.
    fn rough_softmax(scores: &mut [f32], visible: usize, scale: f32, most: &mut f32, total: &mut f32) -> f32 {
        softmax(scores, visible, scale, most, total, math::rough_exp)
    }

    /// A row of floats as words.
    fn to_words(arithmetic: Arithmetic, row: &[f32], words: &mut [u32]) {
        fill_words(arithmetic, row, words);
    }
}

#[inline(always)]
fn softmax(
    scores: &mut [f32],
    visible: usize,
    scale: f32,
    most: &mut f32,
    total: &mut f32,
    exp: impl Fn(f32) -> f32,
) -> f32 {
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
            *s = exp(*s * scale - new);
            *sum += *s;
        }
    }
    let mut sum: f32 = sums.iter().sum();
    for s in rest {
        *s = exp(*s * scale - new);
        sum += *s;
    }
    *total = *total * shrink + sum;
    shrink
}
