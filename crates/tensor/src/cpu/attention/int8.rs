//! What attention multiplies in bytes: queries by keys, and the weights by values (Zhang et al. 2024, "SageAttention").
//!
//! A query is `x ≈ scale · q` with `q` of -127 to 127, a key less the mean of its head's keys `≈ s · (k - 128)` with one `s` for a block of
//! keys. `Σ q (k - 128) = Σ q k - 128 Σ q`, so that a block's scores are the integers `Σ q k`, less one integer and times one scale for each
//! query. What the mean takes from the scores of a query is one number, which the softmax does not see.

use crate::cpu::{
    Cpu, Tensor,
    elementwise::CHUNK,
    gemm::{
        add,
        operand::Operand,
        packed::Packed,
        quantise::{BALANCE, quantise_column},
    },
};
use crate::{Result, Shape};

/// Words behind those of a query's bytes: its scale and `128 Σ q`, floats.
pub(in crate::cpu) const TAIL: usize = 2;
/// Words of all queries, one a row.
pub(in crate::cpu) fn query_words(q: Shape) -> usize {
    q.rows() * (q.last().div_ceil(4) + TAIL)
}

/// What is added to signed bytes that become unsigned ones.
const MIDDLE: i32 = 128;

/// The keys of a head, packed, and the scale of each block of them.
pub(in crate::cpu) struct KeysInBytes {
    pub(in crate::cpu) packed: Packed,
    pub(in crate::cpu) scales: Vec<f32>,
}

impl Cpu {
    /// Rows of queries in bytes, each with its tail.
    pub(in crate::cpu) fn queries_in_bytes(&self, q: &Tensor) -> Result<Operand<'static>> {
        let (rows, head_dim) = (q.shape().rows(), q.shape().last());
        let width = query_words(q.shape()) / rows;
        let mut buffer = self.buffer::<u32>(query_words(q.shape()))?;
        let rows_per_task = (CHUNK / head_dim).max(1);
        self.threads.chunks(buffer.slice_mut::<u32>(), rows_per_task * width, |start, words| {
            let (mut scratch, mut bytes) = (Vec::new(), vec![0i8; 4 * (width - TAIL)]);
            let rows = q.rows(self.isa, start / width, words.len() / width, &mut scratch);
            for (row, words) in rows.chunks_exact(head_dim).zip(words.chunks_exact_mut(width)) {
                let scale = quantise_column(self.isa, row, &mut bytes[..head_dim]);
                let total: i32 = bytes.iter().map(|&byte| i32::from(byte)).sum();
                let (words, tail) = words.split_at_mut(width - TAIL);
                for (word, four) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *word = u32::from_le_bytes(four.map(|byte| byte as u8));
                }
                tail.copy_from_slice(&[scale.to_bits(), ((MIDDLE * total) as f32).to_bits()]);
            }
        });
        Ok(Operand::owned(buffer, width))
    }

    /// The keys of a head into `packed`, a scale for each `block` of them; `row(n)` is where the tensor has a key.
    pub(in crate::cpu) fn keys_in_bytes(
        &self,
        k: &Tensor,
        packed: Packed,
        block: usize,
        row: impl Fn(usize) -> usize,
    ) -> Result<KeysInBytes> {
        let (head_dim, count) = (k.shape().last(), packed.columns);
        let width = packed.words();
        // Rows of whole words; what fills the last is multiplied with zeros.
        let row_length = 4 * width;
        let (mut scratch, mut mean) = (Vec::new(), vec![0.0; head_dim]);
        let mut floats = self.buffer::<f32>(count * row_length)?;
        let floats = floats.slice_mut::<f32>();
        for (n, to) in floats.chunks_exact_mut(row_length).enumerate() {
            let (to, rest) = to.split_at_mut(head_dim);
            to.copy_from_slice(k.rows(self.isa, row(n), 1, &mut scratch));
            rest.fill(0.0);
            add(self.isa, &mut mean, to);
        }
        mean.iter_mut().for_each(|x| *x /= count as f32);
        let mut words = self.buffer::<u32>(count * width)?;
        let mut bytes = vec![0i8; block.min(count) * row_length];
        let blocks = words.slice_mut::<u32>().chunks_mut(block * width).zip(floats.chunks_mut(block * row_length));
        let scales = blocks.map(|(words, floats)| {
            for key in floats.chunks_exact_mut(row_length) {
                key.iter_mut().zip(&mean).for_each(|(x, mean)| *x -= mean);
            }
            let bytes = &mut bytes[..floats.len()];
            let scale = quantise_column(self.isa, floats, bytes);
            for (word, four) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
                // 128 more, as an unsigned byte.
                *word = u32::from_le_bytes(four.map(|byte| byte as u8 ^ 0x80));
            }
            scale
        });
        let scales = scales.collect();
        Ok(KeysInBytes { packed: packed.with_columns(|n| &words.slice()[n * width..]), scales })
    }

    /// The `count` values of a head into `packed`, a tap for each block of them, and a scale for each of its columns.
    pub(in crate::cpu) fn values_in_bytes(
        &self,
        v: &Tensor,
        packed: Packed,
        count: usize,
        row: impl Fn(usize) -> usize,
    ) -> Result<Packed> {
        let Packed { taps, channels: length, columns: head_dim, .. } = packed;
        let (depth, words) = (packed.depth(), packed.words());
        let mut columns = self.buffer::<u32>(head_dim * depth)?;
        let to = columns.slice_mut::<u32>();
        let (mut scratch, mut floats) = (Vec::new(), vec![0.0; length * head_dim]);
        let (mut column, mut bytes) = (vec![0.0; length], vec![0i8; 4 * (words - TAIL)]);
        for tap in 0..taps {
            let rows = length.min(count - tap * length);
            for (i, to) in floats.chunks_exact_mut(head_dim).take(rows).enumerate() {
                to.copy_from_slice(v.rows(self.isa, row(tap * length + i), 1, &mut scratch));
            }
            for c in 0..head_dim {
                let from = floats.iter().skip(c).step_by(head_dim);
                column.iter_mut().zip(from).take(rows).for_each(|(to, from)| *to = *from);
                bytes.fill(0);
                let scale = quantise_column(self.isa, &column[..rows], &mut bytes[..rows]);
                let total: i32 = bytes.iter().map(|&byte| i32::from(byte)).sum();
                let (words, tail) = to[c * depth + tap * words..][..words].split_at_mut(words - TAIL);
                for (word, four) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *word = u32::from_le_bytes(four.map(|byte| byte as u8));
                }
                tail.copy_from_slice(&[(scale / BALANCE).to_bits(), (scale * total as f32).to_bits()]);
            }
        }
        Ok(packed.with_columns(|n| &columns.slice()[n * depth..]))
    }
}
