use crate::{Error, Generator};

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

/// One generator per picture, so that a picture is the same in any batch.
///
/// Each draws as torch does for a tensor `(1, C, h, w)`; the buffers returned are `(B, h, w, C)`.
/// The first call gives the starting noise, later ones what the stochastic samplers add: the order of diffusers.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNoise {
    generators: Vec<Generator>,
    channels: usize,
    height: usize,
    width: usize,
}

impl BatchNoise {
    /// Noise of `channels × height × width` latents for pictures of the seeds `seed`, `seed + 1`, …
    #[must_use]
    pub fn new(seed: u64, batch_size: usize, [channels, height, width]: [usize; 3]) -> Self {
        let seeds = (0..batch_size as u64).map(|k| seed.wrapping_add(k));
        Self::from_generators(seeds.map(Generator::manual_seed).collect(), [channels, height, width])
    }

    /// Noise of `channels × height × width` latents, one picture per generator.
    #[must_use]
    pub fn from_generators(generators: Vec<Generator>, [channels, height, width]: [usize; 3]) -> Self {
        Self { generators, channels, height, width }
    }

    /// Fresh noise `(B, h, w, C)`.
    #[must_use]
    pub fn randn(&mut self) -> Vec<f32> {
        let (area, channels) = (self.height * self.width, self.channels);
        let nchw = self.generators.iter_mut().flat_map(|generator| generator.randn(channels * area));
        transpose(&nchw.collect::<Vec<_>>(), channels, area)
    }
}

impl NoiseSource for BatchNoise {
    fn noise(&mut self) -> Vec<f32> {
        self.randn()
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
