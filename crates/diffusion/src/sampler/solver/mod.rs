//! One step of each sampler, in variance-exploding form: `x = x0 + σ · noise`, so that `dx/dσ = d = (x − D(x, σ)) / σ`
//! (Karras et al. 2022, eq. 1 with σ(t) = t).

mod dpmpp_2m;
mod euler;
mod heun;
mod lms;
mod plms;

use super::{Sampler, SamplerKind};
use crate::{Denoiser, NoiseLevel, NoiseSource};

/// The model and the noise a solver may ask for.
pub(super) struct Model<D, N> {
    pub(super) denoiser: D,
    pub(super) noise: N,
}

/// A sampler's rule for one step, with what it remembers of earlier ones.
pub(super) trait Solver<D: Denoiser, N: NoiseSource> {
    /// The sample at level `to`, from `x` at the last level of `past`, which holds every level gone through.
    fn step(
        &mut self,
        model: &mut Model<D, N>,
        x: &[f32],
        past: &[NoiseLevel],
        to: NoiseLevel,
    ) -> Result<Vec<f32>, D::Error>;
}

pub(super) fn solver<'a, D: Denoiser + 'a, N: NoiseSource + 'a>(sampler: &Sampler) -> Box<dyn Solver<D, N> + 'a> {
    let (eta, compvis) = (sampler.eta, sampler.compvis);
    match sampler.kind {
        SamplerKind::Ddim => Box::new(euler::Euler { eta, always_draws: compvis }),
        SamplerKind::Euler => Box::new(euler::Euler { eta: 0.0, always_draws: false }),
        SamplerKind::EulerA => Box::new(euler::Euler { eta: 1.0, always_draws: false }),
        SamplerKind::Heun => Box::new(heun::Heun),
        SamplerKind::Lms => Box::new(lms::Lms::default()),
        SamplerKind::Plms => Box::new(plms::Plms::new(compvis)),
        SamplerKind::Dpmpp2m => Box::new(dpmpp_2m::Dpmpp2m::default()),
        // Its `lower_order_final` acts in short runs only.
        SamplerKind::DpmSolver => Box::new(dpmpp_2m::Dpmpp2m::new(sampler.steps_asked < 15)),
    }
}

/// The level a step starts from.
fn current(past: &[NoiseLevel]) -> NoiseLevel {
    past.last().copied().unwrap_or(NoiseLevel::CLEAN)
}

/// `dx/dσ` at a sample and its denoised form.
fn derivative(x: &[f32], denoised: &[f32], sigma: f64) -> Vec<f32> {
    sum(&[(1.0 / sigma, x), (-1.0 / sigma, denoised)])
}

/// `Σ factor · buffer`, in f64, rounded once.
fn sum(terms: &[(f64, &[f32])]) -> Vec<f32> {
    let length = terms.first().map_or(0, |(_, buffer)| buffer.len());
    let mut total = vec![0.0f64; length];
    for (factor, buffer) in terms {
        for (total, &value) in total.iter_mut().zip(*buffer) {
            *total += factor * f64::from(value);
        }
    }
    total.into_iter().map(|total| total as f32).collect()
}
