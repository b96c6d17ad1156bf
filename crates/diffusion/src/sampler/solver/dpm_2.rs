use super::noise::{Churn, ancestral};
use super::{Model, Solver, current, derivative, sum};
use crate::{Denoiser, NoiseLevel, NoiseSource};

/// DPM-Solver-2 (Lu et al. 2022, "DPM-Solver", algorithm 1) as a method for `dx/dσ` (k-diffusion `sample_dpm_2`): the
/// slope in the middle of the step, in λ, is taken for the whole of it. With the churn of Karras et al. 2022, or with
/// ancestral noise (`sample_dpm_2_ancestral`). A step down to 0, which has no middle in λ, is Euler's.
pub(super) struct Dpm2 {
    pub(super) eta: f64,
    pub(super) s_noise: f64,
    pub(super) churn: Churn,
}

impl<D: Denoiser, N: NoiseSource> Solver<D, N> for Dpm2 {
    fn step(
        &mut self,
        model: &mut Model<D, N>,
        x: &[f32],
        past: &[NoiseLevel],
        to: NoiseLevel,
    ) -> Result<Vec<f32>, D::Error> {
        let (x, from) = self.churn.apply(model, x, current(past))?;
        let (sigma_down, sigma_up) = ancestral(from.sigma, to.sigma, self.eta);
        let dt = sigma_down - from.sigma;

        let denoised = model.denoise(&x, from)?;
        let d = derivative(&x, &denoised, from.sigma);
        if sigma_down == 0.0 {
            return Ok(sum(&[(1.0, &x), (dt, &d)]));
        }
        let middle = model.level((from.sigma * sigma_down).sqrt());
        let x_2 = sum(&[(1.0, &x), (middle.sigma - from.sigma, &d)]);
        let denoised_2 = model.denoise(&x_2, middle)?;
        let d_2 = derivative(&x_2, &denoised_2, middle.sigma);
        if self.eta == 0.0 {
            return Ok(sum(&[(1.0, &x), (dt, &d_2)]));
        }
        let noise = model.noise()?;
        Ok(sum(&[(1.0, &x), (dt, &d_2), (self.s_noise * sigma_up, &noise)]))
    }
}
