//! One step of each sampler, in variance-exploding form: `x = x0 + σ · noise`, so that `dx/dσ = d = (x − D(x, σ)) / σ`
//! (Karras et al. 2022, eq. 1 with σ(t) = t).
//!
//! The papers of DPM-Solver and its kin write λ for the logarithm of the ratio of signal to noise. In this form it is
//! −ln σ, and what they scale the signal with is 1.

pub(super) mod dpm_adaptive;

mod context;
mod ddim;
mod ddim_cfgpp;
mod dpm_2;
mod dpm_fast;
mod dpm_multistep;
mod dpmpp_2m;
mod dpmpp_2m_sde;
mod dpmpp_2s;
mod dpmpp_3m_sde;
mod dpmpp_sde;
mod euler;
mod heun;
mod lcm;
mod lms;
mod noise;
mod plms;
mod singlestep;
mod threshold;
mod unipc;

pub use context::{Context, Levels};
pub(super) use threshold::Threshold;

use super::{Sampler, SamplerKind};
use crate::{Error, Latents};
use noise::Churn;

/// A sampler's rule for one step, with what it remembers of earlier ones.
///
/// Samples are in variance-exploding form, `x = x0 + σ · noise`, and a step goes down from one noise level to the next. A
/// solver of one's own runs over the levels of any [`Sampler`], by [`crate::Run::with_solver`]:
///
/// ```
/// use calotype_diffusion::*;
///
/// /// The explicit midpoint method for `dx/dσ` (Karras et al. 2022, eq. 1 with σ(t) = t): the slope in the middle of a
/// /// step is taken for the whole of it.
/// struct Midpoint;
///
/// impl<E: From<Error>> Solver<E> for Midpoint {
///     fn step(&mut self, x: &Latents, levels: Levels, ctx: &mut Context<'_, E>) -> Result<Latents, E> {
///         let Levels { from, to, .. } = levels;
///         let d = ctx.derivative(x, from)?;
///         let middle = ctx.level((from.sigma + to.sigma) / 2.0);
///         let x_middle = Latents::sum([(1.0, x), (middle.sigma - from.sigma, &d)]);
///         let d_middle = ctx.derivative(&x_middle, middle)?;
///         Ok(Latents::sum([(1.0, x), (to.sigma - from.sigma, &d_middle)]))
///     }
/// }
///
/// /// The best denoiser of numbers that are normal with a deviation of 1/2, in place of a network.
/// struct Normal;
///
/// impl Denoiser for Normal {
///     type Error = Error;
///
///     fn denoise(&mut self, x: &Latents, level: NoiseLevel) -> Result<Latents, Error> {
///         Ok(x.map(|x| x * (0.25 / (0.25 + level.sigma.powi(2))) as f32))
///     }
/// }
///
/// let schedule = NoiseSchedule::scaled_linear(0.00085, 0.012, 1000)?;
/// let sampler = Sampler::new(SamplerKind::Euler, ScheduleKind::Karras, &schedule, SampleOptions::new(20))?;
/// let mut noise = BatchNoise::new(42, 1, [8, 8, 4]);
/// let start = noise.randn();
/// let run = sampler.run(Normal, &start, noise).with_solver(Midpoint);
/// let Some(last) = run.last().transpose()? else { return Ok(()) };
/// // All noise scaled to the deviation of the numbers themselves.
/// for (x, start) in last.latents.data().iter().zip(start.data()) {
///     assert!((x - 0.5 * start).abs() < 0.05);
/// }
/// # Ok::<(), Error>(())
/// ```
pub trait Solver<E> {
    /// The sample at level `levels.to`, from `x` at level `levels.from`.
    ///
    /// # Errors
    /// Those of the denoiser, and [`Error::Shape`] where it or the noise is not of the sample's shape.
    fn step(&mut self, x: &Latents, levels: Levels, ctx: &mut Context<'_, E>) -> Result<Latents, E>;
}

impl<E, S: Solver<E> + ?Sized> Solver<E> for Box<S> {
    fn step(&mut self, x: &Latents, levels: Levels, ctx: &mut Context<'_, E>) -> Result<Latents, E> {
        (**self).step(x, levels, ctx)
    }
}

/// None for the one that finds its levels itself, `dpm_adaptive`.
pub(super) fn solver<E: From<Error>>(sampler: &Sampler) -> Option<Box<dyn Solver<E> + Send>> {
    let options = &sampler.options;
    let (eta, s_noise) = (options.eta.unwrap_or(0.0), options.settings.s_noise);
    let churn = Churn::new(&options.settings, sampler.steps());
    let compvis = sampler.laid_out.compvis;
    if let Some(solver) = of_diffusers(sampler) {
        return Some(solver);
    }
    Some(match sampler.kind {
        SamplerKind::Ddim | SamplerKind::Euler | SamplerKind::EulerA => {
            Box::new(euler::Euler { eta, s_noise, churn, always_draws: compvis })
        }
        SamplerKind::Heun | SamplerKind::Restart => Box::new(heun::Heun { churn }),
        SamplerKind::Lms => Box::new(lms::Lms::default()),
        SamplerKind::Plms => Box::new(plms::Plms::new(compvis, None)),
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

/// The solver of a sampler whose diffusers' scheduler has settings, where that matters to its steps.
fn of_diffusers<E: From<Error>>(sampler: &Sampler) -> Option<Box<dyn Solver<E> + Send>> {
    let Sampler { kind, options, noise_schedule, .. } = sampler;
    if options.scheduler.is_empty() {
        return None;
    }
    let eta = options.eta.unwrap_or(0.0);
    let jumps = ddim::Jumps {
        ratio: noise_schedule.num_train_timesteps() / options.steps.max(1),
        to_one: options.scheduler.set_alpha_to_one == Some(true),
    };
    Some(match kind {
        SamplerKind::Ddim => Box::new(ddim::Jumping { solver: ddim::Ddim { eta }, jumps }),
        SamplerKind::DdimCfgpp => Box::new(ddim::Jumping { solver: ddim_cfgpp::DdimCfgpp { eta }, jumps }),
        SamplerKind::Plms => {
            let runge_kutta = options.scheduler.skip_prk_steps == Some(false);
            Box::new(plms::Plms::new(false, Some(plms::OfDiffusers { jumps, runge_kutta })))
        }
        SamplerKind::Dpmpp2m | SamplerKind::Dpmpp2mSde | SamplerKind::Dpmpp2mSdeHeun => {
            Box::new(dpm_multistep::DpmMultistep::new(*kind, options))
        }
        SamplerKind::UniPc => Box::new(unipc::UniPc::of_diffusers(options, sampler.steps())),
        _ => return None,
    })
}
