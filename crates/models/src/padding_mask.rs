use calotype_tensor::{Backend, Result as Computed};

/// Which tokens of each sequence are attended to: all up to the end of the text, and of what fills the sequence up nothing, as
/// transformers' `attention_mask` of a tokenizer has it.
#[derive(Clone, Debug)]
pub(crate) struct PaddingMask {
    /// Tokens of a sequence.
    length: usize,
    /// Of each sequence, the tokens that are attended to.
    kept: Vec<usize>,
}

impl PaddingMask {
    /// That of sequences of `length` tokens in `ids`, whose texts end with the token `end`.
    pub(crate) fn new(ids: &[u32], length: usize, end: u32) -> Self {
        let kept = ids.chunks(length.max(1)).map(|sequence| {
            // Padding is one token again and again: that of the end, or another after it.
            let last = sequence.last().copied().unwrap_or(end);
            let before = sequence.iter().rposition(|&id| id != last).map_or(0, |at| at + 1);
            if last == end { (before + 1).min(sequence.len()) } else { before.max(1) }
        });
        Self { length, kept: kept.collect() }
    }

    /// The result `(B, L, heads * D)` of causal attention with the rows after a text's end made anew, from the keys up to it:
    /// rows before it see none after it anyway. They are computed outside the backend: no gradient comes through them.
    pub(crate) fn apply<B: Backend>(
        &self,
        b: &B,
        attended: B::Tensor,
        [q, k, v]: [&B::Tensor; 3],
        heads: usize,
    ) -> Computed<B::Tensor> {
        if self.kept.iter().all(|&kept| kept == self.length) {
            return Ok(attended);
        }
        let shape = b.shape(&attended);
        let (width, q, k, v) = (shape.last(), b.to_f32(q)?, b.to_f32(k)?, b.to_f32(v)?);
        let mut values = b.to_f32(&attended)?;
        let size = width / heads.max(1);
        let scale = (size as f32).sqrt().recip();
        for (sequence, &kept) in self.kept.iter().enumerate() {
            for row in kept..self.length {
                for head in 0..heads {
                    let at = |token: usize| (sequence * self.length + token) * width + head * size;
                    let query = &q[at(row)..][..size];
                    let dot = |key: &[f32]| query.iter().zip(key).map(|(a, b)| a * b).sum::<f32>() * scale;
                    let scores: Vec<f32> = (0..kept).map(|token| dot(&k[at(token)..][..size])).collect();
                    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    let weights: Vec<f32> = scores.iter().map(|score| (score - most).exp()).collect();
                    let sum: f32 = weights.iter().sum();
                    let to = &mut values[at(row)..][..size];
                    to.fill(0.0);
                    for (token, weight) in weights.iter().enumerate() {
                        let value = &v[at(token)..][..size];
                        to.iter_mut().zip(value).for_each(|(to, value)| *to += weight / sum * value);
                    }
                }
            }
        }
        b.from_f32(shape, values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_end_with_their_token() {
        let kept = |ids: &[u32]| PaddingMask::new(ids, 5, 9).kept;
        assert_eq!(kept(&[8, 1, 9, 9, 9, 8, 9, 9, 9, 9]), [3, 2]);
        // Padded with 0, of which one may stand in the text.
        assert_eq!(kept(&[8, 0, 9, 0, 0, 8, 0, 0, 9, 0]), [3, 4]);
        assert_eq!(kept(&[8, 1, 2, 3, 9]), [5]);
    }
}
