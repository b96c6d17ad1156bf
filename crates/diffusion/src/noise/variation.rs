//! Noise between two seeds, and noise of another size, as A1111 makes them (`modules/rng.py`).

/// Above this mean cosine two noises count as one direction.
const PARALLEL: f32 = 0.9995;

/// Spherical interpolation from `low` to `high`, both `(C, h, w)`: along the great circle of each column of `h` numbers.
///
/// For nearly equal noises A1111 blends linearly, and there from `high` to `low`: kept. A column whose cosine is exactly
/// ±1, where A1111 divides by zero, is blended linearly from `low` to `high`.
pub(super) fn slerp(t: f32, low: &[f32], high: &[f32], [channels, h, w]: [usize; 3]) -> Vec<f32> {
    let columns = || (0..channels).flat_map(|c| (0..w).map(move |x| c * h * w + x));
    let column = |start: usize| (0..h).map(move |y| start + y * w);
    let at = |noise: &[f32], i: usize| f64::from(noise.get(i).copied().unwrap_or(0.0));
    let cosine = |start: usize| {
        let norm = |noise: &[f32]| column(start).map(|i| at(noise, i).powi(2)).sum::<f64>().sqrt();
        let product: f64 = column(start).map(|i| at(low, i) * at(high, i)).sum();
        product / (norm(low) * norm(high))
    };
    let cosines: Vec<f64> = columns().map(cosine).collect();
    let t = f64::from(t);
    if cosines.iter().sum::<f64>() / cosines.len().max(1) as f64 > f64::from(PARALLEL) {
        return low.iter().zip(high).map(|(&a, &b)| (f64::from(a) * t + f64::from(b) * (1.0 - t)) as f32).collect();
    }
    let mut out = vec![0.0; low.len()];
    for (start, cosine) in columns().zip(cosines) {
        let omega = cosine.acos();
        let sine = omega.sin();
        let (a, b) = match sine > 0.0 {
            true => (((1.0 - t) * omega).sin() / sine, (t * omega).sin() / sine),
            false => (1.0 - t, t),
        };
        for i in column(start) {
            if let Some(out) = out.get_mut(i) {
                *out = (a * at(low, i) + b * at(high, i)) as f32;
            }
        }
    }
    out
}

/// Lays `noise (C, h, w)` over the middle of `ground (C, H, W)`; where it is larger, its middle is taken.
pub(super) fn centred(
    noise: &[f32],
    [h, w]: [usize; 2],
    mut ground: Vec<f32>,
    [height, width]: [usize; 2],
) -> Vec<f32> {
    let (rows, columns) = (Overlap::new(h, height), Overlap::new(w, width));
    for (noise, ground) in noise.chunks_exact(h * w).zip(ground.chunks_exact_mut(height * width)) {
        let from = noise.chunks_exact(w).skip(rows.from).take(rows.len);
        let to = ground.chunks_exact_mut(width).skip(rows.to);
        for (from, to) in from.zip(to) {
            let from = from.iter().skip(columns.from).take(columns.len);
            to.iter_mut().skip(columns.to).zip(from).for_each(|(to, &from)| *to = from);
        }
    }
    ground
}

/// How one side lies over another.
struct Overlap {
    from: usize,
    to: usize,
    len: usize,
}

impl Overlap {
    /// Half the difference is rounded down (towards minus infinity, so that one cell of an odd difference stays free).
    fn new(side: usize, ground: usize) -> Self {
        if side <= ground {
            return Self { from: 0, to: (ground - side) / 2, len: side };
        }
        let cut = (side - ground).div_ceil(2);
        Self { from: cut, to: 0, len: side.saturating_sub(2 * cut) }
    }
}
