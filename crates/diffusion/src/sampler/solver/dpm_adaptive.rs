use std::collections::VecDeque;

use super::super::Sampler;
use super::Context;
use super::dpm_fast::down_and_up;
use super::singlestep::{THIRDS, between, first, second, third, third_middle};
use crate::latents::weighted_sum;
use crate::{Error, Latents, NoiseLevel};

/// Errors below these are none: absolute, and relative to the sample (Lu et al. 2022, appendix C).
const ATOL: f64 = 0.0078;
const RTOL: f64 = 0.05;
/// The first step in λ.
const H_INIT: f64 = 0.05;
/// A step is kept when the next may be at least this times as long.
const ACCEPT_SAFETY: f64 = 0.81;
/// Steps this short are kept whatever their error, so that every run ends.
const H_MIN: f64 = 1e-3;

/// DPM-Solver-23 (Lu et al. 2022, "DPM-Solver", section 3.4 and appendix C; k-diffusion `dpm_solver_adaptive`): a step of
/// order 3 in λ = −ln σ, held to the one of order 2 in it; their distance decides whether it is kept, and how long the next
/// is. With ancestral noise, never from below the last sigma.
///
/// Each picture has its own step size, and so its own level, in any batch: where k-diffusion takes the norm of the error
/// over the batch, ours is of one picture. All that are under way take their trial steps together.
pub(in super::super) struct Adaptive {
    eta: f64,
    s_noise: f64,
    ends: [f64; 2],
    pictures: Vec<Picture>,
    /// Draws of noise that not every picture has used; `drawn` were dropped before them.
    noises: VecDeque<Latents>,
    drawn: usize,
    begun: bool,
}

/// How far one picture is.
#[derive(Clone)]
struct Picture {
    sigma: f64,
    /// The length of the next step in λ.
    h: f64,
    /// The low-order result of the last step that was kept.
    x_prev: Vec<f32>,
    /// Steps kept.
    kept: usize,
}

impl Picture {
    /// λ that is left.
    fn left(&self, end: f64) -> f64 {
        (self.sigma / end).ln()
    }

    fn under_way(&self, end: f64) -> bool {
        self.left(end) > 1e-5
    }
}

/// A trial step of one picture.
#[derive(Clone, Copy)]
struct Trial {
    from: f64,
    to: f64,
    down: f64,
    up: f64,
}

impl Adaptive {
    pub(in super::super) fn new(sampler: &Sampler, x: &Latents) -> Self {
        let options = &sampler.options;
        let ends = [sampler.noised.sigma, sampler.levels.last().map_or(0.0, |level| level.sigma)];
        let picture = |x: &[f32]| Picture { sigma: ends[0], h: H_INIT, x_prev: x.to_vec(), kept: 0 };
        Self {
            eta: options.eta.unwrap_or(0.0),
            s_noise: options.settings.s_noise,
            ends,
            pictures: x.images().map(picture).collect(),
            noises: VecDeque::new(),
            drawn: 0,
            begun: false,
        }
    }

    /// A trial step of every picture that is under way: the highest sigma then, and how many more such steps there are
    /// about. None when all are at the end.
    pub(in super::super) fn step<E: From<Error>>(
        &mut self,
        x: &mut Latents,
        ctx: &mut Context<'_, E>,
    ) -> Result<Option<(f64, usize)>, E> {
        let end = self.ends[1];
        let begun = std::mem::replace(&mut self.begun, true);
        if !self.pictures.iter().any(|picture| picture.under_way(end)) {
            // A run that starts at its end still gives its sample.
            return Ok((!begun).then_some((end, 0)));
        }
        let trials: Vec<Trial> = self.pictures.iter().map(|picture| self.trial(picture)).collect();
        let [low, high] = self.try_steps(x, &trials, ctx)?;

        let mut kept = Vec::new();
        let results = low.images().zip(high.images());
        for (index, ((picture, trial), (low, high))) in self.pictures.iter_mut().zip(&trials).zip(results).enumerate() {
            if !picture.under_way(end) {
                continue;
            }
            let error = error(low, high, &picture.x_prev);
            let order = if self.eta > 0.0 { 1.5 } else { 3.0 };
            let factor = 1.0 + ((1.0 / (error + 1e-8)).powf(1.0 / order) - 1.0).atan();
            if factor >= ACCEPT_SAFETY || picture.h <= H_MIN || !error.is_finite() {
                picture.x_prev = low.to_vec();
                picture.sigma = trial.to;
                picture.kept += 1;
                kept.push((index, picture.kept - 1, trial.up));
            }
            // What is not finite is not made better by shorter steps.
            picture.h = if error.is_finite() { (picture.h * factor).max(H_MIN) } else { f64::INFINITY };
        }
        for (index, draw, up) in kept {
            self.keep(x, &high, [index, draw], up, ctx)?;
        }
        let first = self.pictures.iter().map(|picture| picture.kept).min().unwrap_or(0);
        while self.drawn < first && self.noises.pop_front().is_some() {
            self.drawn += 1;
        }
        let sigma = self.pictures.iter().map(|picture| picture.sigma).fold(end, f64::max);
        let ahead = self.pictures.iter().filter(|picture| picture.under_way(end));
        let steps = ahead.map(|picture| (picture.left(end) / picture.h).ceil().max(1.0) as usize);
        Ok(Some((sigma, steps.max().unwrap_or(0))))
    }

