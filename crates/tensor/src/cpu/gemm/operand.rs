//! The left side of products: rows of words, with whatever conversion the tensor needs for that.

use crate::cpu::{
    Cpu, Tensor,
    element::{Bf16, narrow_slice},
    elementwise::CHUNK,
    gemm::{arithmetic::Arithmetic, quantise::quantise_row},
    isa::for_each_isa,
    memory::buffer::Buffer,
};
use crate::{DType, Result, Shape};

/// Rows of words of a tensor `(rows, C)`.
pub(crate) struct Operand<'a> {
    data: Words<'a>,
    /// Words of a row.
    pub(crate) width: usize,
}

enum Words<'a> {
    Borrowed(&'a [u32]),
    Owned(Buffer),
}

impl Operand<'_> {
    /// Rows of `width` words that something else has made.
    pub(in crate::cpu) fn owned(words: Buffer, width: usize) -> Self {
        Self { data: Words::Owned(words), width }
    }

    pub(crate) fn row(&self, index: usize) -> &[u32] {
        &self.words()[index * self.width..][..self.width]
    }

    pub(crate) fn words(&self) -> &[u32] {
        match &self.data {
            Words::Borrowed(words) => words,
            Words::Owned(buffer) => buffer.slice(),
        }
    }
}

impl Cpu {
    /// The operands that stand side by side in the rows of a tensor: two, if it is two tensors joined and they can be read where they are.
    pub(in crate::cpu) fn operands<'a>(&self, x: &'a Tensor, arithmetic: Arithmetic) -> Result<Vec<Operand<'a>>> {
        match x.parts() {
            // A row of bytes has one scale.
            Some([a, b])
                if arithmetic != Arithmetic::Int8 && a.shape().last().is_multiple_of(arithmetic.per_word()) =>
            {
                Ok(vec![self.operand(a, arithmetic)?, self.operand(b, arithmetic)?])
            }
            _ => Ok(vec![self.operand(x, arithmetic)?]),
        }
    }

    /// The rows of a tensor as `arithmetic` reads them: where they are, if they are of its type and fill whole words; else copied.
    pub(in crate::cpu) fn operand<'a>(&self, x: &'a Tensor, arithmetic: Arithmetic) -> Result<Operand<'a>> {
        let channels = x.shape().last();
        let width = arithmetic.words(channels);
        let copied = copied_words(x.shape(), x.dtype(), arithmetic);
        if copied == 0 {
            return Ok(Operand { data: Words::Borrowed(x.words()?), width });
        }
        let mut buffer = self.buffer::<u32>(copied)?;
        let rows_per_task = (CHUNK / channels).max(1);
        self.threads.chunks(buffer.slice_mut::<u32>(), rows_per_task * width, |start, words| {
            let mut scratch = Vec::new();
            for (i, words) in words.chunks_exact_mut(width).enumerate() {
                let row = x.rows(self.isa, start / width + i, 1, &mut scratch);
                match arithmetic {
                    Arithmetic::Int8 => quantise_row(self.isa, row, words),
                    _ => words_of_row(self.isa, arithmetic, row, words),
                }
            }
        });
        Ok(Operand { data: Words::Owned(buffer), width })
    }
}

/// The words that the rows of a tensor are copied to for `arithmetic`; none where they can be read as they are.
pub(in crate::cpu) fn copied_words(x: Shape, dtype: DType, arithmetic: Arithmetic) -> usize {
    let in_place = dtype == arithmetic.dtype() && x.last().is_multiple_of(arithmetic.per_word());
    if in_place { 0 } else { x.rows() * arithmetic.words(x.last()) }
}

for_each_isa! {
    /// [`fill_words`], by the instruction set.
    fn words_of_row(arithmetic: Arithmetic, row: &[f32], words: &mut [u32]) {
        fill_words(arithmetic, row, words);
    }
}

/// A row of floats as words; what the last has too much is zero. Inlined where the instruction set is known.
#[inline(always)]
pub(crate) fn fill_words(arithmetic: Arithmetic, row: &[f32], words: &mut [u32]) {
    match arithmetic.dtype() {
        DType::BF16 => {
            let (pairs, rest) = row.as_chunks::<2>();
            for (word, pair) in words.iter_mut().zip(pairs) {
                let mut halves = [Bf16(0); 2];
                narrow_slice(pair, &mut halves);
                *word = u32::from(halves[0].0) | (u32::from(halves[1].0) << 16);
            }
            if let ([x], Some(word)) = (rest, words.last_mut()) {
                let mut half = [Bf16(0)];
                narrow_slice(&[*x], &mut half);
                *word = u32::from(half[0].0);
            }
        }
        _ => words.iter_mut().zip(row).for_each(|(word, x)| *word = x.to_bits()),
    }
}
