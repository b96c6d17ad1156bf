//! Every case of the table, forward, against the reference.

use calotype_gpu::Gpu;
use calotype_tensor::{
    Backend, Precision, Result,
    cases::{
        self, Case,
        truth::{ROUNDING, Truth},
    },
};

use crate::{setup::backends, wide};

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
    let truths: Vec<Truth> = cases.iter().map(|case| Truth::new(case, false).unwrap()).collect();
    for (name, precision, gpu) in backends() {
        let faults: Vec<String> = truths
            .iter()
            .filter_map(|truth| {
                let fault = fault(&gpu, truth, exactness(precision)).unwrap_or_else(|error| Some(error.to_string()));
                fault.map(|fault| format!("{}: {fault}", truth.case))
            })
            .collect();
        assert!(faults.is_empty(), "{name}: {} results are off\n{}", faults.len(), faults.join("\n"));
    }
}

#[test]
fn the_table_agrees_with_the_reference() {
    agrees(&cases::table());
}

#[test]
fn wide_channels_agree_with_the_reference() {
    agrees(&wide::cases());
}
