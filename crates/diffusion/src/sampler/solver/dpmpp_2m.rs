use super::{Context, Levels, Solver};
use crate::{Error, Latents};

/// DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), midpoint form, in λ = −ln σ: the denoised sample is extrapolated to
/// the middle of the step from this one and the one before. The first step, and the one down to σ = 0 (λ = ∞), are of
/// first order.
#[derive(Default)]
pub(super) struct Dpmpp2m {
    old_denoised: Option<Latents>,
    /// Whether a last step that does not go down to σ = 0 is of first order too.
    lower_order_final: bool,
}

impl Dpmpp2m {
    pub(super) fn new(lower_order_final: bool) -> Self {
        Self { old_denoised: None, lower_order_final }
    }
}

impl<E: From<Error>> Solver<E> for Dpmpp2m {
    fn step(&mut self, x: &Latents, levels: Levels, ctx: &mut Context<'_, E>) -> Result<Latents, E> {
        let Levels { from, to, .. } = levels;
        let denoised = ctx.denoise(x, from)?;
        let ratio = to.sigma / from.sigma; // σ_t / σ_s = exp(−h)
        let h = -ratio.ln();

        let lower_order = to.sigma == 0.0 || (self.lower_order_final && to.timestep == 0.0);
        let x_to = match (&self.old_denoised, levels.before) {
            // Two levels can be one where there are nearly as many steps as timesteps: nothing to extrapolate from.
            (Some(old_denoised), Some(before)) if !lower_order && before.sigma > from.sigma => {
                let r = (before.sigma / from.sigma).ln() / h;
                let d = Latents::sum([(1.0 + 0.5 / r, &denoised), (-0.5 / r, old_denoised)]);
                Latents::sum([(ratio, x), (1.0 - ratio, &d)])
            }
            _ => Latents::sum([(ratio, x), (1.0 - ratio, &denoised)]),
        };
        self.old_denoised = Some(denoised);
        Ok(x_to)
    }
}
