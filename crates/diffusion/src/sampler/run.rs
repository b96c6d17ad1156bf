use std::sync::Arc;

use super::solver::{Context, Levels, Solver, Threshold, dpm_adaptive::Adaptive, solver};
use super::{Sampler, SamplerKind, rises};
use crate::{Denoiser, Error, Latents, NoiseLevel, NoiseSchedule, NoiseSource};

/// How many steps a run of `dpm_adaptive` is taken for before it has begun.
pub(super) const ADAPTIVE_GUESS: usize = 30;

/// The latents after one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Which step this was, from 0.
    pub index: usize,
    /// How many there are. If the sampler is [`super::SamplerFeature::Adaptive`] it is an estimate, which changes from
    /// step to step; that of the last step is right.
    pub total: usize,
    /// The noise still in the latents, in variance-exploding form; at the last step 0, or nearly so.
    pub sigma: f64,
    /// The latents in variance-preserving scale, `x / sqrt(sigma² + 1)`.
    /// Those of the last step are the result: samplers of k-diffusion that end above 0 give `x` itself then.
    pub latents: Latents,
}

/// A run under way: each `next` takes one step. Dropping it ends the run.
///
/// After an error it gives nothing more. Between steps the latents can be looked at and changed:
///
/// ```
/// # use calotype_diffusion::*;
/// # struct Zero;
/// # impl Denoiser for Zero {
/// #     type Error = Error;
/// #     fn denoise(&mut self, x: &Latents, _: NoiseLevel) -> Result<Latents, Error> { Ok(x.map(|_| 0.0)) }
/// # }
/// # let schedule = NoiseSchedule::scaled_linear(0.00085, 0.012, 1000)?;
/// # let sampler = Sampler::new(SamplerKind::Euler, ScheduleKind::Default, &schedule, SampleOptions::new(4))?;
/// # let mut noise = BatchNoise::new(0, 1, [2, 2, 4]);
/// # let start = noise.randn();
/// # let denoiser = Zero;
/// let mut run = sampler.run(denoiser, &start, noise);
/// while let Some(step) = run.next().transpose()? {
///     let limit = 4.0 + 4.0 * step.sigma as f32;
///     run.latents_mut().data_mut().iter_mut().for_each(|x| *x = x.clamp(-limit, limit));
/// }
/// # Ok::<(), Error>(())
/// ```
pub struct Run<'a, D: Denoiser, N: NoiseSource> {
    kind: SamplerKind,
    denoiser: D,
    noise: N,
    noise_schedule: Arc<NoiseSchedule>,
    stepper: Stepper<'a, D::Error>,
    /// All levels of the run, and which of them `x` is at.
    levels: Vec<NoiseLevel>,
    at: usize,
    x: Latents,
    shape: [usize; 4],
    index: usize,
    /// The noise still in `x`.
    sigma: f64,
    s_noise: f64,
    threshold: Option<Threshold>,
    ends_preserving: bool,
    /// Whether the last step was taken.
    has_ended: bool,
}

/// How the next level is found.
enum Stepper<'a, E> {
    /// It is the next of the levels.
    Solver(Box<dyn Solver<E> + Send + 'a>),
    /// Each image finds its own.
    Adaptive(Adaptive),
    /// There is none.
    Over,
}

impl<'a, D: Denoiser + 'a, N: NoiseSource + 'a> Run<'a, D, N> {
    /// From the first sample `x`.
    pub(super) fn new(sampler: &Sampler, denoiser: D, x: Latents, noise: N) -> Self {
        Self {
            kind: sampler.kind,
            denoiser,
            noise,
            noise_schedule: sampler.noise_schedule.clone(),
            stepper: match solver(sampler) {
                Some(solver) => Stepper::Solver(solver),
                None => Stepper::Adaptive(Adaptive::new(sampler, &x)),
            },
            levels: sampler.levels.clone(),
            at: 0,
            shape: x.shape(),
            x,
            index: 0,
            sigma: sampler.levels.first().map_or(0.0, |level| level.sigma),
            s_noise: sampler.options.settings.s_noise,
            threshold: Threshold::of(&sampler.options.scheduler),
            ends_preserving: sampler.laid_out.ends_preserving,
            has_ended: false,
        }
    }

