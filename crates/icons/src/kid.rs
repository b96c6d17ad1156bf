//! The kernel inception distance (Bińkowski et al. 2018) between two sets of features.

/// A distance, and its standard error.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Kid {
    /// The unbiased estimate of the squared maximum mean discrepancy with the kernel `(x·y/d + 1)³`.
    pub value: f64,
    /// Its standard error by the delete-one jackknife (Efron & Stein 1981), over both sets.
    pub error: f64,
}

/// Of features `x` and `y`, rows of one length; none with fewer than three of either.
#[must_use]
pub fn kid(x: &[Vec<f32>], y: &[Vec<f32>]) -> Option<Kid> {
    let (m, n) = (x.len(), y.len());
    if m < 3 || n < 3 {
        return None;
    }
    let (in_x, in_y) = (own_sums(x), own_sums(y));
    let (mut x_to_y, mut y_to_x) = (vec![0.0; m], vec![0.0; n]);
    for (i, a) in x.iter().enumerate() {
        for (j, b) in y.iter().enumerate() {
            let value = kernel(a, b);
            x_to_y[i] += value;
            y_to_x[j] += value;
        }
    }
    let cross: f64 = x_to_y.iter().sum();
    let (sum_x, sum_y): (f64, f64) = (in_x.iter().sum(), in_y.iter().sum());
    let estimate = |sum_x: f64, m: usize, sum_y: f64, n: usize, cross: f64| {
        let (m, n) = (m as f64, n as f64);
        sum_x / (m * (m - 1.0)) + sum_y / (n * (n - 1.0)) - 2.0 * cross / (m * n)
    };
    // A picture that is left out takes its row and its column with it.
    let without_x = (0..m).map(|i| estimate(sum_x - 2.0 * in_x[i], m - 1, sum_y, n, cross - x_to_y[i]));
    let without_y = (0..n).map(|j| estimate(sum_x, m, sum_y - 2.0 * in_y[j], n - 1, cross - y_to_x[j]));
    let variance = jackknife(&without_x.collect::<Vec<_>>()) + jackknife(&without_y.collect::<Vec<_>>());
    Some(Kid { value: estimate(sum_x, m, sum_y, n, cross), error: variance.sqrt() })
}

/// The sum of the kernel of each row with all others of its set.
fn own_sums(rows: &[Vec<f32>]) -> Vec<f64> {
    let mut sums = vec![0.0; rows.len()];
    for (i, a) in rows.iter().enumerate() {
        for (j, b) in rows.iter().enumerate().skip(i + 1) {
            let value = kernel(a, b);
            sums[i] += value;
            sums[j] += value;
        }
    }
    sums
}

/// The variance that the estimates without one element tell.
fn jackknife(estimates: &[f64]) -> f64 {
    let count = estimates.len() as f64;
    let mean = estimates.iter().sum::<f64>() / count;
    estimates.iter().map(|x| (x - mean).powi(2)).sum::<f64>() * (count - 1.0) / count
}

fn kernel(a: &[f32], b: &[f32]) -> f64 {
    let dot: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    (dot / a.len().max(1) as f64 + 1.0).powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn rows(random: &mut Random, count: usize, shift: f32) -> Vec<Vec<f32>> {
        let mut value = || (random.next() >> 40) as f32 / (1u32 << 24) as f32 + shift;
        (0..count).map(|_| (0..8).map(|_| value()).collect()).collect()
    }

    #[test]
    fn by_hand() {
        // d = 1: kernels of {0, 1, 2} are 1, 1, 8 … computed by the definition.
        let set = |values: [f32; 3]| values.map(|x| vec![x]).to_vec();
        let (x, y) = (set([0.0, 1.0, 2.0]), set([1.0, 1.0, 3.0]));
        let k = |a: f64, b: f64| (a * b + 1.0).powi(3);
        let of = |v: [f64; 3]| 2.0 * (k(v[0], v[1]) + k(v[0], v[2]) + k(v[1], v[2])) / 6.0;
        let cross: f64 = [0.0, 1.0, 2.0].iter().flat_map(|&a| [1.0, 1.0, 3.0].map(|b| k(a, b))).sum::<f64>() / 9.0;
        let expected = of([0.0, 1.0, 2.0]) + of([1.0, 1.0, 3.0]) - 2.0 * cross;
        assert!((kid(&x, &y).unwrap().value - expected).abs() < 1e-9);
        assert_eq!(kid(&x[..2], &y), None);
    }

    #[test]
    fn the_same_distribution_is_near_nothing_and_another_is_not() {
        let mut random = Random(5);
        let sets: Vec<_> = (0..40).map(|_| (rows(&mut random, 60, 0.0), rows(&mut random, 60, 0.0))).collect();
        let kids: Vec<Kid> = sets.iter().map(|(x, y)| kid(x, y).unwrap()).collect();
        let spread = (kids.iter().map(|kid| kid.value.powi(2)).sum::<f64>() / 40.0).sqrt();
        let error = kids.iter().map(|kid| kid.error).sum::<f64>() / 40.0;
        // The error bar is about as large as the values scatter around 0.
        assert!((0.6..1.8).contains(&(error / spread)), "{error} {spread}");
        let (x, _) = &sets[0];
        let far = kid(x, &rows(&mut random, 60, 0.3)).unwrap();
        assert!(far.value > 5.0 * far.error, "{far:?}");
    }
}
