// The functions of activations, by formulas of our own: those of drivers differ in exactness.

// 2^n of a whole n within the exponents of f32.
fn power_of_two(n: F) -> F {
    return bitcast<F>((I(n) + I(127)) << U(23u));
}

// e^x to two units in the last place: x = n ln 2 + r, with a polynomial in r (Cephes, expf).
fn exponential(x: F) -> F {
    let bounded = clamp(x, F(-104.0), F(89.0));
    let n = floor(bounded * 1.44269504 + 0.5);
    let r = bounded - n * 0.693359375 + n * 2.12194440e-4;
    var p = F(1.9875691500e-4);
    p = p * r + 1.3981999507e-3;
    p = p * r + 8.3334519073e-3;
    p = p * r + 4.1665795894e-2;
    p = p * r + 1.6666665459e-1;
    p = p * r + 5.0000001201e-1;
    p = p * r * r + r + 1.0;
    // In two steps, as 2^n may lie outside of the exponents.
    let low = floor(n * 0.5);
    let y = p * power_of_two(low) * power_of_two(n - low);
    let nan = (bitcast<U>(x) & U(0x7fffffffu)) > U(0x7f800000u);
    return select(y, x, nan);
}

// The normal distribution function: Press et al. 1992, "Numerical Recipes in C", section 6.2, `erfcc`.
fn normal_cdf(x: F) -> F {
    let z = abs(x) * 0.70710678;
    let t = 1.0 / (1.0 + 0.5 * z);
    var p = F(0.17087277);
    p = p * t - 0.82215223;
    p = p * t + 1.4885159;
    p = p * t - 1.135204;
    p = p * t + 0.27886807;
    p = p * t - 0.18628806;
    p = p * t + 0.09678418;
    p = p * t + 0.37409196;
    p = p * t + 1.0000237;
    p = p * t - 1.2655122;
    let tail = 0.5 * t * exponential(p - z * z);
    return select(tail, 1.0 - tail, x > F(0.0));
}

fn gelu(x: F) -> F {
    return x * normal_cdf(x);
}

fn swish(x: F, slope: f32) -> F {
    return x / (1.0 + exponential(-slope * x));
}

fn leaky_relu(x: F, slope: f32) -> F {
    return select(slope * x, x, x > F(0.0));
}

// By the number of `activation_code`.
fn activate(x: F, code: u32) -> F {
    switch code {
        case 1u: { return swish(x, 1.0); }
        case 2u: { return gelu(x); }
        case 3u: { return swish(x, 1.702); }
        case 4u: { return leaky_relu(x, 0.0); }
        case 5u: { return leaky_relu(x, 0.2); }
        case 6u: { return 1.0 / (1.0 + exponential(-x)); }
        default: { return x; }
    }
}
