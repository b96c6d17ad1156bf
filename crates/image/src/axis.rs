/// Values beyond this are not drawn, so that no difference of two overflows.
const LARGEST: f64 = 1e300;

/// One axis of a chart: its range and its ticks.
pub(crate) struct Axis {
    log: bool,
    /// Ends of the range, as logarithms where `log`.
    low: f64,
    high: f64,
}

/// A mark on an axis.
pub(crate) struct Tick {
    /// From 0 at the low end to 1 at the high end.
    pub(crate) position: f64,
    pub(crate) label: String,
}

impl Axis {
    /// An axis that holds all values that can be drawn, with `margin` of their span to spare on either side.
    pub(crate) fn new(values: impl Iterator<Item = f64>, log: bool, margin: f64) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter_map(|value| scale(value, log)) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        // A span that rounding would swallow is widened, so that a flat curve lies in the middle.
        if high - low <= 1e-9 * high.abs().max(low.abs()) {
            let around = if log { 0.5 } else { (high.abs() * 0.1).max(1e-12) };
            (low, high) = (low - around, high + around);
        }
        let spare = (high - low) * margin;
        Self { log, low: low - spare, high: high + spare }
    }

    /// Where a value lies, from 0 to 1; `None` when it cannot be drawn.
    pub(crate) fn position(&self, value: f64) -> Option<f64> {
        scale(value, self.log).map(|value| (value - self.low) / (self.high - self.low))
    }

    /// Round values in the range, about `wanted` of them, with their labels.
    pub(crate) fn ticks(&self, wanted: usize) -> Vec<Tick> {
        let wanted = wanted.max(2);
        if self.log {
            for digits in [&[1.0][..], &[1.0, 2.0, 5.0]] {
                let ticks = self.log_ticks(digits, wanted);
                if ticks.len() >= 3 {
                    return ticks;
                }
            }
        }
        let (low, high) = if self.log { (10f64.powf(self.low), 10f64.powf(self.high)) } else { (self.low, self.high) };
        let step = round_step((high - low) / wanted as f64);
        let first = (low / step).ceil();
        (0..=2 * wanted)
            .map(|i| (first + i as f64) * step)
            .take_while(|&value| value <= high)
            .filter_map(|value| self.tick(value, label(value, step)))
            .collect()
    }

    /// Multiples of powers of ten; not every decade where there are many.
    fn log_ticks(&self, digits: &[f64], wanted: usize) -> Vec<Tick> {
        let (first, last) = (self.low.floor() as i32, self.high.floor() as i32);
        let stride = ((last - first) as usize / wanted + 1).min(1000);
        (first..=last)
            .step_by(stride)
            .flat_map(|decade| digits.iter().map(move |digit| (digit, decade)))
            .filter_map(|(digit, decade)| {
                let value = digit * 10f64.powi(decade);
                self.tick(value, label(value, 10f64.powi(decade)))
            })
            .collect()
    }

    fn tick(&self, value: f64, label: String) -> Option<Tick> {
        let position = self.position(value).filter(|position| (0.0..=1.0).contains(position))?;
        Some(Tick { position, label })
    }
}

fn scale(value: f64, log: bool) -> Option<f64> {
    let drawn = value.abs() <= LARGEST && (!log || value > 0.0);
    drawn.then(|| if log { value.log10() } else { value })
}

/// The next of 1, 2 and 5 times a power of ten that is not below `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * power).find(|&round| round >= step * 0.999).unwrap_or(step)
}

/// A value as short as the distance between ticks allows: `0.25`, `40`, `15k`, `2M`, `3e-7`.
fn label(value: f64, step: f64) -> String {
    // A negative zero and what is left of one after rounding.
    let value = if value.abs() < step * 1e-6 { 0.0 } else { value };
    let decimals = |step: f64| (-step.log10()).ceil().max(0.0) as usize;
    if value == 0.0 {
        "0".into()
    } else if !(1e-4..1e9).contains(&step) {
        format!("{:e}", format!("{value:.3e}").parse::<f64>().unwrap_or(value))
    } else if step >= 1e6 {
        format!("{:.0}M", value / 1e6)
    } else if step >= 1e3 {
        format!("{:.0}k", value / 1e3)
    } else {
        format!("{value:.*}", decimals(step * 1.001))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64], log: bool) -> Vec<String> {
        Axis::new(values.iter().copied(), log, 0.0).ticks(5).into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(&[0.0, 1.0], false), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&[-3.0, 7.0], false), ["-2", "0", "2", "4", "6"]);
        assert_eq!(labels(&[0.0, 57_000.0], false), ["0", "20k", "40k"]);
        assert_eq!(labels(&[0.048, 0.93], false), ["0.2", "0.4", "0.6", "0.8"]);
        assert_eq!(labels(&[0.0, 3e-7], false), ["0", "1e-7", "2e-7", "3e-7"]);
        assert_eq!(labels(&[1e-3, 10.0], true), ["0.001", "0.01", "0.1", "1", "10"]);
        assert_eq!(labels(&[0.04, 0.9], true), ["0.05", "0.1", "0.2", "0.5"]);
        assert_eq!(labels(&[3.0, 4.0], true), ["3.0", "3.2", "3.4", "3.6", "3.8", "4.0"]);
    }

    #[test]
    fn odd_values_give_a_sound_axis() {
        let odd: [&[f64]; 8] = [
            &[],
            &[f64::NAN],
            &[5.0],
            &[0.0],
            &[f64::MAX, f64::MIN, 1.0],
            &[1e300, -1e300],
            &[f64::MIN_POSITIVE, 5e-324],
            &[1e15, 1e15 + 0.125],
        ];
        for values in odd {
            for log in [false, true] {
                let axis = Axis::new(values.iter().copied(), log, 0.04);
                for value in values.iter().filter_map(|&value| axis.position(value)) {
                    assert!((0.0..=1.0).contains(&value), "{values:?}: {value}");
                }
                let ticks = axis.ticks(6);
                assert!(ticks.len() <= 40, "{values:?}: {}", ticks.len());
                assert!(ticks.iter().all(|tick| tick.label.len() < 20), "{values:?}");
            }
        }
    }
}
