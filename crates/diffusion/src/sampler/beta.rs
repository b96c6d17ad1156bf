//! The beta distribution, for its quantiles.

/// The `x` in 0..1 that a Beta(`a`, `b`) variable stays below with probability `p`: the inverse of the regularised
/// incomplete beta function, by bisection to the last bit (`scipy.stats.beta.ppf`).
pub(super) fn quantile(p: f64, a: f64, b: f64) -> f64 {
    if p <= 0.0 || p >= 1.0 {
        return p.clamp(0.0, 1.0);
    }
    let (mut low, mut high) = (0.0f64, 1.0f64);
    // So many halvings leave less than a sigma, which is an f32, can tell.
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if regularised(middle, a, b) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// `I_x(a, b)` (DLMF 8.17.2): the chance to be below `x`.
fn regularised(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp();
    // The fraction converges fast up to the mean; beyond it the distribution is looked at from the other end (8.17.4).
    if x < (a + 1.0) / (a + b + 2.0) {
        front * fraction(x, a, b) / a
    } else {
        1.0 - front * fraction(1.0 - x, b, a) / b
    }
}

/// The continued fraction of DLMF 8.17.22, evaluated forwards (Lentz's method).
fn fraction(x: f64, a: f64, b: f64) -> f64 {
    let away_from_zero = |v: f64| if v.abs() < 1e-300 { 1e-300 } else { v };
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let (mut c, mut value) = (1.0, d);
    for m in (1..500).map(f64::from) {
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = value;
        for term in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + term * d);
            c = away_from_zero(1.0 + term / c);
            value *= c * d;
        }
        if (value - before).abs() <= 1e-16 * value.abs() {
            break;
        }
    }
    value
}

/// `ln Γ(x)` for `x > 0`: Stirling's series (DLMF 5.11.1) where it is exact to the last bits, and `Γ(x + 1) = x Γ(x)` to
/// get there.
fn ln_gamma(x: f64) -> f64 {
    const SERIES: [f64; 5] = [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0];
    let (mut x, mut shift) = (x, 0.0);
    while x < 15.0 {
        shift += x.ln();
        x += 1.0;
    }
    let tail: f64 = SERIES.iter().zip([1, 3, 5, 7, 9]).map(|(&c, power)| c / x.powi(power)).sum();
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + tail - shift
}

#[cfg(test)]
mod tests {
    use super::{ln_gamma, quantile};

    #[test]
    fn known_values() {
        assert!((ln_gamma(0.5) - std::f64::consts::PI.ln() / 2.0).abs() < 1e-14);
        // Beta(1, 1) is uniform, Beta(1/2, 1/2) the arcsine distribution, Beta(2, 1) has x².
        for p in [1e-6, 0.1, 0.37, 0.5, 0.9, 1.0 - 1e-6] {
            assert!((quantile(p, 1.0, 1.0) - p).abs() < 1e-14);
            let arcsine = (p * std::f64::consts::FRAC_PI_2).sin().powi(2);
            assert!((quantile(p, 0.5, 0.5) - arcsine).abs() < 1e-13, "{p}");
            assert!((quantile(p, 2.0, 1.0) - p.sqrt()).abs() < 1e-13, "{p}");
        }
        assert_eq!((quantile(0.0, 0.6, 0.6), quantile(1.0, 0.6, 0.6)), (0.0, 1.0));
    }
}
