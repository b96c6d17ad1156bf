//! Matrices whose rows are computed a piece at a time.

/// Rows of a product's right factor that are added at once.
const RANKS: usize = 8;

/// A matrix, row-major.
#[derive(Clone, Debug)]
pub(super) struct Matrix {
    pub(super) values: Vec<f32>,
    pub(super) columns: usize,
}

impl Matrix {
    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.columns..][..self.columns]
    }

    fn rows(&self) -> usize {
        self.values.len() / self.columns.max(1)
    }
}

/// A matrix, whole or as a product.
#[derive(Clone, Debug)]
pub(super) enum Factor {
    Whole(Matrix),
    /// `left (rows, r) · right (r, columns)`.
    Product {
        left: Matrix,
        right: Matrix,
    },
}

impl Factor {
    pub(super) fn columns(&self) -> usize {
        match self {
            Self::Whole(matrix) | Self::Product { right: matrix, .. } => matrix.columns,
        }
    }

    /// Writes the elements of `row` from column `first` on, as many as `to` holds.
    ///
    /// Each is summed in the same order wherever the piece begins.
    pub(super) fn piece(&self, row: usize, first: usize, to: &mut [f32]) {
        match self {
            Self::Whole(matrix) => to.copy_from_slice(&matrix.row(row)[first..][..to.len()]),
            Self::Product { left, right } => {
                to.fill(0.0);
                // Not all ranks may be used.
                let left = left.row(row);
                let (left, length) = (&left[..left.len().min(right.rows())], to.len());
                for n in (0..left.len()).step_by(RANKS) {
                    let right = |k: usize| &right.row(n + k)[first..][..length];
                    match left[n..].first_chunk::<RANKS>() {
                        Some(left) => add_products(left, std::array::from_fn(right), to),
                        None => {
                            for (k, left) in left[n..].iter().enumerate() {
                                add_products(&[*left], [right(k)], to);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `to += Σ left[k] · right[k]`.
fn add_products<const N: usize>(left: &[f32; N], right: [&[f32]; N], to: &mut [f32]) {
    let right = right.map(|right| &right[..to.len()]);
    for (i, to) in to.iter_mut().enumerate() {
        let mut sum = *to;
        for k in 0..N {
            sum += left[k] * right[k][i];
        }
        *to = sum;
    }
}

/// The right factor `(r, I · taps)` of a Tucker decomposition: `Σ_m core[n, m, tap] · right[m, i]`, of `core (r, s, taps)` and
/// `right (s, I)`.
pub(super) fn expand(core: &[f32], right: &Matrix, rank: usize, taps: usize) -> Matrix {
    let (inner, inputs) = (right.rows(), right.columns);
    let columns = inputs * taps;
    let mut values = vec![0.0; rank * columns];
    for (n, row) in values.chunks_exact_mut(columns.max(1)).enumerate() {
        for m in 0..inner {
            let core = &core[(n * inner + m) * taps..][..taps];
            for (to, x) in row.chunks_exact_mut(taps).zip(right.row(m)) {
                to.iter_mut().zip(core).for_each(|(to, core)| *to += core * x);
            }
        }
    }
    Matrix { values, columns }
}

/// `(rows, columns)` to `(columns, rows)`.
pub(super) fn transposed(matrix: &Matrix) -> Matrix {
    let rows = matrix.rows();
    let values = (0..matrix.columns).flat_map(|c| (0..rows).map(move |r| matrix.values[r * matrix.columns + c]));
    Matrix { values: values.collect(), columns: rows }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rows: usize, columns: usize, seed: f32) -> Matrix {
        Matrix { values: (0..rows * columns).map(|n| (n as f32 * 0.37 + seed).sin()).collect(), columns }
    }

    #[test]
    fn a_product_is_the_same_in_any_pieces() {
        for rank in [0, 1, 7, 8, 9, 20] {
            let (left, right) = (matrix(3, rank, 0.1), matrix(rank, 13, 0.2));
            let expected: Vec<f64> = (0..13)
                .map(|c| (0..rank).map(|k| f64::from(left.row(2)[k]) * f64::from(right.values[k * 13 + c])).sum())
                .collect();
            let product = Factor::Product { left, right: Matrix { columns: 13, ..right } };
            let mut whole = [0.0; 13];
            product.piece(2, 0, &mut whole);
            assert!(whole.iter().zip(&expected).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5), "{rank}");
            let mut pieces = [0.0; 13];
            for (first, length) in [(0, 1), (1, 6), (7, 6)] {
                product.piece(2, first, &mut pieces[first..][..length]);
            }
            assert_eq!(whole, pieces);
        }
    }

    #[test]
    fn a_core_is_multiplied_in() {
        let (core, right) = (matrix(2 * 3, 4, 0.3).values, matrix(3, 5, 0.4));
        let expanded = expand(&core, &right, 2, 4);
        let (n, i, tap) = (1, 3, 2);
        let expected: f32 = (0..3).map(|m| core[(n * 3 + m) * 4 + tap] * right.values[m * 5 + i]).sum();
        assert!((expanded.row(n)[i * 4 + tap] - expected).abs() < 1e-6);
    }
}
