use std::collections::VecDeque;

use super::super::{SampleOptions, SamplerKind, SamplerSettings, SchedulerSettings, SolverType, UniPcVariant};
use super::{Context, Levels, Solver};
use crate::{Error, Latents, NoiseLevel};

/// UniPC (Zhao et al. 2023, "UniPC: A Unified Predictor-Corrector Framework", algorithms 5 and 6): predicts the sample with
/// the denoised samples so far, denoises it, and corrects it with that one too. The order of a step is as high as there are
/// samples, and lower again at the end; the last step is not corrected.
///
/// The paper's h is −h here, as it predicts the data; its `D_m / r_m` are differences to the denoised sample at `from`.
pub(super) struct UniPc {
    steps: usize,
    variant: UniPcVariant,
    order: usize,
    lower_order_final: bool,
    /// Whether a run with fewer steps than its order is of lower order at its end, as in diffusers.
    lowers_short_runs: bool,
    /// Denoised samples and the λ = −ln σ they belong to, the latest first.
    denoised: VecDeque<(Latents, f64)>,
}

impl UniPc {
    pub(super) fn new(steps: usize, settings: &SamplerSettings) -> Self {
        Self {
            steps,
            variant: settings.uni_pc_variant,
            order: settings.uni_pc_order,
            lower_order_final: settings.uni_pc_lower_order_final,
            lowers_short_runs: false,
            denoised: VecDeque::new(),
        }
    }

    /// As diffusers' `UniPCMultistepScheduler` has it.
    pub(super) fn of_diffusers(options: &SampleOptions, steps: usize) -> Self {
        let scheduler = options.scheduler.or(SchedulerSettings::defaults(SamplerKind::UniPc));
        let variant = match scheduler.solver_type {
            Some(SolverType::Bh1) => UniPcVariant::Bh1,
            _ => UniPcVariant::Bh2,
        };
        Self {
            steps,
            variant,
            order: scheduler.solver_order.unwrap_or(2),
            lower_order_final: scheduler.lower_order_final.unwrap_or(true),
            lowers_short_runs: true,
            denoised: VecDeque::new(),
        }
    }

    /// The order of step `step`, counted from 1.
    fn order_of(&self, step: usize, to: NoiseLevel) -> usize {
        let left = (self.steps + 1).saturating_sub(step);
        let most = if to.sigma == 0.0 {
            1 // λ has no end there to lay a polynomial to.
        } else if self.lower_order_final && (step >= self.order || self.lowers_short_runs) {
            left
        } else {
            self.order
        };
        self.order.min(self.denoised.len()).min(most).max(1)
    }
}

impl<E: From<Error>> Solver<E> for UniPc {
    fn step(&mut self, x: &Latents, levels: Levels, ctx: &mut Context<'_, E>) -> Result<Latents, E> {
        let Levels { from, to, .. } = levels;
        let (lambda, lambda_to) = (-from.sigma.ln(), -to.sigma.ln());
        let h = lambda_to - lambda;
        if h == 0.0 {
            return Ok(x.clone());
        }
        if self.denoised.is_empty() {
            self.denoised.push_front((ctx.denoise(x, from)?, lambda));
        }
        let step = levels.index + 1;
        let order = self.order_of(step, to);
        let mut past = self.denoised.iter().take(order);
        let Some((now, _)) = past.next() else { return Ok(x.clone()) };
        let (before, mut r): (Vec<&Latents>, Vec<f64>) = past.map(|(old, at)| (old, (at - lambda) / h)).unzip();

        // B(h) times the weights of the differences, of which that of the sample itself is taken away.
        let to_sample = |weights: &[f64], others: &[&Latents]| {
            let gone = -(-h).exp_m1(); // 1 − exp(−h)
            let mut terms = vec![(1.0 - gone, x), (gone - weights.iter().sum::<f64>(), now)];
            terms.extend(weights.iter().copied().zip(others.iter().copied()));
            Latents::sum(terms)
        };
        // B(h) of the shortened formulas, in which the paper's a₁ is 1/2, whatever h.
        let shortened = match self.variant {
            UniPcVariant::Bh1 => Some(h),
            UniPcVariant::Bh2 => Some(-(-h).exp_m1()),
            UniPcVariant::VaryCoeff => None,
        };
        let predicted = match (order, shortened) {
            (1, _) => to_sample(&[], &[]),
            (2, Some(b)) => to_sample(&r.iter().map(|r| 0.5 * b / r).collect::<Vec<_>>(), &before),
            _ => to_sample(&weights(&r, h), &before),
        };
        if step >= self.steps || to.sigma == 0.0 {
            return Ok(predicted);
        }
        let denoised = ctx.denoise(&predicted, to)?;
        r.push(1.0);
        let others: Vec<&Latents> = before.into_iter().chain([&denoised]).collect();
        let corrected = match (order, shortened) {
            (1, Some(b)) => to_sample(&[0.5 * b], &others),
            (2.., None) => to_sample(&varying_weights(&r, h), &others),
            _ => to_sample(&weights(&r, h), &others),
        };
        self.denoised.push_front((denoised, lambda_to));
        self.denoised.truncate(self.order);
        Ok(corrected)
    }
}

