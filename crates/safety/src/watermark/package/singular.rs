//! The singular values of 4 × 4 matrices.

use std::array::from_fn;

/// Sides of the blocks.
pub(super) const SIDE: usize = 4;

/// A matrix, row by row.
pub(super) type Matrix = [[f64; SIDE]; SIDE];

/// The largest singular value of a matrix, and the vectors that go with it: `A v = s u`.
///
/// By one-sided Jacobi rotations (Hestenes 1958): columns are turned in pairs until they are orthogonal; their lengths are then the
/// singular values.
pub(super) fn largest(a: &Matrix) -> (f64, [f64; SIDE], [f64; SIDE]) {
    let mut columns: [[f64; SIDE]; SIDE] = from_fn(|x| from_fn(|y| a[y][x]));
    let mut v: [[f64; SIDE]; SIDE] = from_fn(|x| from_fn(|y| f64::from(u8::from(x == y))));
    for _ in 0..30 {
        let mut turned = false;
        for p in 0..SIDE {
            for q in p + 1..SIDE {
                let (pp, qq, pq) =
                    (dot(columns[p], columns[p]), dot(columns[q], columns[q]), dot(columns[p], columns[q]));
                if pq.abs() <= 1e-15 * (pp * qq).sqrt() || pq == 0.0 {
                    continue;
                }
                turned = true;
                let zeta = (qq - pp) / (2.0 * pq);
                let tan = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
                let cos = (1.0 + tan * tan).sqrt().recip();
                for pair in [&mut columns, &mut v] {
                    let (a, b) = (pair[p], pair[q]);
                    pair[p] = from_fn(|i| cos * (a[i] - tan * b[i]));
                    pair[q] = from_fn(|i| cos * (tan * a[i] + b[i]));
                }
            }
        }
        if !turned {
            break;
        }
    }
    let lengths = columns.map(|column| dot(column, column).sqrt());
    let best = (0..SIDE).max_by(|&a, &b| lengths[a].total_cmp(&lengths[b])).unwrap_or(0);
    let length = lengths[best];
    let u = if length > 0.0 { columns[best].map(|x| x / length) } else { [0.0; SIDE] };
    (length, u, v[best])
}

fn dot(a: [f64; SIDE], b: [f64; SIDE]) -> f64 {
    (0..SIDE).map(|i| a[i] * b[i]).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_belong_to_the_value() {
        let matrices: [Matrix; 4] = [
            from_fn(|y| from_fn(|x| (x * y * 7 % 5 + x) as f64 - 3.0)),
            [[7.0; SIDE]; SIDE],
            from_fn(|y| from_fn(|x| if x == y { 2.0 } else { 0.0 })),
            from_fn(|y| from_fn(|x| if (x, y) == (3, 0) { -9.0 } else { 0.0 })),
        ];
        for (a, expected) in matrices.iter().zip([None, Some(28.0), Some(2.0), Some(9.0)]) {
            let (value, u, v) = largest(a);
            assert!(expected.is_none_or(|expected: f64| (value - expected).abs() < 1e-12), "{value}");
            for y in 0..SIDE {
                assert!((dot(a[y], v) - value * u[y]).abs() < 1e-12);
            }
            // No direction is longer.
            for i in 0..200 {
                let w: [f64; SIDE] = from_fn(|k| ((i * (k + 3)) as f64).sin());
                let image = a.map(|row| dot(row, w));
                assert!(dot(image, image) <= value * value * dot(w, w) * (1.0 + 1e-12));
            }
        }
        assert_eq!(largest(&[[0.0; SIDE]; SIDE]).0, 0.0);
    }
}
