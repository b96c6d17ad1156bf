use super::solver::{Model, Solver, dpm_adaptive::Adaptive, solver};
use super::{Sampler, SamplerKind, rises};
use crate::{Denoiser, Latents, NoiseLevel, NoiseSource};

/// How many steps a run of `dpm_adaptive` is taken for before it has begun.
pub(super) const ADAPTIVE_GUESS: usize = 30;

/// The latents after one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Which step this was, from 0.
    pub index: usize,
    /// How many there are. If the sampler is [`super::SamplerFeature::Adaptive`] it is an estimate, which changes from step to
    /// step; that of the last step is right.
    pub total: usize,
    /// The noise still in the latents, in variance-exploding form; at the last step 0, or nearly so.
    pub sigma: f64,
    /// The latents in variance-preserving scale, `x / sqrt(sigma² + 1)`.
    /// Those of the last step are the result: samplers of k-diffusion that end above 0 give `x` itself then.
    pub latents: Latents,
}

/// A run under way: each `next` takes one step. Dropping it ends the run.
///
/// After an error it gives nothing more.
pub struct Run<'a, D: Denoiser, N: NoiseSource> {
    kind: SamplerKind,
    model: Model<D, N>,
    way: Way<'a, D, N>,
    x: Latents,
    index: usize,
    /// The noise still in `x`.
    sigma: f64,
    ends_preserving: bool,
}

/// How the levels are found.
enum Way<'a, D: Denoiser, N: NoiseSource> {
    /// They are known.
    Levels { solver: Box<dyn Solver<D, N> + Send + 'a>, levels: Vec<NoiseLevel>, at: usize, s_noise: f64 },
    /// Each picture finds its own.
    Adaptive(Adaptive),
    /// It ended.
    Over,
}

impl<'a, D: Denoiser + 'a, N: NoiseSource + 'a> Run<'a, D, N> {
    /// From the first sample `x`.
    pub(super) fn new(sampler: &Sampler, denoiser: D, x: Latents, noise: N) -> Self {
        let model = Model { denoiser, noise, noise_schedule: sampler.noise_schedule.clone(), shape: x.shape() };
        let s_noise = sampler.options.settings.s_noise;
        let way = match solver(sampler) {
            Some(solver) => Way::Levels { solver, levels: sampler.levels.clone(), at: 0, s_noise },
            None => Way::Adaptive(Adaptive::new(sampler, &x)),
        };
        let sigma = sampler.levels.first().map_or(0.0, |level| level.sigma);
        let ends_preserving = sampler.laid_out.ends_preserving;
        Self { kind: sampler.kind, model, way, x, index: 0, sigma, ends_preserving }
    }
}

impl<D: Denoiser, N: NoiseSource> Run<'_, D, N> {
    /// The latents that the next step begins with, in variance-preserving scale: before the first one what the run starts
    /// from, which is the result of a run without steps.
    #[must_use]
    pub fn latents(&self) -> Latents {
        let scale = self.sigma.hypot(1.0);
        self.x.map(|x| (f64::from(x) / scale) as f32)
    }

    /// The step to the next level, and how many are left behind it.
    fn advance(&mut self) -> Result<Option<(f64, usize)>, D::Error> {
        match &mut self.way {
            Way::Over => Ok(None),
            Way::Levels { solver, levels, at, s_noise } => {
                while let Some(pair) = levels.get(*at..*at + 2).filter(|pair| rises(pair)) {
                    let raised = self.model.raise(self.x.data(), pair, *s_noise)?;
                    self.x = self.model.sample(raised)?;
                    *at += 1;
                }
                let Some((past, [to, ahead @ ..])) = levels.split_at_checked(*at + 1) else { return Ok(None) };
                let x = solver.step(&mut self.model, self.x.data(), past, *to)?;
                self.x = self.model.sample(x)?;
                *at += 1;
                let left = ahead.len()
                    - levels.get(*at..).map_or(0, |rest| rest.windows(2).filter(|pair| rises(pair)).count());
                Ok(Some((to.sigma, left)))
            }
            Way::Adaptive(adaptive) => {
                let Some(step) = adaptive.step(&mut self.model)? else { return Ok(None) };
                self.x = self.model.sample(adaptive.x.clone())?;
                Ok(Some(step))
            }
        }
    }
}

impl<D: Denoiser, N: NoiseSource> Iterator for Run<'_, D, N> {
    type Item = Result<Step, D::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let (sigma, left) = match self.advance() {
            Ok(step) => step?,
            Err(error) => {
                self.way = Way::Over;
                return Some(Err(error));
            }
        };
        let index = self.index;
        self.index += 1;
        self.sigma = sigma;
        let latents = if left == 0 && !self.ends_preserving { self.x.clone() } else { self.latents() };
        Some(Ok(Step { index, total: index + 1 + left, sigma, latents }))
    }

    /// Exact, but for the samplers that are adaptive.
    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.way {
            Way::Over => (0, Some(0)),
            Way::Levels { levels, at, .. } => {
                let ahead = levels.get(*at..).unwrap_or_default();
                let left = ahead.windows(2).filter(|pair| !rises(pair)).count();
                (left, Some(left))
            }
            Way::Adaptive(_) => (0, None),
        }
    }
}

impl<D: Denoiser, N: NoiseSource> std::fmt::Debug for Run<'_, D, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("kind", &self.kind).field("index", &self.index).finish_non_exhaustive()
    }
}
