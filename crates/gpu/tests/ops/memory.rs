//! The planned arena against what a run takes, memory that is not there, and what is given back.

use calotype_tensor::{
    Activation, Attention, Backend, Conv2d, Error, Memory, MemoryPlan, ParamKind, Precision, Result, Shape,
};

use crate::setup::{backend, backends, device};

/// Some of every kind of operation, with tensors that outlive others.
pub(crate) fn network<B: Backend>(b: &B) -> Result<B::Tensor> {
    let zeros = |shape: &[usize]| vec![0.01; shape.iter().product()];
    let param = |name: &str, kind, shape: &[usize]| b.param(name, kind, Shape::new(shape)?, &zeros(shape));
    let weight = param("w", ParamKind::Conv, &[16, 8, 3, 3])?;
    let narrow = param("n", ParamKind::Conv, &[8, 24, 3, 3])?;
    let doubled = param("d", ParamKind::UpsampledConv, &[8, 16, 3, 3])?;
    let (gamma, beta) = (param("g", ParamKind::Vector, &[16])?, param("b", ParamKind::Vector, &[16])?);
    let gates = param("e", ParamKind::Linear, &[64, 16])?;
    let back = param("f", ParamKind::Linear, &[16, 32])?;
    let table = param("t", ParamKind::Table, &[5, 16])?;
    let x = b.from_f32([2, 20, 20, 8].into(), zeros(&[2, 20, 20, 8]))?;
    let h = b.conv2d(&x, &weight, None, None, Conv2d::padded(1))?;
    let h = b.group_norm(&h, &gamma, &beta, 4, 1e-5, Activation::Silu)?;
    let sequence = b.reshape(&h, [2, 400, 16].into())?;
    let words = b.embedding(&table, &[1, 2, 3, 4], 2)?;
    let attention = Attention { heads: 2, causal: false };
    let sequence = b.add(&sequence, &b.attention(&sequence, &words, &words, attention)?)?;
    let inner = b.linear_geglu(&b.layer_norm(&sequence, &gamma, &beta, 1e-5)?, &gates, None)?;
    let h = b.reshape(&b.linear(&inner, &back, None, Some(&sequence), Activation::None)?, [2, 20, 20, 16].into())?;
    let joined = b.concat(&h, &x)?;
    let small = b.conv2d(&joined, &narrow, None, None, Conv2d { stride: 2, ..Conv2d::padded(1) })?;
    let small = b.concat(&small, &b.scale(&small, 2.0)?)?;
    b.upsample_conv2d(&small, &doubled, None)
}

#[test]
fn a_run_takes_its_planned_arena() -> Result<()> {
    for (name, _, gpu) in backends() {
        let plan = MemoryPlan::new(&gpu);
        network(&plan)?;
        gpu.reserve(plan.arena_bytes())?;
        assert_eq!(gpu.arena(), (1, plan.arena_bytes()));
        let y = network(&gpu)?;
        assert_eq!(gpu.arena(), (1, plan.arena_bytes()), "{name}: all of it is in the arena");
        let truth = network(&calotype_tensor::reference::Reference::<f32>::new())?;
        let error = gpu.to_f32(&y)?.iter().zip(truth.data()).map(|(y, x)| (y - x).abs()).fold(0.0, f32::max);
        let greatest = truth.data().iter().copied().fold(0.0, f32::max);
        assert!(error < 4e-3 * greatest, "{name}: error {error} of {greatest}");
        // Nothing is given back that is in use.
        gpu.trim();
        assert_eq!(gpu.arena().0, 1);
        drop(y);
        gpu.trim();
        assert_eq!(gpu.arena(), (0, 0));
    }
    Ok(())
}

#[test]
fn memory_that_is_not_there_is_an_error() -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    let gpu = backend(device, Precision::F32)?;
    assert!(matches!(gpu.reserve(1 << 50), Err(Error::OutOfMemory { needed }) if needed == 1 << 50));
    let x = gpu.from_f32([1, 1, 1, 1].into(), vec![1.0])?;
    let pixel = gpu.param("w", ParamKind::Conv, [1, 1, 1, 1].into(), &[1.0])?;
    let padded = gpu.conv2d(&x, &pixel, None, None, Conv2d::padded(1 << 22));
    assert!(matches!(padded, Err(Error::OutOfMemory { .. })));
    // What is there can still be used.
    assert_eq!(gpu.to_f32(&gpu.add(&x, &x)?)?, [2.0]);
    gpu.synchronize()
}
