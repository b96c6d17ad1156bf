//! Weights on the text encoder's output (A1111, `sd_emphasis.py`).

use calotype_text::Emphasis;

/// Multiplies the outputs `(77, width)` of one chunk of every text of a schedule by their weights, and restores the mean
/// of them all. Each text has its weights, and the number of entries that it holds for: A1111 encodes all entries of a
/// schedule in one call and takes the mean over the call.
pub(super) fn weigh(texts: &mut [(&mut [f32], &[f32], usize)], emphasis: Emphasis) {
    if texts.iter().all(|(_, weights, _)| weights.iter().all(|&weight| weight == 1.0)) {
        return;
    }
    let before = sum(texts);
    for (rows, weights, _) in texts.iter_mut() {
        let width = rows.len() / weights.len().max(1);
        for (row, &weight) in rows.chunks_exact_mut(width.max(1)).zip(*weights) {
            row.iter_mut().for_each(|x| *x *= weight);
        }
    }
    if emphasis == Emphasis::Original {
        let ratio = (before / sum(texts)) as f32;
        texts.iter_mut().flat_map(|(rows, ..)| rows.iter_mut()).for_each(|x| *x *= ratio);
    }
}

/// Of as many numbers before as after: their sums relate as their means.
fn sum(texts: &[(&mut [f32], &[f32], usize)]) -> f64 {
    texts.iter().map(|(rows, _, entries)| *entries as f64 * rows.iter().map(|&x| f64::from(x)).sum::<f64>()).sum()
}
