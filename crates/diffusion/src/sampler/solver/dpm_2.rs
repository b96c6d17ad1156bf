use super::noise::{Churn, ancestral};
use super::{Context, Levels, Solver};
use crate::{Error, Latents};

/// DPM-Solver-2 (Lu et al. 2022, "DPM-Solver", algorithm 1) as a method for `dx/dσ` (k-diffusion `sample_dpm_2`): the
/// slope in the middle of the step, in λ, is taken for the whole of it. With the churn of Karras et al. 2022, or with
/// ancestral noise (`sample_dpm_2_ancestral`). A step down to 0, which has no middle in λ, is Euler's.
pub(super) struct Dpm2 {
    pub(super) eta: f64,
    pub(super) s_noise: f64,
    pub(super) churn: Churn,
}

impl<E: From<Error>> Solver<E> for Dpm2 {
    fn step(&mut self, x: &Latents, levels: Levels, ctx: &mut Context<'_, E>) -> Result<Latents, E> {
        let (x, from) = self.churn.apply(x, levels.from, ctx)?;
        let (sigma_down, sigma_up) = ancestral(from.sigma, levels.to.sigma, self.eta);
        let dt = sigma_down - from.sigma;

        let d = ctx.derivative(&x, from)?;
        if sigma_down == 0.0 {
            return Ok(Latents::sum([(1.0, &*x), (dt, &d)]));
        }
        let middle = ctx.level((from.sigma * sigma_down).sqrt());
        let x_2 = Latents::sum([(1.0, &*x), (middle.sigma - from.sigma, &d)]);
        let d_2 = ctx.derivative(&x_2, middle)?;
        if self.eta == 0.0 {
            return Ok(Latents::sum([(1.0, &*x), (dt, &d_2)]));
        }
        let noise = ctx.noise()?;
        Ok(Latents::sum([(1.0, &*x), (dt, &d_2), (self.s_noise * sigma_up, &noise)]))
    }
}
