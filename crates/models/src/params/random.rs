use std::f32::consts::TAU;

use crate::{Init, ParamSource, ParamSpec, Result};

/// Random values from a seed, as training starts with: each parameter by its [`Init`].
///
/// A value depends on the seed, the parameter's name and its place only, not on the order of reading.
#[derive(Clone, Copy, Debug)]
pub struct Random {
    /// Which numbers.
    pub seed: u64,
}

impl ParamSource for Random {
    fn read(&mut self, spec: &ParamSpec) -> Result<Vec<f32>> {
        let mut stream = SplitMix64(spec.name.bytes().fold(self.seed, |state, byte| mix(state ^ u64::from(byte))));
        let count = spec.count();
        Ok(match spec.init {
            Init::Zeros => vec![0.0; count],
            Init::Ones => vec![1.0; count],
            Init::Uniform(bound) => (0..count).map(|_| (2.0 * stream.uniform() - 1.0) * bound).collect(),
            Init::Normal(deviation) => {
                let mut values = Vec::with_capacity(count + 1);
                while values.len() < count {
                    // Box & Muller 1958; 1 - u keeps the logarithm finite.
                    let radius = deviation * (-2.0 * (1.0 - stream.uniform()).ln()).sqrt();
                    let (sin, cos) = (TAU * stream.uniform()).sin_cos();
                    values.extend([radius * cos, radius * sin]);
                }
                values.truncate(count);
                values
            }
        })
    }
}

/// SplitMix64 (Steele, Lea & Flood 2014).
struct SplitMix64(u64);

impl SplitMix64 {
    /// Uniform in `0..1`, of 24 bits.
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (mix(self.0) >> 40) as f32 / (1 << 24) as f32
    }
}

/// SplitMix64's finisher.
fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use calotype_tensor::ParamKind;

    use super::*;

    fn values(seed: u64, name: &str, init: Init) -> Vec<f32> {
        let spec = ParamSpec { name: name.into(), kind: ParamKind::Vector, shape: vec![100_001], init };
        Random { seed }.read(&spec).unwrap()
    }

    #[test]
    fn distributions_have_their_moments() {
        let moments = |x: &[f32]| {
            let n = x.len() as f64;
            let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
            (mean, (x.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt())
        };
        let (mean, deviation) = moments(&values(1, "a", Init::Normal(0.02)));
        assert!(mean.abs() < 3e-4 && (deviation - 0.02).abs() < 2e-4, "{mean} {deviation}");
        let (mean, deviation) = moments(&values(1, "a", Init::Uniform(0.5)));
        assert!(mean.abs() < 5e-3 && (deviation - 0.5 / 3f64.sqrt()).abs() < 3e-3, "{mean} {deviation}");
    }

    #[test]
    fn values_depend_on_seed_and_name() {
        let init = Init::Uniform(1.0);
        assert_eq!(values(1, "a", init), values(1, "a", init));
        assert_ne!(values(1, "a", init), values(2, "a", init));
        assert_ne!(values(1, "a", init), values(1, "b", init));
    }
}
