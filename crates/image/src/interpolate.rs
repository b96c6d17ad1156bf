//! `torch.nn.functional.interpolate`, for latents.

/// How values between pixels are found. Pixel centres lie at halves (`align_corners=False`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// `nearest`: the pixel at `floor(i · in / out)`.
    Nearest,
    /// `nearest-exact`: the pixel whose centre is nearest.
    NearestExact,
    /// `bilinear`, and with `antialias` the triangle widened when shrinking.
    Bilinear {
        /// `antialias=True`.
        antialias: bool,
    },
    /// `bicubic` (Keys 1981) with a = -0.75, and with `antialias` with a = -0.5, widened when shrinking.
    Bicubic {
        /// `antialias=True`.
        antialias: bool,
    },
}

/// `planes` pictures `(h, w)` one after the other, each at another size. Without pixels there is nothing to give.
#[must_use]
pub fn interpolate(
    values: &[f32],
    [height, width]: [usize; 2],
    [new_height, new_width]: [usize; 2],
    method: Interpolation,
) -> Vec<f32> {
    if height == 0 || width == 0 {
        return Vec::new();
    }
    let rows = Weights::new(height, new_height, method);
    let columns = Weights::new(width, new_width, method);
    let mut result = Vec::with_capacity(values.len() / (height * width) * new_height * new_width);
    for plane in values.chunks_exact(height * width) {
        let wide: Vec<f64> = plane.chunks_exact(width).flat_map(|row| columns.apply(|x| f64::from(row[x]))).collect();
        let high: Vec<Vec<f64>> = (0..new_width).map(|x| rows.apply(|y| wide[y * new_width + x]).collect()).collect();
        result.extend((0..new_height).flat_map(|y| high.iter().map(move |column| column[y] as f32)));
    }
    result
}

/// For each new pixel the old ones it is made of, and how much of each.
struct Weights(Vec<Vec<(usize, f64)>>);

impl Weights {
    fn new(old: usize, new: usize, method: Interpolation) -> Self {
        let scale = old as f64 / new as f64;
        let clamped = |i: f64| i.clamp(0.0, (old - 1) as f64) as usize;
        let pixel = |i: usize| -> Vec<(usize, f64)> {
            let centre = (i as f64 + 0.5) * scale;
            match method {
                Interpolation::Nearest => vec![(clamped((i as f64 * scale).floor()), 1.0)],
                Interpolation::NearestExact => vec![(clamped(centre.floor()), 1.0)],
                Interpolation::Bilinear { antialias: false } => {
                    let at = (centre - 0.5).max(0.0);
                    let part = at.fract();
                    vec![(clamped(at.floor()), 1.0 - part), (clamped(at.floor() + 1.0), part)]
                }
                Interpolation::Bicubic { antialias: false } => {
                    let first = (centre - 0.5).floor() - 1.0;
                    let weight = |k: f64| cubic(centre - 0.5 - first - k, -0.75);
                    [0.0, 1.0, 2.0, 3.0].map(|k| (clamped(first + k), weight(k))).to_vec()
                }
                Interpolation::Bilinear { antialias: true } => widened(old, scale, centre, 1.0, |x| 1.0 - x.abs()),
                Interpolation::Bicubic { antialias: true } => widened(old, scale, centre, 2.0, |x| cubic(x, -0.5)),
            }
        };
        Self((0..new).map(pixel).collect())
    }

    fn apply(&self, value: impl Fn(usize) -> f64) -> impl Iterator<Item = f64> {
        self.0.iter().map(move |pixels| pixels.iter().map(|&(i, weight)| weight * value(i)).sum())
    }
}

/// Keys' cubic convolution kernel.
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    match x {
        _ if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        _ if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
        _ => 0.0,
    }
}

/// A kernel of `reach`, widened by `scale` when shrinking, over the pixels there are.
fn widened(old: usize, scale: f64, centre: f64, reach: f64, kernel: impl Fn(f64) -> f64) -> Vec<(usize, f64)> {
    let widening = scale.max(1.0);
    let support = reach * widening;
    let first = (centre - support + 0.5).max(0.0) as usize;
    let end = ((centre + support + 0.5) as usize).min(old);
    let weights: Vec<f64> = (first..end)
        .map(|i| (i as f64 - centre + 0.5) / widening)
        .map(|x| if x.abs() < reach { kernel(x) } else { 0.0 })
        .collect();
    let sum: f64 = weights.iter().sum();
    (first..end).zip(weights.into_iter().map(|weight| weight / sum)).collect()
}
