//! Elementary functions as plain arithmetic, so that the vectoriser takes whole registers of them.

/// `e^x` to two units in the last place: `2^n · e^r` with `|r| <= ln 2 / 2` and a polynomial (Cephes' split of ln 2).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// Adding and taking away 1.5 · 2²³ rounds to an integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let (least, most) = (x < -87.336_54, x > 88.722_84);
    let x = x.clamp(-87.336_54, 88.722_84);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    // n is -126..=128; two halves keep each power of two representable.
    let bits = shifted.to_bits() as i32 - ROUND.to_bits() as i32;
    let half = bits >> 1;
    let y = p * power_of_two(half) * power_of_two(bits - half);
    if least {
        0.0
    } else if most {
        f32::INFINITY
    } else {
        y
    }
}

/// `2^f` for `|f| <= 1/2`, from the cube's coefficient down.
pub(crate) const ROUGH_EXP2: [f32; 4] = [0.055_171_67, 0.242_611_12, 0.693_261, 0.999_928_1];

/// `2^x` for `x <= 0` to 1e-4, for results that are rounded to bf16: `2^n · 2^f` with `|f| <= 1/2` and a cubic (a minimax fit). What would
/// be below the least normal number is that number. What is not a number stays so.
#[inline(always)]
pub(crate) fn rough_exp2(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    let x = if x < -126.0 { -126.0 } else { x };
    let shifted = x + ROUND;
    let f = x - (shifted - ROUND);
    let [cubic, square, linear, constant] = ROUGH_EXP2;
    let p = ((cubic * f + square) * f + linear) * f + constant;
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// `2^n` for `-126 <= n <= 127`.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((n + 127) << 23) as u32)
}

/// The slope of the leaky ReLU below 0.
pub(crate) const LEAK: f32 = 0.2;

/// `x` above 0, else `slope · x`.
#[inline(always)]
pub(crate) fn leaky_relu(x: f32, slope: f32) -> f32 {
    if x > 0.0 { x } else { slope * x }
}

/// Its derivative; at 0 that of the left side.
#[inline(always)]
pub(crate) fn leaky_relu_derivative(x: f32, slope: f32) -> f32 {
    if x > 0.0 { 1.0 } else { slope }
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The normal distribution function `Φ(x)`, from a Chebyshev fit of `erfc` with a relative error of 1.2e-7 everywhere
/// (Press et al. 1992, "Numerical Recipes in C", section 6.2, `erfcc`), so that far tails are exact too.
#[inline(always)]
pub(crate) fn normal_cdf(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * z);
    let p = 0.170_872_77;
    let p = p * t - 0.822_152_23;
    let p = p * t + 1.488_515_9;
    let p = p * t - 1.135_204;
    let p = p * t + 0.278_868_07;
    let p = p * t - 0.186_288_06;
    let p = p * t + 0.096_784_18;
    let p = p * t + 0.374_091_96;
    let p = p * t + 1.000_023_7;
    let p = p * t - 1.265_512_2;
    let tail = 0.5 * t * exp(p - z * z);
    if x > 0.0 { 1.0 - tail } else { tail }
}

/// `x · Φ(x)` to 1e-4 of the greater of 1 and `|x|`, for results that are rounded to 16 bits: `erfc` by Abramowitz & Stegun 1964, formula 7.1.25.
#[inline(always)]
pub(crate) fn rough_gelu(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.470_47 * z);
    let tail = ((0.373_927_8 * t - 0.047_939_9) * t + 0.174_012_1) * t * rough_exp2(-std::f32::consts::LOG2_E * z * z);
    if x > 0.0 { x - x * tail } else { x * tail }
}

/// `x · Φ(x)`.
#[inline(always)]
pub(crate) fn gelu(x: f32) -> f32 {
    x * normal_cdf(x)
}

/// The derivative of [`gelu`]: `Φ(x) + x φ(x)`.
#[inline(always)]
pub(crate) fn gelu_derivative(x: f32) -> f32 {
    /// 1 / √(2π)
    const DENSITY: f32 = 0.398_942_3;
    normal_cdf(x) + x * DENSITY * exp(-0.5 * x * x)
}

/// The slope in `x · sigmoid(slope · x)` of CLIP's activation.
pub(crate) const QUICK_GELU: f32 = 1.702;

/// `x · sigmoid(slope · x)`.
#[inline(always)]
pub(crate) fn swish(x: f32, slope: f32) -> f32 {
    x * sigmoid(slope * x)
}

/// The derivative of [`swish`].
#[inline(always)]
pub(crate) fn swish_derivative(x: f32, slope: f32) -> f32 {
    let s = sigmoid(slope * x);
    s + slope * x * s * (1.0 - s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_exact_to_two_ulps() {
        for i in -87_000..88_700 {
            let x = i as f32 / 1000.0;
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(error < 2.5e-7, "exp({x}): relative error {error}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!([exp(-1000.0), exp(1000.0)], [0.0, f32::INFINITY]);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn rough_exp2_is_good_for_bf16() {
        for i in -125_000..=0 {
            let x = i as f32 / 1000.0;
            let expected = f64::from(x).exp2();
            let error = (f64::from(rough_exp2(x)) - expected).abs() / expected;
            assert!(error < 1e-4, "2^{x}: relative error {error}");
        }
        assert!(rough_exp2(-1e30) < 2.0 * f32::MIN_POSITIVE && rough_exp2(f32::NAN).is_nan());
    }

    #[test]
    fn rough_gelu_is_good_for_16_bits() {
        for i in -10_000..10_000 {
            let x = i as f32 / 1000.0;
            let (error, allowed) = ((rough_gelu(x) - gelu(x)).abs(), 1e-4 * x.abs().max(1.0));
            assert!(error < allowed, "gelu({x}): error {error}");
        }
        assert!(rough_gelu(f32::NAN).is_nan());
    }

    #[test]
    fn normal_cdf_is_close() {
        for i in -10_000..10_000 {
            let x = i as f32 / 1000.0;
            let expected = 0.5 * libm::erfc(-f64::from(x) * std::f64::consts::FRAC_1_SQRT_2);
            let error = (f64::from(normal_cdf(x)) - expected).abs();
            assert!(error < 2e-7, "Φ({x}): error {error}");
        }
    }
}
