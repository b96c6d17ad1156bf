use super::noise::ancestral;
use super::{Context, Levels, Solver};
use crate::schedule::{exp, ln};
use crate::{Error, Latents};

/// Stochastic DPM-Solver++ (k-diffusion `sample_dpmpp_sde`, r = 1/2): the two stages of DPM-Solver++(2S) (Lu et al. 2022,
/// "DPM-Solver++", algorithm 1), each with ancestral noise for its own way. The step down to 0 goes to the denoised sample.
pub(super) struct DpmppSde {
    pub(super) eta: f64,
    pub(super) s_noise: f64,
}

impl<E: From<Error>> Solver<E> for DpmppSde {
    fn step(&mut self, x: &Latents, levels: Levels, ctx: &mut Context<'_, E>) -> Result<Latents, E> {
        let Levels { from, to, .. } = levels;
        let denoised = ctx.denoise(x, from)?;
        if to.sigma == 0.0 {
            return Ok(denoised);
        }
        // In f32, and by way of λ, as there: Brownian noise shows the last digit of a sigma.
        let [lambda, lambda_to] = [from.sigma, to.sigma].map(|sigma| -ln(sigma as f32));
        let sigma = |lambda: f32| f64::from(exp(-lambda));
        let middle = ctx.level(sigma(lambda + (lambda_to - lambda) * 0.5));
        let x_2 = self.stage(x, &denoised, [sigma(lambda), middle.sigma], ctx)?;
        let denoised_2 = ctx.denoise(&x_2, middle)?;
        self.stage(x, &denoised_2, [sigma(lambda), sigma(lambda_to)], ctx)
    }
}

impl DpmppSde {
    /// `x` on its way down with a denoised sample that is taken for the whole of it, and noise back up.
    fn stage<E: From<Error>>(
        &self,
        x: &Latents,
        denoised: &Latents,
        [from, to]: [f64; 2],
        ctx: &mut Context<'_, E>,
    ) -> Result<Latents, E> {
        let (sigma_down, sigma_up) = ancestral(from, to, self.eta);
        let ratio = sigma_down / from; // exp(−h)
        if self.eta == 0.0 {
            return Ok(Latents::sum([(ratio, x), (1.0 - ratio, denoised)]));
        }
        let noise = ctx.noise_between(from, to)?;
        Ok(Latents::sum([(ratio, x), (1.0 - ratio, denoised), (self.s_noise * sigma_up, &noise)]))
    }
}