    /// The run with other steps over the same levels, those of `dpm_adaptive` being its first and its last.
    #[must_use]
    pub fn with_solver(mut self, solver: impl Solver<D::Error> + Send + 'a) -> Self {
        self.stepper = Stepper::Solver(Box::new(solver));
        self
    }
}

impl<D: Denoiser, N: NoiseSource> Run<'_, D, N> {
    /// The latents that the next step begins with, as [`Step::latents`] has them: before the first one what the run starts
    /// from, which is the result of a run without steps; after the last one the result.
    #[must_use]
    pub fn latents(&self) -> Latents {
        if self.has_ended && !self.ends_preserving {
            return self.x.clone();
        }
        let scale = self.sigma.hypot(1.0);
        self.x.map(|x| (f64::from(x) / scale) as f32)
    }

    /// The same to be changed, but in variance-exploding form: `x0 + sigma · noise`, of which [`Run::latents`] is a
    /// copy, divided by `sqrt(sigma² + 1)` before the last step. Their shape has to stay as it is.
    #[doc(alias = "callback_on_step_end")]
    #[must_use]
    pub fn latents_mut(&mut self) -> &mut Latents {
        &mut self.x
    }

    /// The standard deviation of the noise still in the latents, in variance-exploding form.
    #[must_use]
    pub fn sigma(&self) -> f64 {
        self.sigma
    }

    /// The step to the next level, and how many are left behind it.
    fn advance(&mut self) -> Result<Option<(f64, usize)>, D::Error> {
        let (got, expected) = (self.x.shape(), self.shape);
        if got != expected && !matches!(self.stepper, Stepper::Over) {
            return Err(Error::Shape { what: "the sample", got, expected }.into());
        }
        let mut ctx =
            Context::new(&mut self.denoiser, &mut self.noise, &self.noise_schedule, self.threshold, self.shape);
        match &mut self.stepper {
            Stepper::Over => Ok(None),
            Stepper::Adaptive(adaptive) => adaptive.step(&mut self.x, &mut ctx),
            Stepper::Solver(solver) => {
                while let Some(&[from, to]) = self.levels.get(self.at..self.at + 2).filter(|pair| rises(pair)) {
                    self.x = ctx.raise(&self.x, [from, to], self.s_noise)?;
                    self.at += 1;
                }
                let &[from, to, ref ahead @ ..] = self.levels.get(self.at..).unwrap_or_default() else {
                    return Ok(None);
                };
                let before = self.at.checked_sub(1).and_then(|before| self.levels.get(before)).copied();
                let levels = Levels { from, to, before, index: self.at, left: ahead.len() };
                self.x = solver.step(&self.x, levels, &mut ctx)?;
                self.at += 1;
                Ok(Some((to.sigma, steps(&self.levels, self.at))))
            }
        }
    }
}

/// Steps down from the level `at` on.
pub(super) fn steps(levels: &[NoiseLevel], at: usize) -> usize {
    levels.get(at..).unwrap_or_default().windows(2).filter(|pair| !rises(pair)).count()
}

impl<D: Denoiser, N: NoiseSource> Iterator for Run<'_, D, N> {
    type Item = Result<Step, D::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let (sigma, left) = match self.advance() {
            Ok(step) => step?,
            Err(error) => {
                self.stepper = Stepper::Over;
                return Some(Err(error));
            }
        };
        let index = self.index;
        self.index += 1;
        (self.sigma, self.has_ended) = (sigma, left == 0);
        Some(Ok(Step { index, total: index + 1 + left, sigma, latents: self.latents() }))
    }

    /// Exact, but for the samplers that are adaptive.
    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.stepper {
            Stepper::Over => (0, Some(0)),
            Stepper::Adaptive(_) => (0, None),
            Stepper::Solver(_) => {
                let left = steps(&self.levels, self.at);
                (left, Some(left))
            }
        }
    }
}

impl<D: Denoiser, N: NoiseSource> std::fmt::Debug for Run<'_, D, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("kind", &self.kind).field("index", &self.index).finish_non_exhaustive()
    }
}
