//! The reference's gradients against central differences in double precision.

use calotype_tensor::{
    Result,
    cases::{self, Case, Values},
    reference::Array,
};

use crate::truth::{TRUTH, upload, widen};

/// The step of the differences: their error is about its square, and that of rounding is `2^-53` divided by it.
const STEP: f64 = 1e-5;

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// `L = <y, dy>`.
fn loss(case: &Case, data: &[Vec<f64>], dy: &[f64]) -> Result<f64> {
    Ok(dot(case.forward(&TRUTH, &upload(case, data)?)?.data(), dy))
}

/// For each input, `<gradient, d>` against `(L(x + h d) - L(x - h d)) / 2h` in a random direction `d` of `±1`.
fn check(case: &Case) -> Result<Vec<String>> {
    let data: Vec<Vec<f64>> = case.inputs(1).iter().map(|data| widen(data)).collect();
    let inputs = upload(case, &data)?;
    let y = case.forward(&TRUTH, &inputs)?;
    let dy = widen(&Values::Uniform { low: -1.0, high: 2.0 }.draw(2, 0, y.shape().count()));
    let gradients = case.backward(&TRUTH, &inputs, &Array::new(y.shape(), dy.clone())?)?;
    assert_eq!(gradients.len(), case.inputs.len(), "{case}");

    let mut failures = Vec::new();
    for (i, (input, gradient)) in case.inputs.iter().zip(&gradients).enumerate() {
        assert_eq!(gradient.shape(), input.shape, "{case}: {}", input.name);
        let direction = widen(&Values::Grid { step: 2.0, limit: 1 }.draw(3, i as u64, input.shape.count()));
        let moved = |step: f64| {
            let mut data = data.clone();
            data[i].iter_mut().zip(&direction).for_each(|(x, d)| *x += step * d);
            loss(case, &data, &dy)
        };
        let numeric = (moved(STEP)? - moved(-STEP)?) / (2.0 * STEP);
        let analytic = dot(gradient.data(), &direction);
        // `<gradient, d>` is about as large as the gradient's norm; where that is 0 the rounding of L is left.
        let tolerance = 1e-6 * norm(gradient.data()) + 1e-10 * norm(&dy) * norm(y.data()).max(1.0);
        let error = (numeric - analytic).abs();
        if error.is_nan() || error > tolerance {
            failures.push(format!("{case}: d{}: {analytic} for {numeric}, ± {tolerance:.1e}", input.name));
        }
    }
    Ok(failures)
}

#[test]
fn gradients_are_finite_differences() {
    let failures: Vec<String> = cases::table()
        .iter()
        .flat_map(|case| check(case).unwrap_or_else(|error| vec![format!("{case}: {error}")]))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
