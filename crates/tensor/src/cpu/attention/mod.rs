//! Attention in blocks of queries and keys, with a running softmax (Dao et al. 2022, "FlashAttention", algorithm 1).

mod backward;
mod int8;
mod softmax;

#[cfg(target_arch = "x86_64")]
use softmax::{softmax_to_bf16, softmax_to_bytes};

use crate::cpu::{
    Cpu, Tensor,
    element::{ElementsMut, narrow},
    gemm::{
        arithmetic::Arithmetic,
        kernel::ROWS,
        multiply_tile,
        operand::copied_words,
        packed::{Format, Packed, Panel},
        quantise::BALANCE,
    },
};
use crate::{Attention, DType, Precision, Result, Shape, op_shapes, op_shapes::AttentionExtents};
use int8::{KeysInBytes, TAIL, query_words};
use softmax::{Running, Scores, running_softmax};

/// Queries that are worked on together.
pub(in crate::cpu) const QUERIES: usize = 16 * ROWS;
/// Keys whose scores are held at a time in the forward pass: whole panels.
const KEYS: usize = 512;
/// Fewer keys than these don't repay that queries are put into bytes.
const KEYS_FOR_BYTES: usize = 128;
/// Floats from row to row of the scores: rows a power of two apart would push each other out of the first-level cache.
const STRIDE: usize = KEYS + 16;

/// Where head `(b, h)` begins in a `(B, L, heads·D)` tensor of `length` rows per batch.
pub(in crate::cpu) fn head_start(task: usize, heads: usize, length: usize, head_dim: usize) -> usize {
    let (b, h) = (task / heads, task % heads);
    b * length * heads * head_dim + h * head_dim
}

/// Whether so many keys are compared in bytes.
pub(in crate::cpu) fn in_bytes(cpu: &Cpu, keys: usize) -> bool {
    let multiplies = Arithmetic::of(cpu.isa, DType::I8) == Arithmetic::Int8;
    cpu.precision == Precision::Int8 && multiplies && keys >= KEYS_FOR_BYTES
}

/// `(B, L, heads·D)` as rows of one head each, `heads` of them from token to token.
fn by_head(x: Shape, heads: usize) -> Shape {
    [x.rows() * heads, x.last() / heads].into()
}

/// The matrices that a head's keys and its values are packed into.
fn matrices(cpu: &Cpu, AttentionExtents { keys, head_dim, .. }: AttentionExtents) -> [(Format, [usize; 3]); 2] {
    if in_bytes(cpu, keys) {
        let bytes = Format::bytes(cpu.isa);
        let values = Format { arithmetic: Arithmetic::Int8, ..bytes };
        return [(bytes, [1, head_dim, keys]), (values, [keys.div_ceil(KEYS), KEYS.min(keys), head_dim])];
    }
    // Narrow elements that the processor can't multiply are widened.
    let format = Format::new(cpu.isa, Arithmetic::of(cpu.isa, cpu.precision.activations()).dtype());
    [(format, [1, head_dim, keys]), (format, [1, keys, head_dim])]
}

