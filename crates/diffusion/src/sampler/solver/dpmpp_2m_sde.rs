use super::noise::of_sde;
use super::{Context, Levels, Solver};
use crate::{Error, Latents};

/// How the slope of the denoised sample enters.
pub(super) enum Form {
    /// As if the sample in the middle of the step were taken for the whole of it.
    Midpoint,
    /// Integrated along the step.
    Heun,
}

/// SDE-DPM-Solver++(2M) (Lu et al. 2022, "DPM-Solver++", section 5) in λ = −ln σ, with η as in k-diffusion
/// (`sample_dpmpp_2m_sde`): 1 is the paper's SDE, 0 is DPM-Solver++(2M). The step down to 0 goes to the denoised sample.
pub(super) struct Dpmpp2mSde {
    eta: f64,
    s_noise: f64,
    form: Form,
    /// The denoised sample of the last step, and how long that was.
    last: Option<(Latents, f64)>,
}

impl Dpmpp2mSde {
    pub(super) fn new(eta: f64, s_noise: f64, form: Form) -> Self {
        Self { eta, s_noise, form, last: None }
    }
}

impl<E: From<Error>> Solver<E> for Dpmpp2mSde {
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
        let mut terms = vec![(1.0 - gone, x), (gone, &denoised)];
        if let Some((old_denoised, h_last)) = &self.last {
            let weight = match self.form {
                Form::Midpoint => 0.5 * gone,
                Form::Heun => 1.0 - gone / h_eta,
            };
            let r = h_last / h;
            terms.extend([(weight / r, &denoised), (-weight / r, old_denoised)]);
        }
        let (sigma, noise) = of_sde(ctx, [from.sigma, to.sigma], self.eta)?;
        terms.extend(noise.as_ref().map(|noise| (self.s_noise * sigma, noise)));
        let x_to = Latents::sum(terms);
        self.last = Some((denoised, h));
        Ok(x_to)
    }
}
