//! Every backend against the reference, forward and backward, on every case of the table.

use calotype_tensor::{Differentiable, Result, cases::Op, reference::Reference};

use crate::truth::{Expected, TRUTHS, Truth, distance, widen};

/// What is wrong with a result, if anything is.
fn fault<B: Differentiable>(backend: &B, got: &B::Tensor, expected: &Expected, factor: f64) -> Option<String> {
    let Expected { name, value, tolerance } = expected;
    let tolerance = factor * tolerance;
    if backend.shape(got) != value.shape() {
        return Some(format!("{name}: shape {}, expected {}", backend.shape(got), value.shape()));
    }
    let got = widen(&backend.to_f32(got));
    if let Some((got, truth)) = got.iter().zip(value.data()).find(|(got, _)| !got.is_finite()) {
        return Some(format!("{name}: an element is {got}, expected {truth}"));
    }
    let error = distance(&got, value.data());
    (error > tolerance).then(|| format!("{name}: error {error:.1e}, at most {tolerance:.1e}"))
}

fn faults<B: Differentiable>(backend: &B, truth: &Truth, convolutions: f64) -> Result<Vec<String>> {
    let case = &truth.case;
    let factor = if matches!(case.op, Op::Conv2d { .. } | Op::UpsampleConv2d { .. }) { convolutions } else { 1.0 };
    let inputs = case.upload(backend, &truth.inputs)?;
    let y = case.forward(backend, &inputs)?;
    let dy = backend.from_f32(backend.shape(&y), truth.dy.clone())?;
    let gradients = case.backward(backend, &inputs, &dy)?;
    assert_eq!(gradients.len() + 1, truth.results.len(), "{case}");
    let got = [y].into_iter().chain(gradients);
    Ok(got.zip(&truth.results).filter_map(|(got, expected)| fault(backend, &got, expected, factor)).collect())
}

/// Fails with a list of every result that is too far from the truth.
pub(crate) fn agrees<B: Differentiable>(name: &str, backend: &B) {
    agrees_within(name, backend, 1.0);
}

/// As [`agrees`], with the tolerance of convolutions multiplied.
pub(crate) fn agrees_within<B: Differentiable>(name: &str, backend: &B, convolutions: f64) {
    let faults: Vec<String> = TRUTHS
        .iter()
        .flat_map(|truth| {
            let faults = faults(backend, truth, convolutions).unwrap_or_else(|error| vec![error.to_string()]);
            faults.into_iter().map(|fault| format!("{}: {fault}", truth.case))
        })
        .collect();
    assert!(faults.is_empty(), "{name}: {} results are off\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn reference_in_single_precision() {
    agrees("reference f32", &Reference::<f32>::new());
}
