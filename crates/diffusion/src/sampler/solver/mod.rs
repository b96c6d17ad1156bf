//! One step of each sampler, in variance-exploding form: `x = x0 + σ · noise`, so that `dx/dσ = d = (x − D(x, σ)) / σ`
//! (Karras et al. 2022, eq. 1 with σ(t) = t).
//!
//! The papers of DPM-Solver and its kin write λ for the logarithm of the ratio of signal to noise. In this form it is
//! −ln σ, and what they scale the signal with is 1.

pub(super) mod dpm_adaptive;

mod ddim_cfgpp;
mod dpm_2;
mod dpm_fast;
mod dpmpp_2m;
mod dpmpp_2m_sde;
mod dpmpp_2s;
mod dpmpp_3m_sde;
mod dpmpp_sde;
mod euler;
mod heun;
mod lcm;
mod lms;
mod model;
mod noise;
mod plms;
mod singlestep;
mod unipc;

pub(super) use model::Model;

use super::{Sampler, SamplerKind};
use crate::{Denoiser, NoiseLevel, NoiseSource};
use noise::Churn;

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

/// None for the one that finds its levels itself, `dpm_adaptive`.
pub(super) fn solver<'a, D: Denoiser + 'a, N: NoiseSource + 'a>(
    sampler: &Sampler,
) -> Option<Box<dyn Solver<D, N> + Send + 'a>> {
    let options = &sampler.options;
    let (eta, s_noise) = (options.eta.unwrap_or(0.0), options.settings.s_noise);
    let churn = Churn::new(&options.settings, sampler.steps());
    let compvis = sampler.laid_out.compvis;
    Some(match sampler.kind {
        SamplerKind::Ddim | SamplerKind::Euler | SamplerKind::EulerA => {
            Box::new(euler::Euler { eta, s_noise, churn, always_draws: compvis })
        }
        SamplerKind::Heun | SamplerKind::Restart => Box::new(heun::Heun { churn }),
        SamplerKind::Lms => Box::new(lms::Lms::default()),
        SamplerKind::Plms => Box::new(plms::Plms::new(compvis)),
        SamplerKind::Dpm2 | SamplerKind::Dpm2A => Box::new(dpm_2::Dpm2 { eta, s_noise, churn }),
        SamplerKind::Dpmpp2sA => Box::new(dpmpp_2s::Dpmpp2s { eta, s_noise }),
        SamplerKind::Dpmpp2m => Box::new(dpmpp_2m::Dpmpp2m::default()),
        SamplerKind::DpmppSde => Box::new(dpmpp_sde::DpmppSde { eta, s_noise }),
        SamplerKind::Dpmpp2mSde => Box::new(dpmpp_2m_sde::Dpmpp2mSde::new(eta, s_noise, dpmpp_2m_sde::Form::Midpoint)),
        SamplerKind::Dpmpp2mSdeHeun => Box::new(dpmpp_2m_sde::Dpmpp2mSde::new(eta, s_noise, dpmpp_2m_sde::Form::Heun)),
        SamplerKind::Dpmpp3mSde => Box::new(dpmpp_3m_sde::Dpmpp3mSde::new(eta, s_noise)),
        SamplerKind::DpmFast => Box::new(dpm_fast::DpmFast::new(eta, s_noise, sampler)),
        SamplerKind::Lcm => Box::new(lcm::Lcm),
        SamplerKind::DdimCfgpp => Box::new(ddim_cfgpp::DdimCfgpp { eta }),
        SamplerKind::UniPc => Box::new(unipc::UniPc::new(sampler.steps(), &options.settings)),
        // Its `lower_order_final` acts in short runs only.
        SamplerKind::DpmSolver => Box::new(dpmpp_2m::Dpmpp2m::new(options.steps < 15)),
        SamplerKind::DpmAdaptive => return None,
    })
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
