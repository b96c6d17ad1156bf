use std::collections::VecDeque;

use super::noise::of_sde;
use super::{Context, Levels, Solver};
use crate::{Error, Latents};

/// SDE-DPM-Solver++(3M) (k-diffusion `sample_dpmpp_3m_sde`): as SDE-DPM-Solver++(2M) in Heun's form, with the first two
/// derivatives of the denoised sample in λ = −ln σ, from it and the two before. The step down to 0 goes to it.
pub(super) struct Dpmpp3mSde {
    eta: f64,
    s_noise: f64,
    /// The denoised samples of the last two steps, and how long those were; the latest first.
    last: VecDeque<(Latents, f64)>,
}

impl Dpmpp3mSde {
    pub(super) fn new(eta: f64, s_noise: f64) -> Self {
        Self { eta, s_noise, last: VecDeque::new() }
    }
}

impl<E: From<Error>> Solver<E> for Dpmpp3mSde {
    fn step(&mut self, x: &Latents, levels: Levels, ctx: &mut Context<'_, E>) -> Result<Latents, E> {
        let Levels { from, to, .. } = levels;
        let h = (from.sigma / to.sigma).ln();
        if h == 0.0 {
            return Ok(x.clone());
        }
        let denoised = ctx.denoise(x, from)?;
        if to.sigma == 0.0 {
            return Ok(denoised);
        }
        let h_eta = (1.0 + self.eta) * h;
        let gone = -(-h_eta).exp_m1(); // 1 − exp(−(1 + η) h)
        let phi_2 = 1.0 - gone / h_eta;
        let phi_3 = phi_2 / h_eta - 0.5;
        let mut terms = vec![(1.0 - gone, x), (gone, &denoised)];
        // Divided differences in units of h. `d1` is the first derivative here, `d2` half the second.
        match self.last.make_contiguous() {
            [] => {}
            [(denoised_1, h_1)] => {
                let r = *h_1 / h;
                terms.extend([(phi_2 / r, &denoised), (-phi_2 / r, denoised_1)]);
            }
            [(denoised_1, h_1), (denoised_2, h_2), ..] => {
                let (r0, r1) = (*h_1 / h, *h_2 / h);
                // d1 = d1_0 + d2 r0 and d2 = (d1_0 − d1_1) / (r0 + r1), of which these are the weights.
                let d2 = phi_2 * r0 - phi_3;
                let d1_0 = (phi_2 + d2 / (r0 + r1)) / r0;
                let d1_1 = -d2 / (r0 + r1) / r1;
                terms.extend([(d1_0, &denoised), (d1_1 - d1_0, denoised_1), (-d1_1, denoised_2)]);
            }
        }
        let (sigma, noise) = of_sde(ctx, [from.sigma, to.sigma], self.eta)?;
        terms.extend(noise.as_ref().map(|noise| (self.s_noise * sigma, noise)));
        let x_to = Latents::sum(terms);
        self.last.push_front((denoised, h));
        self.last.truncate(2);
        Ok(x_to)
    }
}
