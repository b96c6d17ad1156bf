//! Noise: where it comes from, and in which order.

mod batch;
mod brownian;
mod options;
mod seed_sequence;
mod variation;

pub use batch::BatchNoise;
pub use options::{Batch, NoiseOptions, SeedPer, Variation};

use crate::Latents;

/// Where a sampler takes fresh noise from.
pub trait NoiseSource {
    /// Unit-variance noise in the shape of the latents.
    fn noise(&mut self) -> Latents;

    /// Unit-variance noise for the way from one noise level to the next.
    ///
    /// A source that follows one Brownian motion answers with its increment over these sigmas, divided by the square
    /// root of their distance; for all others, it does not matter where the noise goes.
    fn noise_between(&mut self, sigma: f64, sigma_next: f64) -> Latents {
        let _ = (sigma, sigma_next);
        self.noise()
    }
}

impl<N: NoiseSource + ?Sized> NoiseSource for &mut N {
    fn noise(&mut self) -> Latents {
        (**self).noise()
    }

    fn noise_between(&mut self, sigma: f64, sigma_next: f64) -> Latents {
        (**self).noise_between(sigma, sigma_next)
    }
}
