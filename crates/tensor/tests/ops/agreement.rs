//! Every backend against the reference, forward and backward, on every case of the table.

use calotype_tensor::{Differentiable, Result, reference::Reference};

use crate::truth::{Expected, ROUNDING, TRUTHS, Truth};

/// What a backend's number types and algorithms may cost in exactness.
#[derive(Clone, Copy)]
pub(crate) struct Exactness {
    /// Half a unit in the last place of the activations' type, near 1.
    pub(crate) rounding: f64,
    /// How many times more than sums in any order an algorithm rounds.
    pub(crate) looser: f64,
    /// Whether there are gradients.
    pub(crate) gradients: bool,
}

impl Exactness {
    pub(crate) const F32: Self = Self { rounding: ROUNDING, looser: 1.0, gradients: true };
}

/// What is wrong with a result, if anything is.
fn fault<B: Differentiable>(
    backend: &B,
    got: &B::Tensor,
    expected: &Expected,
    exactness: Exactness,
) -> Result<Option<String>> {
    let Expected { name, value, .. } = expected;
    if backend.shape(got) != value.shape() {
        return Ok(Some(format!("{name}: shape {}, expected {}", backend.shape(got), value.shape())));
    }
    Ok(expected.fault(&backend.to_f32(got)?, exactness.rounding, exactness.looser))
}

fn faults<B: Differentiable + Clone>(backend: &B, truth: &Truth, exactness: Exactness) -> Result<Vec<String>> {
    let case = &truth.case;
    let inputs = case.upload(backend, &truth.inputs)?;
    let y = case.forward(backend, &inputs)?;
    let mut got = vec![y];
    if exactness.gradients {
        let dy = backend.from_f32(backend.shape(&got[0]), truth.dy.clone())?;
        got.extend(case.backward(backend, &inputs, &dy)?);
        assert_eq!(got.len(), truth.results.len(), "{case}");
    }
    let faults = got.iter().zip(&truth.results).map(|(got, expected)| fault(backend, got, expected, exactness));
    faults.filter_map(Result::transpose).collect()
}

/// Fails with a list of every result that is too far from the truth.
pub(crate) fn agrees<B: Differentiable + Clone>(name: &str, backend: &B, exactness: Exactness) {
    let faults: Vec<String> = TRUTHS
        .iter()
        .flat_map(|truth| {
            let faults = faults(backend, truth, exactness).unwrap_or_else(|error| vec![error.to_string()]);
            faults.into_iter().map(|fault| format!("{}: {fault}", truth.case))
        })
        .collect();
    assert!(faults.is_empty(), "{name}: {} results are off\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn reference_in_single_precision() {
    agrees("reference f32", &Reference::<f32>::new(), Exactness::F32);
}
