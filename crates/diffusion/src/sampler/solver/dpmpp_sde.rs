use super::noise::ancestral;
use super::{Model, Solver, current, sum};
use crate::schedule::{exp, ln};
use crate::{Denoiser, NoiseLevel, NoiseSource};

/// Stochastic DPM-Solver++ (k-diffusion `sample_dpmpp_sde`, r = 1/2): the two stages of DPM-Solver++(2S) (Lu et al. 2022,
/// "DPM-Solver++", algorithm 1), each with ancestral noise for its own way. The step down to 0 goes to the denoised sample.
pub(super) struct DpmppSde {
    pub(super) eta: f64,
    pub(super) s_noise: f64,
}

impl<D: Denoiser, N: NoiseSource> Solver<D, N> for DpmppSde {
    fn step(
        &mut self,
        model: &mut Model<D, N>,
        x: &[f32],
        past: &[NoiseLevel],
        to: NoiseLevel,
    ) -> Result<Vec<f32>, D::Error> {
        let from = current(past);
        let denoised = model.denoise(x, from)?;
        if to.sigma == 0.0 {
            return Ok(denoised);
        }
        // In f32, and by way of λ, as there: Brownian noise shows the last digit of a sigma.
        let [lambda, lambda_to] = [from.sigma, to.sigma].map(|sigma| -ln(sigma as f32));
        let sigma = |lambda: f32| f64::from(exp(-lambda));
        let middle = model.level(sigma(lambda + (lambda_to - lambda) * 0.5));
        let x_2 = self.stage(model, x, &denoised, sigma(lambda), middle.sigma)?;
        let denoised_2 = model.denoise(&x_2, middle)?;
        self.stage(model, x, &denoised_2, sigma(lambda), sigma(lambda_to))
    }
}

impl DpmppSde {
    /// `x` on its way down with a denoised sample that is taken for the whole of it, and noise back up.
    fn stage<D: Denoiser, N: NoiseSource>(
        &self,
        model: &mut Model<D, N>,
        x: &[f32],
        denoised: &[f32],
        from: f64,
        to: f64,
    ) -> Result<Vec<f32>, D::Error> {
        let (sigma_down, sigma_up) = ancestral(from, to, self.eta);
        let ratio = sigma_down / from; // exp(−h)
        if self.eta == 0.0 {
            return Ok(sum(&[(ratio, x), (1.0 - ratio, denoised)]));
        }
        let noise = model.noise_between(from, to)?;
        Ok(sum(&[(ratio, x), (1.0 - ratio, denoised), (self.s_noise * sigma_up, &noise)]))
    }
}
