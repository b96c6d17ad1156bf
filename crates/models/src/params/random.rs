use std::f32::consts::TAU;

use calotype_tensor::ParamData;

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
    fn data(&mut self, spec: &ParamSpec) -> Result<Box<dyn ParamData + '_>> {
        let stream = SplitMix64(spec.name.bytes().fold(self.seed, |state, byte| mix(state ^ u64::from(byte))));
        Ok(Box::new(RandomData { stream, init: spec.init, count: spec.count() }))
    }
}

/// The values of one parameter.
struct RandomData {
    stream: SplitMix64,
    init: Init,
    count: usize,
}

impl ParamData for RandomData {
    fn count(&self) -> usize {
        self.count
    }

    fn read(&self, start: usize, to: &mut [f32]) -> calotype_tensor::Result<()> {
        let stream = self.stream;
        match self.init {
            Init::Zeros => to.fill(0.0),
            Init::Ones => to.fill(1.0),
            Init::Uniform(bound) => {
                (start as u64..).zip(to).for_each(|(n, x)| *x = (2.0 * stream.uniform(n) - 1.0) * bound);
            }
            Init::NormalAroundOne(deviation) => {
                Self { stream, init: Init::Normal(deviation), count: self.count }.read(start, to)?;
                to.iter_mut().for_each(|x| *x += 1.0);
            }
            Init::Normal(deviation) => {
                // Box & Muller 1958, in pairs; 1 - u keeps the logarithm finite.
                let normal = |pair: u64| {
                    let radius = deviation * (-2.0 * (1.0 - stream.uniform(2 * pair)).ln()).sqrt();
                    let (sin, cos) = (TAU * stream.uniform(2 * pair + 1)).sin_cos();
                    [radius * cos, radius * sin]
                };
                let (first, rest) = to.split_at_mut(to.len().min(start % 2));
                first.iter_mut().for_each(|x| *x = normal(start as u64 / 2)[1]);
                for (pair, x) in (start.div_ceil(2) as u64..).zip(rest.chunks_mut(2)) {
                    x.copy_from_slice(&normal(pair)[..x.len()]);
                }
            }
        }
        Ok(())
    }
}

/// SplitMix64 (Steele, Lea & Flood 2014), whose numbers can be had in any order.
#[derive(Clone, Copy)]
struct SplitMix64(u64);

impl SplitMix64 {
    /// The `n`th number, uniform in `0..1`, of 24 bits.
    #[inline]
    fn uniform(self, n: u64) -> f32 {
        let state = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(n + 1));
        (mix(state) >> 40) as f32 / (1 << 24) as f32
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
        let spec = ParamSpec { name: name.into(), kind: ParamKind::Vector, shape: vec![100_001], init, quantise: true };
        Random { seed }.data(&spec).unwrap().to_vec().unwrap()
    }

    #[test]
    fn values_do_not_depend_on_where_reading_starts() {
        for init in [Init::Zeros, Init::Ones, Init::Uniform(1.0), Init::Normal(1.0)] {
            let spec =
                ParamSpec { name: "a".into(), kind: ParamKind::Vector, shape: vec![100_001], init, quantise: true };
            let mut source = Random { seed: 1 };
            let data = source.data(&spec).unwrap();
            let mut values = vec![f32::NAN; data.count()];
            for (start, length) in [(0, 0), (0, 1), (1, 1), (2, 7), (9, 1), (10, 99_990), (100_000, 1)] {
                data.read(start, &mut values[start..][..length]).unwrap();
            }
            assert_eq!(values, self::values(1, "a", init));
        }
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
