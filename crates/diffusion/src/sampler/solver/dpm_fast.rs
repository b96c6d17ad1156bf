use super::super::Sampler;
use super::noise::ancestral;
use super::singlestep::{THIRDS, between, first, second, third, third_middle};
use super::{Model, Solver, current, derivative, sum};
use crate::{Denoiser, NoiseLevel, NoiseSource};

/// DPM-Solver-fast (Lu et al. 2022, "DPM-Solver", section 3.4): steps of third order, and at the end what is left of the
/// calls of the model. Ancestral noise as in k-diffusion (`dpm_solver_fast`), never from below the last sigma.
pub(super) struct DpmFast {
    eta: f64,
    s_noise: f64,
    calls: usize,
    /// The last sigma.
    end: f64,
}

impl DpmFast {
    pub(super) fn new(eta: f64, s_noise: f64, sampler: &Sampler) -> Self {
        let end = current(&sampler.levels).sigma;
        Self { eta, s_noise, calls: sampler.options.steps, end }
    }

    /// How often step `index` calls the model: thrice, but 2 and 1 times in the last two steps or as often as is left.
    fn order(&self, index: usize) -> usize {
        match (self.calls.saturating_sub(3 * index), self.calls % 3) {
            (3, 0) => 2,
            (0, 0) => 1,
            (left, _) => left.min(3),
        }
    }
}

impl<D: Denoiser, N: NoiseSource> Solver<D, N> for DpmFast {
    fn step(
        &mut self,
        model: &mut Model<D, N>,
        x: &[f32],
        past: &[NoiseLevel],
        to: NoiseLevel,
    ) -> Result<Vec<f32>, D::Error> {
        let (from, order) = (current(past), self.order(past.len() - 1));
        let (down, up) = down_and_up(from.sigma, to.sigma, self.eta, self.end);
        let [r1, r2] = if order == 2 { [0.5, 1.0] } else { THIRDS };
        let [s1, s2] = [r1, r2].map(|r| model.level(between(from.sigma, down, r)));

        let denoised = model.denoise(x, from)?;
        let eps = derivative(x, &denoised, from.sigma);
        let x_down = if order == 1 {
            first(x, &eps, from.sigma, down)
        } else {
            let u1 = first(x, &eps, from.sigma, s1.sigma);
            let eps_1 = derivative(&u1, &model.denoise(&u1, s1)?, s1.sigma);
            if order == 2 {
                second(x, &eps, &eps_1, [from.sigma, down], r1)
            } else {
                let u2 = third_middle(x, &eps, &eps_1, from.sigma, s2.sigma);
                let eps_2 = derivative(&u2, &model.denoise(&u2, s2)?, s2.sigma);
                third(x, &eps, &eps_2, from.sigma, down)
            }
        };
        if self.eta == 0.0 {
            return Ok(x_down);
        }
        let noise = model.noise()?;
        Ok(sum(&[(1.0, &x_down), (self.s_noise * up, &noise)]))
    }
}

/// [`ancestral`], but down to `end` at most.
pub(super) fn down_and_up(from: f64, to: f64, eta: f64, end: f64) -> (f64, f64) {
    let down = ancestral(from, to, eta).0.max(end.min(to));
    (down, (to.powi(2) - down.powi(2)).max(0.0).sqrt())
}
