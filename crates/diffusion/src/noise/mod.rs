//! Noise: where it comes from, and in which order.

mod batch;
mod brownian;
mod options;
mod seed_sequence;
mod variation;

pub use batch::BatchNoise;
pub use options::{Batch, NoiseOptions, SeedPer, Variation};

use crate::Error;

/// Where a sampler takes fresh noise from.
pub trait NoiseSource {
    /// Unit-variance noise in the shape and layout of the latents.
    fn noise(&mut self) -> Vec<f32>;

    /// Unit-variance noise for the way from one noise level to the next.
    ///
    /// A source that follows one Brownian motion answers with its increment over these sigmas, divided by the square
    /// root of their distance; for all others, it does not matter where the noise goes.
    fn noise_between(&mut self, sigma: f64, sigma_next: f64) -> Vec<f32> {
        let _ = (sigma, sigma_next);
        self.noise()
    }
}

impl<N: NoiseSource + ?Sized> NoiseSource for &mut N {
    fn noise(&mut self) -> Vec<f32> {
        (**self).noise()
    }

    fn noise_between(&mut self, sigma: f64, sigma_next: f64) -> Vec<f32> {
        (**self).noise_between(sigma, sigma_next)
    }
}

/// `(B, C, H, W)` to `(B, H, W, C)`; `shape` is `[B, C, H, W]`.
///
/// # Errors
/// [`Error::Length`] when `x` does not have that many numbers.
pub fn nchw_to_nhwc(x: &[f32], shape: [usize; 4]) -> Result<Vec<f32>, Error> {
    let [_, channels, height, width] = check(x, shape)?;
    Ok(transpose(x, channels, height.saturating_mul(width)))
}

/// `(B, H, W, C)` to `(B, C, H, W)`; `shape` is `[B, C, H, W]`.
///
/// # Errors
/// [`Error::Length`] when `x` does not have that many numbers.
pub fn nhwc_to_nchw(x: &[f32], shape: [usize; 4]) -> Result<Vec<f32>, Error> {
    let [_, channels, height, width] = check(x, shape)?;
    Ok(transpose(x, height.saturating_mul(width), channels))
}

fn check(x: &[f32], shape: [usize; 4]) -> Result<[usize; 4], Error> {
    let expected = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).unwrap_or(usize::MAX);
    if x.len() == expected { Ok(shape) } else { Err(Error::Length { what: "the buffer", got: x.len(), expected }) }
}

/// Transposes each `rows × columns` matrix of a batch.
fn transpose(x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for matrix in x.chunks_exact(rows.saturating_mul(columns).max(1)) {
        for column in 0..columns {
            out.extend(matrix.iter().skip(column).step_by(columns.max(1)));
        }
    }
    out
}
