//! Standard normal numbers from uniform ones, by Box & Muller (1958), to the last bit as torch computes them.
//!
//! Torch fills f32 tensors on x86 sixteen at a time with the single-precision logarithm, sine and cosine of
//! S. Moshier's Cephes library (`logf`, `sinf`, `cosf`), with multiply-adds fused where its compiler fuses them:
//! each `mul_add` below is one rounding there too, and the order of operations matters.

/// How many numbers make one block: eight radii, then eight angles.
pub(crate) const BLOCK: usize = 16;

/// Turns 16 uniform numbers of `[0, 1)` into 16 normal ones: `out[i]` and `out[i + 8]` from `in[i]` and `in[i + 8]`.
pub(crate) fn box_muller(block: &mut [f32; BLOCK]) {
    let (radii, angles) = block.split_at_mut(BLOCK / 2);
    for (u1, u2) in radii.iter_mut().zip(angles) {
        let radius = (-2.0 * log(1.0 - *u1)).sqrt();
        let (sin, cos) = sin_cos(std::f32::consts::TAU * *u2);
        (*u1, *u2) = (radius * cos, radius * sin);
    }
}

/// The double-precision pair torch uses for fewer than 16 numbers: the one to return, and the one to keep for the next call.
pub(crate) fn box_muller_f64(u1: f64, u2: f64) -> (f64, f64) {
    let radius = (-2.0 * (-u2).ln_1p()).sqrt();
    let theta = std::f64::consts::TAU * u1;
    (radius * theta.cos(), radius * theta.sin())
}

/// The coefficients are Cephes' own, digit for digit, though f32 holds fewer.
#[allow(clippy::excessive_precision)]
const LOG: [f32; 9] = [
    7.037_683_629_2e-2,
    -1.151_461_031_0e-1,
    1.167_699_874_0e-1,
    -1.242_014_084_6e-1,
    1.424_932_278_7e-1,
    -1.666_805_766_5e-1,
    2.000_071_476_5e-1,
    -2.499_999_399_3e-1,
    3.333_333_117_4e-1,
];

/// Cephes `logf` for x in (0, 1]: `x = m · 2^e` with m in `[sqrt(½), sqrt(2))`, then a polynomial in `m − 1`.
#[allow(clippy::excessive_precision)]
fn log(x: f32) -> f32 {
    let bits = x.to_bits();
    let mut e = ((bits >> 23) as i32 - 126) as f32;
    let mut m = f32::from_bits((bits & 0x007f_ffff) | 0x3f00_0000);
    if m < std::f32::consts::FRAC_1_SQRT_2 {
        e -= 1.0;
        m = (m - 1.0) + m;
    } else {
        m -= 1.0;
    }
    let square = m * m;
    let poly = LOG.iter().fold(0.0f32, |y, &c| y.mul_add(m, c)) * m;
    // ln 2 in two parts, the first with few bits: 0.693359375 − 0.000212194440.
    let y = poly.mul_add(square, e * -2.121_944_40e-4);
    let y = square.mul_add(-0.5, y);
    e.mul_add(0.693_359_375, m + y)
}

/// Cephes `sinf` and `cosf` for x ≥ 0: reduced by multiples of π/4 in three parts, then one polynomial for each octant pair.
#[allow(clippy::excessive_precision)]
fn sin_cos(x: f32) -> (f32, f32) {
    let octant = ((x * 1.273_239_544_735_16) as i32 + 1) & !1;
    let j = octant as f32;
    let x = j.mul_add(-0.785_156_25, x);
    let x = j.mul_add(-2.418_756_484_985_351_562_5e-4, x);
    let x = j.mul_add(-3.774_894_977_445_941_08e-8, x);
    let z = x * x;

    let y = 2.443_315_711_809_948e-5_f32.mul_add(z, -1.388_731_625_493_765e-3);
    let y = y.mul_add(z, 4.166_664_568_298_827e-2) * z;
    let cos = y.mul_add(z, -(z * 0.5)) + 1.0;

    let y = (-1.951_529_589_1e-4_f32).mul_add(z, 8.332_160_873_6e-3);
    let y = y.mul_add(z, -1.666_665_461_1e-1) * z;
    let sin = y.mul_add(x, x);

    let (sin, cos) = if octant & 2 == 0 { (sin, cos) } else { (cos, sin) };
    let sin = if octant & 4 == 0 { sin } else { -sin };
    let cos = if (octant - 2) & 4 == 0 { -cos } else { cos };
    (sin, cos)
}
