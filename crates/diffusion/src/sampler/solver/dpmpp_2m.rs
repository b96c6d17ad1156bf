use super::{Model, Solver, current, sum};
use crate::{Denoiser, NoiseLevel, NoiseSource};

/// DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), midpoint form, in λ = −ln σ: the denoised sample is extrapolated to
/// the middle of the step from this one and the one before. The first step, and the one down to σ = 0 (λ = ∞), are of
/// first order.
#[derive(Default)]
pub(super) struct Dpmpp2m {
    old_denoised: Option<Vec<f32>>,
    /// Whether a last step that does not go down to σ = 0 is of first order too.
    lower_order_final: bool,
}

impl Dpmpp2m {
    pub(super) fn new(lower_order_final: bool) -> Self {
        Self { old_denoised: None, lower_order_final }
    }
}

impl<D: Denoiser, N: NoiseSource> Solver<D, N> for Dpmpp2m {
    fn step(
        &mut self,
        model: &mut Model<D, N>,
        x: &[f32],
        past: &[NoiseLevel],
        to: NoiseLevel,
    ) -> Result<Vec<f32>, D::Error> {
        let from = current(past);
        let denoised = model.denoise(x, from)?;
        let ratio = to.sigma / from.sigma; // σ_t / σ_s = exp(−h)
        let h = -ratio.ln();

        let lower_order = to.sigma == 0.0 || (self.lower_order_final && to.timestep == 0.0);
        let x_to = match (&self.old_denoised, past) {
            // Two levels can be one where there are nearly as many steps as timesteps: nothing to extrapolate from.
            (Some(old_denoised), [.., before, _]) if !lower_order && before.sigma > from.sigma => {
                let r = (before.sigma / from.sigma).ln() / h;
                let d = sum(&[(1.0 + 0.5 / r, &denoised), (-0.5 / r, old_denoised)]);
                sum(&[(ratio, x), (1.0 - ratio, &d)])
            }
            _ => sum(&[(ratio, x), (1.0 - ratio, &denoised)]),
        };
        self.old_denoised = Some(denoised);
        Ok(x_to)
    }
}
