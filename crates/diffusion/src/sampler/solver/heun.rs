use super::{Churn, Model, Solver, current, derivative, sum};
use crate::{Denoiser, NoiseLevel, NoiseSource};

/// Heun's method (Karras et al. 2022, algorithm 2): an Euler step, then the same step again with the mean of the
/// slopes at both its ends. The last step, down to 0, where there is no slope, stays Euler's.
pub(super) struct Heun {
    pub(super) churn: Churn,
}

impl<D: Denoiser, N: NoiseSource> Solver<D, N> for Heun {
    fn step(
        &mut self,
        model: &mut Model<D, N>,
        x: &[f32],
        past: &[NoiseLevel],
        to: NoiseLevel,
    ) -> Result<Vec<f32>, D::Error> {
        let (x, from) = self.churn.apply(model, x, current(past))?;
        let dt = to.sigma - from.sigma;

        let denoised = model.denoise(&x, from)?;
        let d = derivative(&x, &denoised, from.sigma);
        let x_euler = sum(&[(1.0, &x), (dt, &d)]);
        if to.sigma == 0.0 {
            return Ok(x_euler);
        }
        let denoised = model.denoise(&x_euler, to)?;
        let d_next = derivative(&x_euler, &denoised, to.sigma);
        Ok(sum(&[(1.0, &x), (0.5 * dt, &d), (0.5 * dt, &d_next)]))
    }
}
