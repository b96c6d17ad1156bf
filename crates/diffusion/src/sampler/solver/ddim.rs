use super::super::diffusers::final_level;
use super::super::timesteps::whole;
use super::noise::ancestral;
use super::{Context, Levels, Solver};
use crate::{Error, Latents, NoiseLevel};

/// DDIM (Song et al. 2021, eq. 12) with the denoised sample thresholded, the noise not, as diffusers has it. Written by the
/// denoised sample it also holds where nearly no signal is left.
pub(super) struct Ddim {
    pub(super) eta: f64,
}

impl<E: From<Error>> Solver<E> for Ddim {
    fn step(&mut self, x: &Latents, levels: Levels, ctx: &mut Context<'_, E>) -> Result<Latents, E> {
        let Levels { from, to, .. } = levels;
        let (sigma_down, sigma_up) = ancestral(from.sigma, to.sigma, self.eta);
        let denoised = ctx.denoise_as_is(x, from)?;
        let eps = super::context::derivative(x, &denoised, from);
        let denoised = ctx.thresholded(denoised);
        if self.eta == 0.0 {
            return Ok(Latents::sum([(1.0, &denoised), (sigma_down, &eps)]));
        }
        let noise = ctx.noise()?;
        Ok(Latents::sum([(1.0, &denoised), (sigma_down, &eps), (sigma_up, &noise)]))
    }
}

/// Where DDIM and PNDM of diffusers go from a timestep: `T / steps` down, whatever the next of the run is, and what comes out
/// is taken for a sample of that one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Jumps {
    pub(super) ratio: usize,
    pub(super) to_one: bool,
}

impl Jumps {
    /// The level that a step from this one goes to.
    pub(super) fn target<E: From<Error>>(self, from: NoiseLevel, ctx: &Context<'_, E>) -> NoiseLevel {
        match (from.timestep as usize).checked_sub(self.ratio) {
            Some(timestep) => whole(ctx.noise_schedule(), timestep),
            None => final_level(ctx.noise_schedule(), self.to_one),
        }
    }
}

/// A sample of one level taken for one of another, as is done in variance-preserving scale without a word.
pub(super) fn taken_for(x: Latents, of: NoiseLevel, level: NoiseLevel) -> Latents {
    if of == level {
        return x;
    }
    let scale = level.scale() / of.scale();
    x.map(|x| (f64::from(x) * scale) as f32)
}

/// A solver whose steps go [`Jumps`].
pub(super) struct Jumping<S> {
    pub(super) solver: S,
    pub(super) jumps: Jumps,
}

impl<E: From<Error>, S: Solver<E>> Solver<E> for Jumping<S> {
    fn step(&mut self, x: &Latents, levels: Levels, ctx: &mut Context<'_, E>) -> Result<Latents, E> {
        let target = self.jumps.target(levels.from, ctx);
        let x = self.solver.step(x, Levels { to: target, ..levels }, ctx)?;
        Ok(taken_for(x, target, levels.to))
    }
}
