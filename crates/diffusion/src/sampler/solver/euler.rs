use super::noise::{Churn, ancestral};
use super::{Context, Levels, Solver};
use crate::{Error, Latents};

/// An Euler step down to `σ_down`, and fresh noise back up to the next sigma: `σ_up² + σ_down² = σ_to²`.
///
/// Three samplers in one. With η = 0 it is Euler (Karras et al. 2022, algorithm 2); with η = 1 k-diffusion's ancestral
/// Euler; and DDIM (Song et al. 2021) for any η: its eq. 12 divided by `sqrt(ᾱ)` is this step, for `σ² = (1 − ᾱ) / ᾱ`
/// turns the `σ_t` of its eq. 16, over `sqrt(ᾱ_to)`, into `σ_up`.
pub(super) struct Euler {
    pub(super) eta: f64,
    pub(super) s_noise: f64,
    pub(super) churn: Churn,
    /// Draws noise also where it is multiplied by 0, as CompVis' DDIM does: the stream moves on.
    pub(super) always_draws: bool,
}

impl<E: From<Error>> Solver<E> for Euler {
    fn step(&mut self, x: &Latents, levels: Levels, ctx: &mut Context<'_, E>) -> Result<Latents, E> {
        let (x, from) = self.churn.apply(x, levels.from, ctx)?;
        let (sigma_down, sigma_up) = ancestral(from.sigma, levels.to.sigma, self.eta);

        let d = ctx.derivative(&x, from)?;
        let dt = sigma_down - from.sigma;
        if self.eta == 0.0 {
            if self.always_draws {
                ctx.noise()?;
            }
            return Ok(Latents::sum([(1.0, &*x), (dt, &d)]));
        }
        let noise = ctx.noise()?;
        Ok(Latents::sum([(1.0, &*x), (dt, &d), (self.s_noise * sigma_up, &noise)]))
    }
}
