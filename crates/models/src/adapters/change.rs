//! What an adapter does to one parameter, as it is read.

use calotype_formats::Floats;
use calotype_tensor::{Error, ParamData, Result};

use super::matrix::Factor;

/// A change of a parameter of `(O, columns)`, its data at hand.
pub(super) enum Change<'a> {
    /// `W + scale · factor` (LoRA, LoCon).
    Product { factor: Factor, scale: f32 },
    /// `W + scale · a ⊙ b` (LoHa).
    Hadamard { factors: [Factor; 2], scale: f32 },
    /// `W + scale · a ⊗ b` (LoKr). Row `o` of `a ⊗ b` is, with `b` of `B` rows, each element of row `o / B` of `a` times row
    /// `o % B` of `b`; of a convolution the rows are flat, so the taps are part of `b`'s.
    Kronecker { factors: [Factor; 2], rows: usize, scale: f32 },
    /// `W + scale · D`.
    Difference { values: Floats<'a>, scale: f32 },
    /// `W · (1 + scale · w)`: of each row, or of each input, which is `taps` columns.
    Factors { values: Vec<f32>, taps: usize, on_input: bool, scale: f32 },
}

impl Change<'_> {
    /// Changes `values`, the elements of `row` from column `first` on. `room` is scratch.
    fn apply(&self, row: usize, first: usize, columns: usize, values: &mut [f32], room: &mut Vec<f32>) -> Result<()> {
        match self {
            Self::Product { factor, scale } => {
                let delta = resized(room, values.len());
                factor.piece(row, first, delta);
                add(values, delta, *scale);
            }
            Self::Hadamard { factors: [a, b], scale } => {
                let (delta, other) = resized(room, 2 * values.len()).split_at_mut(values.len());
                a.piece(row, first, delta);
                b.piece(row, first, other);
                delta.iter_mut().zip(other).for_each(|(a, b)| *a *= *b);
                add(values, delta, *scale);
            }
            Self::Kronecker { factors: [a, b], rows, scale } => {
                let (a_row, b_row) = resized(room, a.columns() + b.columns()).split_at_mut(a.columns());
                a.piece(row / rows, 0, a_row);
                b.piece(row % rows, 0, b_row);
                let mut done = 0;
                while done < values.len() {
                    let (n, at) = ((first + done) / b_row.len(), (first + done) % b_row.len());
                    let length = (b_row.len() - at).min(values.len() - done);
                    add(&mut values[done..][..length], &b_row[at..][..length], scale * a_row[n]);
                    done += length;
                }
            }
            Self::Difference { values: difference, scale } => {
                let delta = resized(room, values.len());
                difference.read(row * columns + first, delta).map_err(Error::data)?;
                if let Some(got) = delta.iter().find(|x| !x.is_finite()) {
                    let message = format!("the adapter's difference has the value {got}, expected finite numbers");
                    return Err(Error::Invalid { op: "adapter", message });
                }
                add(values, delta, *scale);
            }
            Self::Factors { values: factors, taps, on_input, scale } => {
                for (column, value) in (first..).zip(values) {
                    *value += *value * factors[if *on_input { column / taps } else { row }] * scale;
                }
            }
        }
        Ok(())
    }
}

fn resized(room: &mut Vec<f32>, length: usize) -> &mut [f32] {
    room.resize(room.len().max(length), 0.0);
    &mut room[..length]
}

fn add(to: &mut [f32], delta: &[f32], scale: f32) {
    to.iter_mut().zip(delta).for_each(|(to, delta)| *to += scale * delta);
}

/// DoRA (Liu et al. 2024, eq. 5): the changed weight is brought to learnt lengths, of its rows or of its inputs' columns.
pub(super) struct Lengths {
    /// `m / ‖W + ΔW‖` of each row or input.
    pub(super) ratios: Vec<f32>,
    pub(super) by_row: bool,
    /// How much of it all: `W + strength · (m (W + ΔW) / ‖W + ΔW‖ - W)`, as A1111 has it.
    pub(super) strength: f32,
}

/// A parameter with one change. More are as many of these, one around the other.
pub(super) struct Changed<'a> {
    pub(super) base: Box<dyn ParamData + 'a>,
    pub(super) change: Change<'a>,
    pub(super) lengths: Option<Lengths>,
    /// Elements of a row: of all inputs and taps.
    pub(super) columns: usize,
    pub(super) taps: usize,
}

impl ParamData for Changed<'_> {
    fn count(&self) -> usize {
        self.base.count()
    }

    fn read(&self, start: usize, to: &mut [f32]) -> Result<()> {
        self.base.read(start, to)?;
        let before = self.lengths.as_ref().map_or(Vec::new(), |_| (*to).to_owned());
        let mut room = Vec::new();
        let mut done = 0;
        while done < to.len() {
            let (row, first) = ((start + done) / self.columns, (start + done) % self.columns);
            let length = (self.columns - first).min(to.len() - done);
            let values = &mut to[done..][..length];
            self.change.apply(row, first, self.columns, values, &mut room)?;
            if let Some(lengths) = &self.lengths {
                for ((column, value), before) in (first..).zip(values).zip(&before[done..]) {
                    let ratio = lengths.ratios[if lengths.by_row { row } else { column / self.taps }];
                    *value = before + lengths.strength * (*value * ratio - before);
                }
            }
            done += length;
        }
        Ok(())
    }
}
