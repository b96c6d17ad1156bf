use super::noise::ancestral;
use super::{Model, Solver, current, sum};
use crate::{Denoiser, NoiseLevel, NoiseSource};

/// DPM-Solver++(2S) (Lu et al. 2022, "DPM-Solver++", algorithm 1, r = 1/2) down to `σ_down`, and ancestral noise
/// (k-diffusion `sample_dpmpp_2s_ancestral`): the denoised sample in the middle of the step, in λ = −ln σ, is taken for
/// the whole of it. A step down to 0 goes to the denoised sample.
pub(super) struct Dpmpp2s {
    pub(super) eta: f64,
    pub(super) s_noise: f64,
}

impl<D: Denoiser, N: NoiseSource> Solver<D, N> for Dpmpp2s {
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
        let (sigma_down, sigma_up) = ancestral(from.sigma, to.sigma, self.eta);
        let middle = model.level((from.sigma * sigma_down).sqrt());

        let ratio = middle.sigma / from.sigma; // exp(−h / 2)
        let x_2 = sum(&[(ratio, x), (1.0 - ratio, &denoised)]);
        let denoised_2 = model.denoise(&x_2, middle)?;
        let ratio = sigma_down / from.sigma; // exp(−h)
        let mut terms = vec![(ratio, x), (1.0 - ratio, &denoised_2)];
        let noise = if self.eta > 0.0 { model.noise()? } else { Vec::new() };
        terms.extend((self.eta > 0.0).then_some((self.s_noise * sigma_up, noise.as_slice())));
        Ok(sum(&terms))
    }
}
