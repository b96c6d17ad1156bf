//! What a UNet is trained on: noisy latents, their timesteps, and the noise to find.

use calotype_diffusion::{Generator, NoiseSchedule};

use crate::{DiffusionLossConfig, LossWeighting, Result, TimestepSampling};

/// A batch for the UNet; every buffer but `timesteps` is `(B, h, w, c)`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Noised {
    /// `√ᾱ x0 + √(1 − ᾱ) ε` (Ho et al. 2020, eq. 4).
    pub(crate) noisy: Vec<f32>,
    /// ε.
    pub(crate) noise: Vec<f32>,
    /// t, one a picture.
    pub(crate) timesteps: Vec<f32>,
    /// The weight of each value's squared error; empty when all are 1.
    pub(crate) weights: Vec<f32>,
}

impl Noised {
    /// Adds a picture's latents at `timestep`, with `noise`.
    pub(crate) fn push(
        &mut self,
        latents: &[f32],
        noise: Vec<f32>,
        timestep: usize,
        schedule: &NoiseSchedule,
        weighting: LossWeighting,
    ) -> Result<()> {
        self.noisy.extend(schedule.add_noise(latents, &noise, timestep)?);
        self.noise.extend(noise);
        self.timesteps.push(timestep as f32);
        if let Some(weight) = weight(schedule, timestep, weighting)? {
            self.weights.extend(std::iter::repeat_n(weight as f32, latents.len()));
        }
        Ok(())
    }
}

/// The weight of a squared error of ε at a timestep; none when all are alike.
fn weight(schedule: &NoiseSchedule, timestep: usize, weighting: LossWeighting) -> Result<Option<f64>> {
    let (signal, noise) = schedule.signal_and_noise(timestep)?;
    let [signal, noise] = [signal, noise].map(f64::from);
    Ok(match weighting {
        LossWeighting::Uniform => None,
        LossWeighting::MinSnr { gamma } => {
            let snr = (signal / noise).powi(2);
            Some(snr.min(gamma) / snr)
        }
        LossWeighting::Velocity { max } => Some(signal.powi(-2).min(max)),
    })
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

    #[test]
    fn velocity_weighs_much_noise_more() {
        let at = |timestep| weight(&schedule(), timestep, LossWeighting::Velocity { max: 20.0 }).unwrap().unwrap();
        assert!((at(0) - 1.0 / 0.99915).abs() < 1e-5);
        assert!((at(500) - 1.0 / 0.276_332_7).abs() < 1e-4);
        assert_eq!(at(999), 20.0);
    }

    #[test]
    fn min_snr_weighs_little_noise_less() {
        let mut noised = Noised::default();
        for timestep in [0, 999] {
            let weighting = LossWeighting::MinSnr { gamma: 5.0 };
            noised.push(&[1.0; 2], vec![1.0; 2], timestep, &schedule(), weighting).unwrap();
        }
        // SNR is 1175 at the first timestep and 0.0047 at the last.
        assert!((noised.weights[0] - 5.0 / 1175.0).abs() < 1e-4, "{:?}", noised.weights);
        assert_eq!(noised.weights[2..], [1.0, 1.0]);
        assert_eq!(noised.timesteps, [0.0, 999.0]);
        assert!((noised.noisy[0] - 1.0).abs() < 0.1);
        assert_eq!(noised.noise, [1.0; 4]);
    }
}
