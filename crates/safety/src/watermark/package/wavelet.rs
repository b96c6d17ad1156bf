//! PyWavelets' `dwt2` and `idwt2` with `haar`, in its order of operations: what comes out is cut down to bytes, so that a
//! difference in the last digit can be one in a byte.

/// Both taps of the filter.
const TAP: f64 = std::f64::consts::FRAC_1_SQRT_2;

/// The four bands of a picture whose sides are even, `(H / 2, W / 2)` each: sums, and details down, across and both.
pub(super) struct Bands {
    pub(super) columns: usize,
    pub(super) sums: Vec<f64>,
    down: Vec<f64>,
    across: Vec<f64>,
    both: Vec<f64>,
}

/// Sum and difference of two neighbours.
fn split(first: f64, second: f64) -> (f64, f64) {
    (TAP * second + TAP * first, -TAP * second + TAP * first)
}

/// The two neighbours that a sum and a difference are of.
fn join(sum: f64, difference: f64) -> (f64, f64) {
    (TAP * sum + TAP * difference, TAP * sum - TAP * difference)
}

impl Bands {
    /// Of values `(rows, columns)`, both even.
    pub(super) fn new(values: &[f64], columns: usize) -> Self {
        let half = columns / 2;
        let count = values.len() / 4;
        let empty = || Vec::with_capacity(count);
        let mut bands = Self { columns: half, sums: empty(), down: empty(), across: empty(), both: empty() };
        for rows in values.chunks_exact(2 * columns.max(1)) {
            for x in (0..columns).step_by(2) {
                let column = |x: usize| split(rows[x], rows[columns + x]);
                let (left, right) = (column(x), column(x + 1));
                let (sum, across) = split(left.0, right.0);
                let (down, both) = split(left.1, right.1);
                bands.sums.push(sum);
                bands.across.push(across);
                bands.down.push(down);
                bands.both.push(both);
            }
        }
        bands
    }

    /// The values again, with both details taken for each other, as the package does by mistake.
    pub(super) fn joined_swapped(&self) -> Vec<f64> {
        let columns = 2 * self.columns;
        let mut values = vec![0.0; 4 * self.sums.len()];
        for (i, &sum) in self.sums.iter().enumerate() {
            let (y, x) = (i / self.columns * 2, i % self.columns * 2);
            let (upper_left, upper_right) = join(sum, self.down[i]);
            let (lower_left, lower_right) = join(self.across[i], self.both[i]);
            let (left, right) = (join(upper_left, lower_left), join(upper_right, lower_right));
            values[y * columns + x] = left.0;
            values[(y + 1) * columns + x] = left.1;
            values[y * columns + x + 1] = right.0;
            values[(y + 1) * columns + x + 1] = right.1;
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_of_pixels_come_back_transposed() {
        let values: Vec<f64> = (0..64).map(|i| (i * i % 29) as f64).collect();
        let bands = Bands::new(&values, 8);
        let swapped = bands.joined_swapped();
        for (i, value) in swapped.iter().enumerate() {
            let (y, x) = (i / 8, i % 8);
            let transposed = values[(y / 2 * 2 + x % 2) * 8 + x / 2 * 2 + y % 2];
            assert!((value - transposed).abs() < 1e-12, "{x} {y}");
        }
        assert_eq!(bands.sums.len(), 16);
        assert!((bands.sums[0] - (values[0] + values[1] + values[8] + values[9]) / 2.0).abs() < 1e-12);
    }
}
