//! A device that fails: every allocation, and every submission, is a typed error and no panic.

use calotype_gpu::{Faults, GpuDevice, Tier};
use calotype_tensor::{Backend, Error, Precision, Result};

use crate::{
    memory::network,
    setup::{backend, device, open},
};

/// A run with pauses, so that there are several submissions.
fn run(device: &GpuDevice) -> Result<Vec<f32>> {
    let gpu = backend(device, Precision::F32)?;
    let y = network(&gpu)?;
    gpu.synchronize()?;
    let z = network(&gpu)?;
    gpu.to_f32(&gpu.add(&y, &z)?)
}

#[test]
fn every_allocation_that_fails_is_an_error() -> Result<()> {
    if device().is_none() {
        return Ok(());
    }
    let whole = open(Tier::Plain, Faults::default())?;
    let expected = run(&whole)?;
    let allocations = whole.allocations();
    assert!(allocations > 20, "{allocations}");
    for n in 0..allocations {
        let device = open(Tier::Plain, Faults { allocation: Some(n), ..Faults::default() })?;
        let error = run(&device).err();
        assert!(matches!(error, Some(Error::OutOfMemory { .. })), "allocation {n}: {error:?}");
        // The device is whole: the next run has what it needs.
        assert_eq!(run(&device)?, expected, "after allocation {n}");
    }
    Ok(())
}

#[test]
fn a_device_that_is_lost_at_any_submission_is_an_error() -> Result<()> {
    if device().is_none() {
        return Ok(());
    }
    let whole = open(Tier::Plain, Faults::default())?;
    run(&whole)?;
    let submissions = whole.submissions();
    assert!(submissions > 1, "{submissions}");
    for n in 0..submissions {
        let device = open(Tier::Plain, Faults { submission: Some(n), ..Faults::default() })?;
        for again in 0..2 {
            let error = run(&device).err();
            assert!(matches!(error, Some(Error::Device { .. })), "submission {n}, run {again}: {error:?}");
        }
    }
    Ok(())
}
