use super::context::derivative;
use super::noise::ancestral;
use super::{Context, Levels, Solver};
use crate::{Error, Latents};

/// DDIM with CFG++ (Chung et al. 2024, "CFG++: Manifold-constrained Classifier Free Guidance", algorithm 2): from the
/// guided denoised sample on with the noise that was predicted without the prompt. With η as in [`super::euler::Euler`].
pub(super) struct DdimCfgpp {
    pub(super) eta: f64,
}

impl<E: From<Error>> Solver<E> for DdimCfgpp {
    fn step(&mut self, x: &Latents, levels: Levels, ctx: &mut Context<'_, E>) -> Result<Latents, E> {
        let Levels { from, to, .. } = levels;
        let (sigma_down, sigma_up) = ancestral(from.sigma, to.sigma, self.eta);
        let [guided, uncond] = ctx.denoise_with_uncond(x, from)?;
        let eps_uncond = derivative(x, &uncond, from);
        if self.eta == 0.0 {
            return Ok(Latents::sum([(1.0, &guided), (sigma_down, &eps_uncond)]));
        }
        let noise = ctx.noise()?;
        Ok(Latents::sum([(1.0, &guided), (sigma_down, &eps_uncond), (sigma_up, &noise)]))
    }
}