/// A head's keys and values, packed once for all blocks of queries.
struct Head {
    /// `(D, Lk)`.
    by_keys: Packed,
    /// Of each block of keys, if they are in bytes.
    scales: Vec<f32>,
    /// `(Lk, D)`; in bytes a tap for each block.
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
    pub(in crate::cpu) fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor, options: Attention) -> Result<Tensor> {
        let extents = op_shapes::attention(q.shape(), k.shape(), v.shape(), &options)?;
        let AttentionExtents { batch, queries, keys, head_dim } = extents;
        let (shape, stride) = (q.shape(), options.heads * head_dim);
        let scale = 1.0 / (head_dim as f32).sqrt();
        let [by_keys, by_values] = matrices(self, extents);
        let empty = |(format, matrix)| Packed::empty(self, format, matrix);
        let rows = |x: &Tensor| x.reshaped(by_head(x.shape(), options.heads));
        let (q, k, v) = (rows(q)?, rows(k)?, rows(v)?);
        let first = |task: usize| head_start(task, options.heads, keys, head_dim) / head_dim;
        let (q, heads) = if in_bytes(self, keys) {
            let heads = self.map_each(batch * options.heads, |task| {
                let row = |n: usize| first(task) + n * options.heads;
                let KeysInBytes { packed, scales } = self.keys_in_bytes(&k, empty(by_keys)?, KEYS, row)?;
                Ok(Head { by_keys: packed, scales, values: self.values_in_bytes(&v, empty(by_values)?, keys, row)? })
            })?;
            (self.queries_in_bytes(&q)?, heads)
        } else {
            let arithmetic = by_keys.0.arithmetic;
            let [q, k, v] =
                [self.operand(&q, arithmetic)?, self.operand(&k, arithmetic)?, self.operand(&v, arithmetic)?];
            let heads = self.map_each(batch * options.heads, |task| {
                let row = |n: usize| first(task) + n * options.heads;
                Ok(Head {
                    by_keys: empty(by_keys)?.with_columns(|n| k.row(row(n))),
                    scales: Vec::new(),
                    values: empty(by_values)?.with_rows(|n| v.row(row(n))),
                })
            })?;
            (q, heads)
        };
        let blocks = queries.div_ceil(QUERIES);
        self.make(shape, |out| {
            let out = out.share();
            self.each(heads.len() * blocks, |task| {
                let (head, first) = (task / blocks, task % blocks * QUERIES);
                let start = head_start(head, options.heads, queries, head_dim) + first * stride;
                let block = Block { count: QUERIES.min(queries - first), first, scale, causal: options.causal };
                let width = q.width;
                let q = &q.words()[start / head_dim * width..];
                // SAFETY: this task alone has these rows of this head.
                let out = |row| unsafe { out.part(start + row * stride, head_dim) };
                self.attend_block(q, options.heads * width, &heads[head], block, out)
            })
        })
    }

    /// The bytes of all buffers that attention takes beside its result, but for those of each thread.
    pub(in crate::cpu) fn attention_buffers(
        &self,
        q: Shape,
        k: Shape,
        extents: AttentionExtents,
        heads: usize,
    ) -> Vec<usize> {
        let words = match in_bytes(self, extents.keys) {
            true => vec![query_words(by_head(q, heads))],
            false => {
                let arithmetic = matrices(self, extents)[0].0.arithmetic;
                [q, k, k].map(|x| copied_words(by_head(x, heads), self.precision.activations(), arithmetic)).to_vec()
            }
        };
        let of_head = matrices(self, extents).map(|(format, matrix)| Packed::bytes(format, matrix));
        let heads = std::iter::repeat_n(of_head, extents.batch * heads).flatten();
        words.into_iter().map(|words| words * size_of::<u32>()).chain(heads).collect()
    }

    /// The outputs of a block of queries of one head, whose words lie `stride` apart; `out(row)` is where they go.
    fn attend_block<'o>(
        &self,
        q: &[u32],
        stride: usize,
        Head { by_keys, scales, values }: &Head,
        Block { count, first, scale, causal }: Block,
        out: impl Fn(usize) -> ElementsMut<'o>,
    ) -> Result<()> {
        let (keys, head_dim) = (by_keys.columns, values.columns);
        let arithmetic = values.format.arithmetic;
        let tiles = count.div_ceil(ROWS);
        let (words, weight_words) = (by_keys.words(), STRIDE / arithmetic.per_word());
        let width: usize = values.panels().map(|panel| panel.width).sum();

        // Rows past the last query are computed as that one again.
        let row_of = |tile: usize| move |r: usize| (tile * ROWS + r).min(count - 1);
        let mut scratch = Vec::new();
        // Of one tile of queries: they stay in the first-level cache, beside a panel of keys.
        let (mut scores, mut weights) = (self.buffer::<f32>(ROWS * STRIDE)?, self.buffer::<u32>(ROWS * weight_words)?);
        let (scores, weights) = (scores.slice_mut::<f32>(), weights.slice_mut::<u32>());
        let mut sums = self.buffer::<f32>(QUERIES * width)?;
        let sums = sums.slice_mut::<f32>();
        let mut running = [Running::START; QUERIES];

        let seen = if causal { keys.min(first + count) } else { keys };
        let (panels, panel): (Vec<Panel>, usize) = (by_keys.panels().collect(), self.isa.panel());
        for start in (0..seen).step_by(KEYS) {
            let block = KEYS.min(seen - start);
            // The values' rows of this block, in words.
            let (first_word, depth) = match arithmetic {
                Arithmetic::Int8 => (start / KEYS * values.words(), values.words()),
                _ => (start / arithmetic.per_word(), block.div_ceil(arithmetic.per_word())),
            };
            let panels = &panels[start / panel..(start + block).div_ceil(panel)];
            for tile in 0..tiles {
                for &panel in panels {
                    let rows = by_keys.rows(panel, 0, words, &mut scratch);
                    let at = panel.start - start;
                    let (row, to) = (row_of(tile), &mut scores[at..]);
                    let query = |r| &q[row(r) * stride..][..words];
                    multiply_tile(by_keys.format, query, rows, panel.width, to, STRIDE, false);
                }
                let sums = &mut sums[tile * ROWS * width..][..ROWS * width];
                for r in 0..ROWS.min(count - tile * ROWS) {
                    let row = tile * ROWS + r;
                    let visible = if causal { block.min((first + row + 1).saturating_sub(start)) } else { block };
                    let shrink = self.weigh(
                        arithmetic,
                        &mut scores[r * STRIDE..][..block.next_multiple_of(32)],
                        visible,
                        match scales.get(start / KEYS) {
                            None => Scores { scale, offset: 0.0 },
                            Some(of_keys) => {
                                let [of_query, offset] = [0, 1].map(|i| f32::from_bits(q[row * stride + words + i]));
                                Scores { scale: scale * of_query * of_keys, offset }
                            }
                        },
                        &mut running[row],
                        &mut weights[r * weight_words..][..weight_words],
                    );
                    if arithmetic == Arithmetic::Int8 {
                        // The scale of a row of bytes, and its least.
                        weights[r * weight_words + depth - TAIL..][..TAIL].copy_from_slice(&[BALANCE.to_bits(), 0]);
                    }
                    if shrink != 1.0 && start > 0 {
                        sums[r * width..][..width].iter_mut().for_each(|x| *x *= shrink);
                    }
                }
                for panel in values.panels() {
                    let rows = values.rows(panel, first_word, depth, &mut scratch);
                    let left = |r: usize| &weights[r * weight_words..][..depth];
                    let to = &mut sums[panel.start..];
                    multiply_tile(values.format, left, rows, panel.width, to, width, start > 0);
                }
            }
        }
        for (row, running) in running.iter().enumerate().take(count) {
            let sums = &mut sums[row * width..][..head_dim];
            let factor = 1.0 / running.total;
            sums.iter_mut().for_each(|x| *x *= factor);
            narrow(self.isa, sums, out(row));
        }
        Ok(())
    }

    /// Turns a row of scores into weights, as words: [`running_softmax`].
    fn weigh(
        &self,
        arithmetic: Arithmetic,
        scores: &mut [f32],
        visible: usize,
        scores_as: Scores,
        running: &mut Running,
        words: &mut [u32],
    ) -> f32 {
        let Scores { scale, .. } = scores_as;
        match arithmetic {
            #[cfg(target_arch = "x86_64")]
            Arithmetic::Int8 => {
                // SAFETY: as below; there are words for a whole block of keys.
                unsafe { softmax_to_bytes(scores, visible, scores_as, running, words) }
            }
            #[cfg(target_arch = "x86_64")]
            Arithmetic::Bf16 => {
                let words = &mut words[..scores.len() / 2];
                // SAFETY: the arithmetic is chosen only where there are its instructions; the lengths are multiples of 32 and 16.
                unsafe { softmax_to_bf16(scores, visible, scale, running, words) }
            }
            _ => {
                let shrink = running_softmax(self.isa, scores, visible, scale, running);
                words.iter_mut().zip(scores).for_each(|(word, x)| *word = x.to_bits());
                shrink
            }
        }
    }
}
