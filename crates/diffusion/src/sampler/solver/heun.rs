use super::{Churn, Context, Levels, Solver};
use crate::{Error, Latents};

/// Heun's method (Karras et al. 2022, algorithm 2): an Euler step, then the same step again with the mean of the
/// slopes at both its ends. The last step, down to 0, where there is no slope, stays Euler's.
pub(super) struct Heun {
    pub(super) churn: Churn,
}

impl<E: From<Error>> Solver<E> for Heun {
    fn step(&mut self, x: &Latents, levels: Levels, ctx: &mut Context<'_, E>) -> Result<Latents, E> {
        let (x, from) = self.churn.apply(x, levels.from, ctx)?;
        let to = levels.to;
        let dt = to.sigma - from.sigma;

        let d = ctx.derivative(&x, from)?;
        let x_euler = Latents::sum([(1.0, &*x), (dt, &d)]);
        if to.sigma == 0.0 {
            return Ok(x_euler);
        }
        let d_next = ctx.derivative(&x_euler, to)?;
        Ok(Latents::sum([(1.0, &*x), (0.5 * dt, &d), (0.5 * dt, &d_next)]))
    }
}
