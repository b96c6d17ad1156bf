//! Evenly spaced numbers.

/// `torch.linspace(start, end, n)` in f32: from both ends to the middle, each value rounded once. One number is `start`.
pub(crate) fn linspace_f32(start: f32, end: f32, n: usize) -> impl DoubleEndedIterator<Item = f32> {
    let step = (end - start) / (n.max(2) - 1) as f32;
    (0..n).map(move |i| {
        if n == 1 || i < n / 2 { step.mul_add(i as f32, start) } else { (-step).mul_add((n - 1 - i) as f32, end) }
    })
}

/// `n` numbers from `start` to `end` evenly, in f64; one number is `start`.
pub(crate) fn linspace(start: f64, end: f64, n: usize) -> impl DoubleEndedIterator<Item = f64> {
    let intervals = n.max(2) - 1;
    (0..n).map(move |i| if i == intervals { end } else { start + (end - start) * (i as f64 / intervals as f64) })
}
