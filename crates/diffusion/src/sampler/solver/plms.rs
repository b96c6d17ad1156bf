use std::collections::VecDeque;

use super::super::timesteps::whole;
use super::ddim::{Jumps, taken_for};
use super::{Context, Levels, Solver};
use crate::{Error, Latents, NoiseLevel};

/// Pseudo linear multistep (Liu et al. 2022, eqs. 9 and 12) without the Runge–Kutta start, as CompVis and diffusers
/// (`skip_prk_steps`) run it: the first step is Heun's, then Adams–Bashforth of order 2, 3 and 4.
///
/// Its transfer (eq. 9) in variance-exploding form is `x + (σ_to − σ) ε`. With v-prediction each prediction is turned
/// into ε before it is remembered, as the paper's method is one for ε; diffusers combines v.
pub(super) struct Plms {
    /// Predicted noise, the latest first.
    eps: VecDeque<Latents>,
    /// To the letter as CompVis' code: it draws noise for every transfer, only to multiply it by 0, and a run of one step
    /// calls the model at the same timestep again.
    compvis: bool,
    of_diffusers: Option<OfDiffusers>,
}

/// What diffusers' `PNDMScheduler` does where its config has settings.
#[derive(Debug, Clone, Copy)]
pub(super) struct OfDiffusers {
    pub(super) jumps: Jumps,
    /// Whether the first three steps are Runge–Kutta's of order 4 (the paper's eq. 13).
    pub(super) runge_kutta: bool,
}

impl Plms {
    pub(super) fn new(compvis: bool, of_diffusers: Option<OfDiffusers>) -> Self {
        Self { eps: VecDeque::new(), compvis, of_diffusers }
    }

    /// The latest prediction, with those before it, as one to go on with.
    fn combined(&mut self) -> Latents {
        match self.eps.make_contiguous() {
            [] => Latents::sum([]),
            [e] => e.clone(),
            [e, e1] => Latents::sum([(3.0 / 2.0, &*e), (-1.0 / 2.0, &*e1)]),
            [e, e1, e2] => Latents::sum([(23.0 / 12.0, &*e), (-16.0 / 12.0, &*e1), (5.0 / 12.0, &*e2)]),
            [e, e1, e2, e3, ..] => {
                Latents::sum([(55.0 / 24.0, &*e), (-59.0 / 24.0, &*e1), (37.0 / 24.0, &*e2), (-9.0 / 24.0, &*e3)])
            }
        }
    }

    /// A step as diffusers goes: see [`Jumps`].
    fn step_of_diffusers<E: From<Error>>(
        &mut self,
        x: &Latents,
        levels: Levels,
        OfDiffusers { jumps, runge_kutta }: OfDiffusers,
        ctx: &mut Context<'_, E>,
    ) -> Result<Latents, E> {
        let Levels { from, to, .. } = levels;
        if runge_kutta && levels.index < RUNGE_KUTTA_STEPS {
            return self.runge_kutta(x, [from, to], jumps, ctx);
        }
        self.eps.push_front(ctx.derivative(x, from)?);
        self.eps.truncate(4);
        let target = jumps.target(from, ctx);
        if self.eps.len() > 1 || levels.left == 0 {
            let x = transfer(x, [from, target], &self.combined());
            return Ok(taken_for(x, target, to));
        }
        // Heun's step, to the second timestep of the run.
        let e = self.combined();
        let x_next = taken_for(transfer(x, [from, target], &e), target, to);
        let mean = Latents::sum([(0.5, &e), (0.5, &ctx.derivative(&x_next, to)?)]);
        let before = whole(ctx.noise_schedule(), to.timestep as usize + jumps.ratio);
        Ok(transfer(&taken_for(x.clone(), from, before), [before, to], &mean))
    }

    /// One of the first steps, which calls the model four times.
    fn runge_kutta<E: From<Error>>(
        &mut self,
        x: &Latents,
        [from, to]: [NoiseLevel; 2],
        jumps: Jumps,
        ctx: &mut Context<'_, E>,
    ) -> Result<Latents, E> {
        let half = jumps.ratio / 2;
        let middle = whole(ctx.noise_schedule(), to.timestep as usize + half);
        let first = whole(ctx.noise_schedule(), (from.timestep as usize).saturating_sub(half));
        let e1 = ctx.derivative(x, from)?;
        let e2 = ctx.derivative(&taken_for(transfer(x, [from, first], &e1), first, middle), middle)?;
        let e3 = ctx.derivative(&transfer(x, [from, middle], &e2), middle)?;
        let e4 = ctx.derivative(&transfer(x, [from, to], &e3), to)?;
        let sixth = 1.0 / 6.0;
        let mean = Latents::sum([(sixth, &e1), (2.0 * sixth, &e2), (2.0 * sixth, &e3), (sixth, &e4)]);
        self.eps.push_front(e1);
        Ok(transfer(x, [from, to], &mean))
    }
}

/// Steps of the Runge–Kutta start.
const RUNGE_KUTTA_STEPS: usize = 3;

/// The paper's eq. 9.
fn transfer(x: &Latents, [from, to]: [NoiseLevel; 2], eps: &Latents) -> Latents {
    Latents::sum([(1.0, x), (to.sigma - from.sigma, eps)])
}

impl<E: From<Error>> Solver<E> for Plms {
    fn step(&mut self, x: &Latents, levels: Levels, ctx: &mut Context<'_, E>) -> Result<Latents, E> {
        if let Some(of_diffusers) = self.of_diffusers {
            return self.step_of_diffusers(x, levels, of_diffusers, ctx);
        }
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
