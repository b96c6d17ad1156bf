use std::collections::VecDeque;

use super::{Context, Levels, Solver};
use crate::{Error, Latents, NoiseLevel};

/// Pseudo linear multistep (Liu et al. 2022, eqs. 9 and 12) without the Runge–Kutta start, as CompVis and diffusers
/// (`skip_prk_steps`) run it: the first step is Heun's, then Adams–Bashforth of order 2, 3 and 4.
///
/// Its transfer (eq. 9) in variance-exploding form is `x + (σ_to − σ) ε`. With v-prediction each prediction is turned
/// into ε before it is remembered; diffusers remembers v.
pub(super) struct Plms {
    /// Predicted noise, the latest first.
    eps: VecDeque<Latents>,
    /// To the letter as CompVis' code: it draws noise for every transfer, only to multiply it by 0, and a run of one step
    /// calls the model at the same timestep again.
    compvis: bool,
}

impl Plms {
    pub(super) fn new(compvis: bool) -> Self {
        Self { eps: VecDeque::new(), compvis }
    }
}

impl<E: From<Error>> Solver<E> for Plms {
    fn step(&mut self, x: &Latents, levels: Levels, ctx: &mut Context<'_, E>) -> Result<Latents, E> {
        let Levels { from, to, .. } = levels;
        let dt = to.sigma - from.sigma;

        self.eps.push_front(ctx.derivative(x, from)?);
        self.eps.truncate(4);
        if self.compvis {
            let transfers = if self.eps.len() == 1 { 2 } else { 1 };
            for _ in 0..transfers {
                ctx.noise()?;
            }
        }
        match self.eps.make_contiguous() {
            // Timestep 0 is no level of the run: a run of one step is Euler's.
            [e] if to.timestep == 0.0 && !self.compvis => Ok(Latents::sum([(1.0, x), (dt, e)])),
            [e] => {
                let x_next = Latents::sum([(1.0, x), (dt, e)]);
                let timestep = if to.timestep == 0.0 { from.timestep } else { to.timestep };
                let e_next = ctx.derivative(&x_next, NoiseLevel { timestep, ..to })?;
                Ok(Latents::sum([(1.0, x), (dt / 2.0, e), (dt / 2.0, &e_next)]))
            }
            [e, e1] => Ok(Latents::sum([(1.0, x), (dt * 3.0 / 2.0, e), (-dt / 2.0, e1)])),
            [e, e1, e2] => {
                Ok(Latents::sum([(1.0, x), (dt * 23.0 / 12.0, e), (-dt * 16.0 / 12.0, e1), (dt * 5.0 / 12.0, e2)]))
            }
            [e, e1, e2, e3, ..] => Ok(Latents::sum([
                (1.0, x),
                (dt * 55.0 / 24.0, e),
                (-dt * 59.0 / 24.0, e1),
                (dt * 37.0 / 24.0, e2),
                (-dt * 9.0 / 24.0, e3),
            ])),
            [] => Ok(x.clone()),
        }
    }
}