    /// The next step of a picture; one that is at the end stays there.
    fn trial(&self, picture: &Picture) -> Trial {
        let (from, end) = (picture.sigma, self.ends[1]);
        let to = (from * (-picture.h).exp()).max(end);
        let (down, up) = down_and_up(from, to, self.eta, end);
        Trial { from, to, down, up }
    }

    /// The results of order 2 and 3 of a step of every picture: three calls of the model.
    fn try_steps<E: From<Error>>(
        &self,
        x: &Latents,
        trials: &[Trial],
        ctx: &mut Context<'_, E>,
    ) -> Result<[Latents; 2], E> {
        let [r1, _] = THIRDS;
        let at = |share: f64| trials.iter().map(|t| between(t.from, t.down, share)).collect::<Vec<_>>();
        let [from, s1, s2] = [0.0, THIRDS[0], THIRDS[1]].map(at);
        let down = |i: usize| trials[i].down;

        let eps = self.eps(x, &from, ctx)?;
        let u1 = self.each([x, &eps], |i| first(from[i], s1[i]))?;
        let eps_1 = self.eps(&u1, &s1, ctx)?;
        let u2 = self.each([x, &eps, &eps_1], |i| third_middle(from[i], s2[i]))?;
        let eps_2 = self.eps(&u2, &s2, ctx)?;
        let low = self.each([x, &eps, &eps_1], |i| second(from[i], down(i), r1))?;
        Ok([low, self.each([x, &eps, &eps_2], |i| third(from[i], down(i)))?])
    }

    /// The predicted noise of pictures at sigmas of their own.
    fn eps<E: From<Error>>(&self, x: &Latents, sigmas: &[f64], ctx: &mut Context<'_, E>) -> Result<Latents, E> {
        let levels: Vec<NoiseLevel> = sigmas.iter().map(|&sigma| ctx.level(sigma)).collect();
        let denoised = ctx.denoise_each(x, &levels)?;
        Ok(self.each([x, &denoised], |i| [1.0 / sigmas[i], -1.0 / sigmas[i]])?)
    }

    /// Each picture's part of some latents, weighed.
    fn each<const K: usize>(
        &self,
        latents: [&Latents; K],
        weights: impl Fn(usize) -> [f64; K],
    ) -> Result<Latents, Error> {
        let part = |i: usize| {
            let parts = latents.map(|latents| latents.images().nth(i).unwrap_or_default());
            weighted_sum(weights(i).into_iter().zip(parts))
        };
        Latents::new(latents[0].shape(), (0..self.pictures.len()).flat_map(part).collect())
    }

    /// Takes over the step of one picture and adds noise: its `draw`th, so that it is the same in any batch.
    fn keep<E: From<Error>>(
        &mut self,
        x: &mut Latents,
        high: &Latents,
        [index, draw]: [usize; 2],
        up: f64,
        ctx: &mut Context<'_, E>,
    ) -> Result<(), E> {
        let Some(high) = high.images().nth(index) else { return Ok(()) };
        let mut next = high.to_vec();
        if self.eta > 0.0 {
            while self.drawn + self.noises.len() <= draw {
                self.noises.push_back(ctx.noise()?);
            }
            let noise = self.noises.get(draw - self.drawn).and_then(|noise| noise.images().nth(index));
            next = weighted_sum([(1.0, high), (self.s_noise * up, noise.unwrap_or_default())]);
        }
        let size = next.len();
        if let Some(part) = x.data_mut().chunks_exact_mut(size.max(1)).nth(index) {
            part.copy_from_slice(&next);
        }
        Ok(())
    }
}

/// The root mean square of what two results differ by, in units of what they may.
fn error(low: &[f32], high: &[f32], x_prev: &[f32]) -> f64 {
    let square = |((&low, &high), &x_prev): ((&f32, &f32), &f32)| {
        let most = ATOL.max(RTOL * f64::from(low.abs().max(x_prev.abs())));
        (f64::from(low - high) / most).powi(2)
    };
    let total: f64 = low.iter().zip(high).zip(x_prev).map(square).sum();
    (total / low.len().max(1) as f64).sqrt()
}
