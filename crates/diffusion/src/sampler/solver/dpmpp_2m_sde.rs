use super::noise::of_sde;
use super::{Model, Solver, current, sum};
use crate::{Denoiser, NoiseLevel, NoiseSource};

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
    last: Option<(Vec<f32>, f64)>,
}

impl Dpmpp2mSde {
    pub(super) fn new(eta: f64, s_noise: f64, form: Form) -> Self {
        Self { eta, s_noise, form, last: None }
    }
}

impl<D: Denoiser, N: NoiseSource> Solver<D, N> for Dpmpp2mSde {
    fn step(
        &mut self,
        model: &mut Model<D, N>,
        x: &[f32],
        past: &[NoiseLevel],
        to: NoiseLevel,
    ) -> Result<Vec<f32>, D::Error> {
        let from = current(past);
        let h = (from.sigma / to.sigma).ln();
        if h == 0.0 {
            return Ok(x.to_vec());
        }
        let denoised = model.denoise(x, from)?;
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
            terms.extend([(weight / r, denoised.as_slice()), (-weight / r, old_denoised)]);
        }
        let (sigma, noise) = of_sde(model, [from.sigma, to.sigma], self.eta)?;
        terms.push((self.s_noise * sigma, &noise));
        let x_to = sum(&terms);
        self.last = Some((denoised, h));
        Ok(x_to)
    }
}
