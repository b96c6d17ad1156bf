use super::solver::{Model, Solver, solver};
use super::{Sampler, SamplerKind};
use crate::{Denoiser, Error, NoiseLevel, NoiseSource};

/// The latents after one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Which step this was, from 0.
    pub index: usize,
    /// How many there are.
    pub total: usize,
    /// The noise still in the latents, in variance-exploding form; at the last step 0, or nearly so (`ddim`, `plms`).
    pub sigma: f64,
    /// The latents in variance-preserving scale, `x / sqrt(sigma² + 1)`, in the layout of the starting noise.
    /// Those of the last step are the result.
    pub latents: Vec<f32>,
}

/// A run under way: each `next` takes one step. Dropping it ends the run.
///
/// After an error it gives nothing more.
pub struct Run<'a, D: Denoiser, N: NoiseSource> {
    kind: SamplerKind,
    model: Model<D, N>,
    solver: Box<dyn Solver<D, N> + 'a>,
    levels: Vec<NoiseLevel>,
    x: Vec<f32>,
    index: usize,
}

impl<'a, D: Denoiser + 'a, N: NoiseSource + 'a> Run<'a, D, N> {
    pub(super) fn new(sampler: &Sampler, denoiser: D, x: Vec<f32>, noise: N) -> Self {
        Self {
            kind: sampler.kind,
            model: Model { denoiser, noise },
            solver: solver(sampler.kind, sampler.eta),
            levels: sampler.levels.clone(),
            x,
            index: 0,
        }
    }
}

impl<D: Denoiser, N: NoiseSource> Iterator for Run<'_, D, N> {
    type Item = Result<Step, D::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let (index, total) = (self.index, self.levels.len() - 1);
        let (past, ahead) = self.levels.split_at_checked(index + 1)?;
        let to = *ahead.first()?;
        match self.solver.step(&mut self.model, &self.x, past, to) {
            Ok(x) => self.x = x,
            Err(error) => {
                self.index = total;
                return Some(Err(error));
            }
        }
        self.index += 1;
        let latents = self.x.iter().map(|&x| (f64::from(x) / to.scale()) as f32).collect();
        Some(Ok(Step { index, total, sigma: to.sigma, latents }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.levels.len() - 1 - self.index;
        (left, Some(left))
    }
}

impl<D: Denoiser, N: NoiseSource> ExactSizeIterator for Run<'_, D, N> {}

impl<D: Denoiser, N: NoiseSource> std::fmt::Debug for Run<'_, D, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("kind", &self.kind).field("index", &self.index).finish_non_exhaustive()
    }
}

impl<D: Denoiser, N: NoiseSource> Model<D, N> {
    /// The denoised sample, of the length of `x`.
    pub(super) fn denoise(&mut self, x: &[f32], level: NoiseLevel) -> Result<Vec<f32>, D::Error> {
        let denoised = self.denoiser.denoise(x, level)?;
        Ok(checked("the denoised sample", denoised, x.len())?)
    }

    /// Fresh noise, of the length of `x`.
    pub(super) fn noise(&mut self, x: &[f32]) -> Result<Vec<f32>, D::Error> {
        Ok(checked("the noise of a step", self.noise.noise(), x.len())?)
    }
}

fn checked(what: &'static str, buffer: Vec<f32>, expected: usize) -> Result<Vec<f32>, Error> {
    if buffer.len() == expected { Ok(buffer) } else { Err(Error::Length { what, got: buffer.len(), expected }) }
}
