use super::noise::ancestral;
use super::{Context, Levels, Solver};
use crate::{Error, Latents};

/// DPM-Solver++(2S) (Lu et al. 2022, "DPM-Solver++", algorithm 1, r = 1/2) down to `σ_down`, and ancestral noise
/// (k-diffusion `sample_dpmpp_2s_ancestral`): the denoised sample in the middle of the step, in λ = −ln σ, is taken for
/// the whole of it. A step down to 0 goes to the denoised sample.
pub(super) struct Dpmpp2s {
    pub(super) eta: f64,
    pub(super) s_noise: f64,
}

impl<E: From<Error>> Solver<E> for Dpmpp2s {
    fn step(&mut self, x: &Latents, levels: Levels, ctx: &mut Context<'_, E>) -> Result<Latents, E> {
        let Levels { from, to, .. } = levels;
        let denoised = ctx.denoise(x, from)?;
        if to.sigma == 0.0 {
            return Ok(denoised);
        }
        let (sigma_down, sigma_up) = ancestral(from.sigma, to.sigma, self.eta);
        let middle = ctx.level((from.sigma * sigma_down).sqrt());

        let ratio = middle.sigma / from.sigma; // exp(−h / 2)
        let x_2 = Latents::sum([(ratio, x), (1.0 - ratio, &denoised)]);
        let denoised_2 = ctx.denoise(&x_2, middle)?;
        let ratio = sigma_down / from.sigma; // exp(−h)
        if self.eta == 0.0 {
            return Ok(Latents::sum([(ratio, x), (1.0 - ratio, &denoised_2)]));
        }
        let noise = ctx.noise()?;
        Ok(Latents::sum([(ratio, x), (1.0 - ratio, &denoised_2), (self.s_noise * sigma_up, &noise)]))
    }
}
