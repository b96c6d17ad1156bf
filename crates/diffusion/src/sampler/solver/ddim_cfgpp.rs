use super::noise::ancestral;
use super::{Model, Solver, current, derivative, sum};
use crate::{Denoiser, NoiseLevel, NoiseSource};

/// DDIM with CFG++ (Chung et al. 2024, "CFG++: Manifold-constrained Classifier Free Guidance", algorithm 2): from the
/// guided denoised sample on with the noise that was predicted without the prompt. With η as in [`super::euler::Euler`].
pub(super) struct DdimCfgpp {
    pub(super) eta: f64,
}

impl<D: Denoiser, N: NoiseSource> Solver<D, N> for DdimCfgpp {
    fn step(
        &mut self,
        model: &mut Model<D, N>,
        x: &[f32],
        past: &[NoiseLevel],
        to: NoiseLevel,
    ) -> Result<Vec<f32>, D::Error> {
        let from = current(past);
        let (sigma_down, sigma_up) = ancestral(from.sigma, to.sigma, self.eta);
        let [guided, uncond] = model.denoise_with_uncond(x, from)?;
        let eps_uncond = derivative(x, &uncond, from.sigma);
        if self.eta == 0.0 {
            return Ok(sum(&[(1.0, &guided), (sigma_down, &eps_uncond)]));
        }
        let noise = model.noise()?;
        Ok(sum(&[(1.0, &guided), (sigma_down, &eps_uncond), (sigma_up, &noise)]))
    }
}