/// What to weigh the differences at the shares `r` of a step with, so that polynomials of λ without a constant term are
/// integrated exactly (Zhao et al. 2023, eq. 5): `Σ w_m r_m^k = h ∫ e^(−h (1 − s)) s^k ds` over 0..1, for `k` from 1 to
/// the number of shares.
fn weights(r: &[f64], h: f64) -> Vec<f64> {
    let moments = moments(r.len(), h);
    (0..r.len()).map(|j| polynomial(r, j).iter().zip(&moments).map(|(c, moment)| c * moment).sum()).collect()
}

/// Those of the corrector of [`UniPcVariant::VaryCoeff`] above order 1, as the authors' code computes them: without the highest
/// power of λ, and for the sample at the end of the step by the last moment and the last coefficient but one alone.
fn varying_weights(r: &[f64], h: f64) -> Vec<f64> {
    let (moments, last) = (moments(r.len(), h), r.len() - 1);
    let weight = |j: usize| {
        let polynomial = polynomial(r, j);
        let known = polynomial.iter().zip(&moments).take(last);
        match (polynomial.get(last - 1), moments.get(last)) {
            (Some(c), Some(moment)) if j == last => c * moment / r.len() as f64,
            _ => known.map(|(c, moment)| c * moment).sum(),
        }
    };
    (0..r.len()).map(weight).collect()
}

/// `h ∫ e^(−h (1 − s)) s^k ds` over 0..1 for `k` from 1 to `count`.
fn moments(count: usize, h: f64) -> Vec<f64> {
    let of = |k: usize| {
        if h.abs() < 2.0 {
            // The exponential's series, term by term: `h Σ (−h)^j k! / (k + j + 1)!`. By parts, digits would be lost here.
            let mut term = h / (k + 1) as f64;
            let mut sum = term;
            for j in k + 2..k + 40 {
                term *= -h / j as f64;
                sum += term;
            }
            return sum;
        }
        (1..=k).fold(-(-h).exp_m1(), |moment, k| 1.0 - k as f64 * moment / h)
    };
    (1..=count).map(of).collect()
}

/// The coefficients of `Π (s − r_m) / (r_j (r_j − r_m))`, the constant first: times s, it is 1 at share `j`, and 0 at the others
/// and at 0.
fn polynomial(r: &[f64], j: usize) -> Vec<f64> {
    let own = r.get(j).copied().unwrap_or(f64::NAN);
    let others = r.iter().enumerate().filter(|&(m, _)| m != j);
    others.fold(vec![1.0 / own], |coefficients, (_, other)| {
        let mut product = vec![0.0; coefficients.len() + 1];
        for (k, c) in coefficients.into_iter().enumerate() {
            let c = c / (own - other);
            product.iter_mut().skip(k).zip([-c * other, c]).for_each(|(slot, add)| *slot += add);
        }
        product
    })
}
