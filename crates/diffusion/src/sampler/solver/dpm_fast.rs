use super::super::Sampler;
use super::noise::ancestral;
use super::singlestep::{THIRDS, between, first, second, third, third_middle};
use super::{Context, Levels, Solver};
use crate::{Error, Latents};

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
        let end = sampler.levels.last().map_or(0.0, |level| level.sigma);
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

impl<E: From<Error>> Solver<E> for DpmFast {
    fn step(&mut self, x: &Latents, levels: Levels, ctx: &mut Context<'_, E>) -> Result<Latents, E> {
        let Levels { from, to, .. } = levels;
        let order = self.order(levels.index);
        let (down, up) = down_and_up(from.sigma, to.sigma, self.eta, self.end);
        let [r1, r2] = if order == 2 { [0.5, 1.0] } else { THIRDS };
        let [s1, s2] = [r1, r2].map(|r| ctx.level(between(from.sigma, down, r)));

        let eps = ctx.derivative(x, from)?;
        let first = |to: f64| Latents::sum(first(from.sigma, to).into_iter().zip([x, &eps]));
        let higher = |weights: [f64; 3], eps_n: &Latents| Latents::sum(weights.into_iter().zip([x, &eps, eps_n]));
        let x_down = if order == 1 {
            first(down)
        } else {
            let eps_1 = ctx.derivative(&first(s1.sigma), s1)?;
            if order == 2 {
                higher(second(from.sigma, down, r1), &eps_1)
            } else {
                let eps_2 = ctx.derivative(&higher(third_middle(from.sigma, s2.sigma), &eps_1), s2)?;
                higher(third(from.sigma, down), &eps_2)
            }
        };
        if self.eta == 0.0 {
            return Ok(x_down);
        }
        let noise = ctx.noise()?;
        Ok(Latents::sum([(1.0, &x_down), (self.s_noise * up, &noise)]))
    }
}

/// [`ancestral`], but down to `end` at most.
pub(super) fn down_and_up(from: f64, to: f64, eta: f64, end: f64) -> (f64, f64) {
    let down = ancestral(from, to, eta).0.max(end.min(to));
    (down, (to.powi(2) - down.powi(2)).max(0.0).sqrt())
}
