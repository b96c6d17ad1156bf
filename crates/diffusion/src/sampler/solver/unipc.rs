use std::collections::VecDeque;

use super::{Model, Solver, current, sum};
use crate::{Denoiser, NoiseLevel, NoiseSource};

/// UniPC's order in A1111.
const ORDER: usize = 3;

/// UniPC (Zhao et al. 2023, "UniPC: A Unified Predictor-Corrector Framework", algorithms 5 and 6): predicts the sample with
/// the denoised samples so far, denoises it, and corrects it with that one too. In its `B₁(h)` form, with the order of a
/// step as high as there are samples, and lower again at the end; the last step is not corrected.
///
/// The paper's h is −h here, as it predicts the data; its `D_m / r_m` are differences to the denoised sample at `from`.
pub(super) struct UniPc {
    steps: usize,
    /// Denoised samples and the λ = −ln σ they belong to, the latest first.
    denoised: VecDeque<(Vec<f32>, f64)>,
}

impl UniPc {
    pub(super) fn new(steps: usize) -> Self {
        Self { steps, denoised: VecDeque::new() }
    }
}

impl<D: Denoiser, N: NoiseSource> Solver<D, N> for UniPc {
    fn step(
        &mut self,
        model: &mut Model<D, N>,
        x: &[f32],
        past: &[NoiseLevel],
        to: NoiseLevel,
    ) -> Result<Vec<f32>, D::Error> {
        let from = current(past);
        let (lambda, lambda_to) = (-from.sigma.ln(), -to.sigma.ln());
        let h = lambda_to - lambda;
        if h == 0.0 {
            return Ok(x.to_vec());
        }
        if self.denoised.is_empty() {
            self.denoised.push_front((model.denoise(x, from)?, lambda));
        }
        let left = (self.steps + 1).saturating_sub(past.len());
        let order = ORDER.min(self.denoised.len()).min(left).max(1);
        let mut past = self.denoised.iter().take(order);
        let Some((now, _)) = past.next() else { return Ok(x.to_vec()) };
        let (before, mut r): (Vec<&[f32]>, Vec<f64>) =
            past.map(|(old, at)| (old.as_slice(), (at - lambda) / h)).unzip();

        // B(h) times the weights of the differences, of which that of the sample itself is taken away.
        let to_sample = |weights: &[f64], others: &[&[f32]]| {
            let gone = -(-h).exp_m1(); // 1 − exp(−h)
            let mut terms = vec![(1.0 - gone, x), (gone - weights.iter().sum::<f64>(), now.as_slice())];
            terms.extend(weights.iter().copied().zip(others.iter().copied()));
            sum(&terms)
        };
        let predicted = match order {
            1 => to_sample(&[], &[]),
            // At order 2 the paper's a₁ is 1/2, whatever h.
            2 => to_sample(&r.iter().map(|r| 0.5 * h / r).collect::<Vec<_>>(), &before),
            _ => to_sample(&weights(&r, h), &before),
        };
        if left <= 1 || to.sigma == 0.0 {
            return Ok(predicted);
        }
        let denoised = model.denoise(&predicted, to)?;
        r.push(1.0);
        let others: Vec<&[f32]> = before.into_iter().chain([denoised.as_slice()]).collect();
        let corrected = if order == 1 { to_sample(&[0.5 * h], &others) } else { to_sample(&weights(&r, h), &others) };
        self.denoised.push_front((denoised, lambda_to));
        self.denoised.truncate(ORDER);
        Ok(corrected)
    }
}

/// What to weigh the differences at the shares `r` of a step with, so that polynomials of λ without a constant term are
/// integrated exactly (Zhao et al. 2023, eq. 5): `Σ w_m r_m^k = h ∫ e^(−h (1 − s)) s^k ds` over 0..1, for `k` from 1 to
/// the number of shares.
fn weights(r: &[f64], h: f64) -> Vec<f64> {
    let mut moments = Vec::with_capacity(r.len());
    // The integral for k = 0, and by parts for those above.
    let mut moment = -(-h).exp_m1();
    for k in 1..=r.len() {
        moment = 1.0 - k as f64 * moment / h;
        moments.push(moment);
    }
    let weight = |j: usize, own: f64| {
        // The polynomial s Π (s − r_m) / (own (own − r_m)): 1 at `own`, 0 at the others and at 0.
        let others = r.iter().enumerate().filter(|&(m, _)| m != j);
        let polynomial = others.fold(vec![1.0 / own], |coefficients, (_, other)| {
            let mut product = vec![0.0; coefficients.len() + 1];
            for (k, c) in coefficients.into_iter().enumerate() {
                let c = c / (own - other);
                product.iter_mut().skip(k).zip([-c * other, c]).for_each(|(slot, add)| *slot += add);
            }
            product
        });
        polynomial.iter().zip(&moments).map(|(c, moment)| c * moment).sum()
    };
    r.iter().enumerate().map(|(j, &own)| weight(j, own)).collect()
}
