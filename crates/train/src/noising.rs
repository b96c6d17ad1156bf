//! What a UNet is trained on: noisy latents, their timesteps, and what to find.

use calotype_diffusion::{Generator, NoiseSchedule};

use crate::{DiffusionLossConfig, LossWeighting, Prediction, Result, TimestepSampling};

/// A batch for the UNet; every buffer but `timesteps` is `(B, h, w, c)`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Noised {
    /// `√ᾱ x0 + √(1 − ᾱ) ε` (Ho et al. 2020, eq. 4).
    pub(crate) noisy: Vec<f32>,
    /// What is to be predicted: ε, or `√ᾱ ε − √(1 − ᾱ) x0`.
    pub(crate) target: Vec<f32>,
    /// t, one a picture.
    pub(crate) timesteps: Vec<f32>,
    /// The weight of each value's squared error; empty when all are 1.
    pub(crate) weights: Vec<f32>,
}

/// How latents become what a UNet is trained on.
#[derive(Clone, Debug)]
pub(crate) struct Noising {
    pub(crate) schedule: NoiseSchedule,
    pub(crate) prediction: Prediction,
    pub(crate) weighting: LossWeighting,
}

impl Noising {
    /// Adds a picture's latents at `timestep`, with `noise`, to a batch.
    pub(crate) fn push(&self, batch: &mut Noised, latents: &[f32], noise: Vec<f32>, timestep: usize) -> Result<()> {
        batch.noisy.extend(self.schedule.add_noise(latents, &noise, timestep)?);
        batch.target.extend(match self.prediction {
            Prediction::Epsilon => noise,
            Prediction::VPrediction => self.schedule.velocity(latents, &noise, timestep)?,
        });
        batch.timesteps.push(timestep as f32);
        if let Some(weight) = self.weight(timestep)? {
            batch.weights.extend(std::iter::repeat_n(weight as f32, latents.len()));
        }
        Ok(())
    }

    /// The same, all timesteps weighted alike.
    pub(crate) fn unweighted(&self) -> Self {
        Self { weighting: LossWeighting::Uniform, ..self.clone() }
    }

    /// The weight of a squared error at a timestep; none when all are alike.
    fn weight(&self, timestep: usize) -> Result<Option<f64>> {
        let (signal, noise) = self.schedule.signal_and_noise(timestep)?;
        let [signal, noise] = [signal, noise].map(f64::from);
        let snr = (signal / noise).powi(2);
        Ok(match (self.weighting, self.prediction) {
            (LossWeighting::Uniform, _) => None,
            // Without signal the share is that of its limit.
            (LossWeighting::MinSnr { gamma }, Prediction::Epsilon) => Some(if snr > gamma { gamma / snr } else { 1.0 }),
            (LossWeighting::MinSnr { gamma }, Prediction::VPrediction) => Some(snr.min(gamma) / (snr + 1.0)),
            (LossWeighting::Velocity { max }, _) => Some(signal.powi(-2).min(max)),
        })
    }
}

/// A timestep of a training sample.
pub(crate) fn timestep(config: &DiffusionLossConfig, schedule: &NoiseSchedule, random: &mut Generator) -> usize {
    let count = schedule.num_train_timesteps();
    match config.timesteps {
        TimestepSampling::Uniform => random.random_range(count as u64) as usize,
        TimestepSampling::LogitNormal { mean, std } => {
            let u = 1.0 / (1.0 + (-(mean + std * random.normal_f64())).exp());
            ((u * count as f64) as usize).min(count.saturating_sub(1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule() -> NoiseSchedule {
        NoiseSchedule::scaled_linear(0.00085, 0.012, 1000).unwrap()
    }

    #[test]
    fn timesteps_follow_their_distribution() {
        let mut random = Generator::manual_seed(1);
        let mut mean = |timesteps| {
            let config = DiffusionLossConfig { timesteps, ..DiffusionLossConfig::default() };
            (0..4000).map(|_| timestep(&config, &schedule(), &mut random)).sum::<usize>() as f64 / 4000.0
        };
        assert!((mean(TimestepSampling::Uniform) - 500.0).abs() < 20.0);
        assert!((mean(TimestepSampling::LogitNormal { mean: 0.0, std: 1.0 }) - 500.0).abs() < 20.0);
        assert!(mean(TimestepSampling::LogitNormal { mean: -2.0, std: 0.5 }) < 200.0);
    }

    fn noising(prediction: Prediction, weighting: LossWeighting) -> Noising {
        Noising { schedule: schedule(), prediction, weighting }
    }

    #[test]
    fn velocity_weighs_much_noise_more() {
        let noising = noising(Prediction::Epsilon, LossWeighting::Velocity { max: 20.0 });
        let at = |timestep| noising.weight(timestep).unwrap().unwrap();
        assert!((at(0) - 1.0 / 0.99915).abs() < 1e-5);
        assert!((at(500) - 1.0 / 0.276_332_7).abs() < 1e-4);
        assert_eq!(at(999), 20.0);
    }

    #[test]
    fn min_snr_weighs_little_noise_less() {
        let mut noised = Noised::default();
        let weighting = LossWeighting::MinSnr { gamma: 5.0 };
        for timestep in [0, 999] {
            noising(Prediction::Epsilon, weighting).push(&mut noised, &[1.0; 2], vec![1.0; 2], timestep).unwrap();
        }
        // SNR is 1175 at the first timestep and 0.0047 at the last.
        assert!((noised.weights[0] - 5.0 / 1175.0).abs() < 1e-4, "{:?}", noised.weights);
        assert_eq!(noised.weights[2..], [1.0, 1.0]);
        assert_eq!(noised.timesteps, [0.0, 999.0]);
        assert!((noised.noisy[0] - 1.0).abs() < 0.1);
        assert_eq!(noised.target, [1.0; 4]);
        // Without signal too.
        let last = Noising { schedule: schedule().zero_terminal_snr(), ..noising(Prediction::Epsilon, weighting) };
        assert_eq!(last.weight(999).unwrap(), Some(1.0));
        let of_v = noising(Prediction::VPrediction, weighting);
        assert!((of_v.weight(0).unwrap().unwrap() - 5.0 / 1176.0).abs() < 1e-4);
        assert!((of_v.weight(999).unwrap().unwrap() - 0.0047 / 1.0047).abs() < 1e-4);
    }
}
