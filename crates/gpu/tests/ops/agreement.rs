//! Every case of the table, forward, against the reference.

use calotype_gpu::Gpu;
use calotype_tensor::{
    Attention, Backend, Op, Precision, Result, Shape,
    cases::{
        self, Case, Input, Role, Values,
        truth::{ROUNDING, Truth},
    },
};

use crate::setup::{backend, device, precisions};

/// Half a unit in the last place near 1, and how much looser arithmetic is.
fn exactness(precision: Precision) -> (f64, f64) {
    match precision {
        Precision::F16 => (0.5f64.powi(11), 2.0),
        _ => (ROUNDING, 2.0),
    }
}

fn fault(gpu: &Gpu, truth: &Truth, (rounding, looser): (f64, f64)) -> Result<Option<String>> {
    let Truth { case, inputs, results, .. } = truth;
    let y = case.forward(gpu, &case.upload(gpu, inputs)?)?;
    let expected = &results[0];
    if gpu.shape(&y) != expected.value.shape() {
        return Ok(Some(format!("shape {}, expected {}", gpu.shape(&y), expected.value.shape())));
    }
    Ok(expected.fault(&gpu.to_f32(&y)?, rounding, looser))
}

fn agrees(cases: &[Case]) {
    let Some(device) = device() else { return };
    for precision in precisions(device) {
        let gpu = backend(device, precision).unwrap();
        let faults: Vec<String> = cases
            .iter()
            .filter_map(|case| {
                let truth = Truth::new(case, false).unwrap();
                let fault = fault(&gpu, &truth, exactness(precision)).unwrap_or_else(|error| Some(error.to_string()));
                fault.map(|fault| format!("{case}: {fault}"))
            })
            .collect();
        assert!(faults.is_empty(), "{precision}: {} results are off\n{}", faults.len(), faults.join("\n"));
    }
}

#[test]
fn the_table_agrees_with_the_reference() {
    agrees(&cases::table());
}

/// The decoder's head, and a width that takes several chunks and is no multiple of four.
#[test]
fn wide_heads_agree_with_the_reference() {
    let attention = |[queries, keys]: [usize; 2], dim: usize, causal: bool| {
        let tensor = |name, length| Input {
            name,
            shape: Shape::from([1, length, dim]),
            role: Role::Tensor,
            values: Values::Uniform { low: -2.0, high: 2.0 },
        };
        let op = Op::Attention(Attention { heads: 1, causal });
        Case { op, inputs: vec![tensor("q", queries), tensor("k", keys), tensor("v", keys)] }
    };
    agrees(&[attention([37, 70], 512, false), attention([21, 40], 230, true)]);
}
