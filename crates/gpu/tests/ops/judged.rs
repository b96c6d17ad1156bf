//! What a backend takes, refuses, and does at the edge of its numbers.

use calotype_gpu::{Faults, Gpu, GpuDevice, GpuDeviceOptions, Tier};
use calotype_tensor::{
    Activation, Attention, Backend, BackendOptions, CancelToken, Conv2d, Device, Error, ParamKind, Precision, Result,
    Shape, cases,
};

use crate::setup::{backend, backends, device, devices, open};

#[test]
fn precisions_that_a_card_lacks_are_refused() {
    let Some(device) = device() else { return };
    for precision in [Precision::BF16, Precision::Int8] {
        let error = backend(device, precision).err().unwrap();
        assert!(matches!(&error, Error::Device { .. }), "{error}");
        assert!(error.to_string().contains("take f16 or f32"), "{error}");
    }
    assert!(backend(device, device.fastest_precision()).is_ok());
    assert!(device.name().starts_with("gpu ("));
}

#[test]
fn adapters_are_listed_and_what_is_not_there_is_an_error() {
    let adapters = GpuDevice::adapters();
    let refused = GpuDevice::new(GpuDeviceOptions { adapter: Some(1000), ..GpuDeviceOptions::default() });
    let error = refused.err().unwrap().to_string();
    assert!(error.contains(&format!("there is no adapter 1000, only {}", adapters.len())), "{error}");
    // A driver on the processor is not a card.
    if adapters.iter().all(|adapter| adapter.software) {
        let error = GpuDevice::new(GpuDeviceOptions::default()).err().unwrap();
        assert!(matches!(error, Error::Device { .. }) && error.to_string().contains("install"), "{error}");
    }
    if let Some(device) = device() {
        assert!(adapters.iter().any(|adapter| device.name().contains(&adapter.name) && adapter.lacks.is_none()));
        assert!(device.memory().is_some_and(|bytes| bytes > 1 << 28), "{:?}", device.memory());
        if let Some(free) = device.free_memory() {
            assert!(free > 1 << 20 && Some(free) <= device.memory(), "{free} bytes");
        }
    }
    assert_eq!("khr".parse(), Ok(Tier::Khr));
    assert!("nv2".parse::<Tier>().unwrap_err().contains("expected plain or khr"));
}

/// The case with input `index` of another shape is refused, never a panic; what fits is computed.
#[test]
fn misshapen_inputs_are_errors() -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    let gpu = backend(device, Precision::F32)?;
    let mut refused = 0;
    for case in cases::table().iter().filter(|case| case.inputs.iter().all(|input| input.shape.count() < 2000)) {
        for index in 0..case.inputs.len() {
            let mut shape = case.inputs[index].shape.to_vec();
            shape.insert(0, 2);
            let Ok(shape) = Shape::new(&shape) else { continue };
            let mut case = case.clone();
            case.inputs[index].shape = shape;
            let run = |b: &Gpu| b.to_f32(&case.forward(b, &case.upload(b, &case.inputs(1))?)?);
            refused += usize::from(run(&gpu).is_err());
        }
    }
    assert!(refused > 50, "{refused}");
    Ok(())
}

#[test]
fn weights_and_tensors_of_another_kind_are_refused() -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    let gpu = backend(device, Precision::F32)?;
    let x = gpu.from_f32([1, 2, 2, 4].into(), vec![1.0; 16])?;
    let shape = Shape::from([4, 4, 3, 3]);
    let upsampled = gpu.param("w", ParamKind::UpsampledConv, shape, &vec![1.0; 144])?;
    let conv = gpu.param("w", ParamKind::Conv, shape, &vec![1.0; 144])?;
    let table = gpu.param("t", ParamKind::Table, [4, 4].into(), &vec![1.0; 16])?;
    assert!(gpu.conv2d(&x, &upsampled, None, None, Conv2d::padded(1)).is_err());
    assert!(gpu.linear(&x, &table, None, None, Activation::None).is_err());
    assert!(gpu.embedding(&conv, &[0], 1).is_err());
    assert!(gpu.param("w", ParamKind::UpsampledConv, [4, 4, 1, 1].into(), &vec![1.0; 16]).is_err());
    // A weight of any convolution does for one after upsampling.
    let [a, b] = [&conv, &upsampled].map(|weight| gpu.upsample_conv2d(&x, weight, None));
    assert_eq!(gpu.to_f32(&a?)?, gpu.to_f32(&b?)?);
    let wide = gpu.from_f32([1, 1, 1032].into(), vec![1.0; 1032])?;
    assert!(gpu.attention(&wide, &wide, &wide, Attention { heads: 1, causal: false }).is_err());
    // Of another device.
    let other = backend(&open(Tier::Plain, Faults::default())?, Precision::F32)?;
    assert!(other.add(&x, &x).is_err());
    if let Ok(narrow) = backend(device, Precision::F16) {
        assert!(narrow.add(&x, &x).err().unwrap().to_string().contains("another backend's"));
    }
    Ok(())
}

/// What is not a number stays so, and f16 ends at its greatest number.
#[test]
fn numbers_at_the_edge() -> Result<()> {
    for (name, precision, gpu) in backends() {
        let x = gpu.from_f32([1, 1, 2, 2].into(), vec![1.0, f32::NAN, 2.0, 3.0])?;
        let vector = |value: f32| gpu.param("p", ParamKind::Vector, [2].into(), &[value; 2]);
        let q = gpu.reshape(&x, [1, 2, 2].into())?;
        for (what, y) in [
            ("silu", gpu.activation(&x, Activation::Silu)?),
            ("gelu", gpu.activation(&x, Activation::Gelu)?),
            ("exp", gpu.exp(&x)?),
            ("abs", gpu.abs(&x)?),
            ("scale", gpu.scale(&x, 2.0)?),
            ("clamp", gpu.clamp(&x, -1.0, 1.0)?),
            ("layer_norm", gpu.layer_norm(&x, &vector(1.0)?, &vector(0.0)?, 1e-5)?),
            ("group_norm", gpu.group_norm(&x, &vector(1.0)?, &vector(0.0)?, 1, 1e-5, Activation::Silu)?),
            ("attention", gpu.attention(&q, &q, &q, Attention { heads: 1, causal: false })?),
        ] {
            assert!(gpu.to_f32(&y)?[1].is_nan(), "{name}: {what}");
        }
        let large = gpu.from_f32([2].into(), vec![6e4, -6e4])?;
        let (greatest, exp) = (gpu.to_f32(&gpu.scale(&large, 10.0)?)?, gpu.to_f32(&gpu.exp(&large)?)?);
        match precision {
            Precision::F16 => assert_eq!((greatest, exp), (vec![65504.0, -65504.0], vec![65504.0, 0.0])),
            _ => assert_eq!((greatest, exp), (vec![6e5, -6e5], vec![f32::INFINITY, 0.0])),
        }
        // Where overflow is to be seen, it is no number, and the greatest number is one.
        let device = devices().iter().find(|device| name.starts_with(device.tier().id())).unwrap();
        let options = BackendOptions { shows_overflow: true, ..BackendOptions::in_precision(precision) };
        let shows = device.backend(options)?;
        let edge = shows.from_f32([1, 1, 1, 4].into(), vec![65504.0, -65504.0, 40000.0, f32::NAN])?;
        let twice = shows.to_f32(&shows.scale(&edge, 2.0)?)?;
        let same = shows.to_f32(&shows.scale(&edge, 1.0)?)?;
        let weight = shows.param("w", ParamKind::Conv, [4, 4, 1, 1].into(), &[1.0; 16])?;
        let ones = shows.from_f32([1, 1, 1, 4].into(), vec![20000.0; 4])?;
        let sum = shows.to_f32(&shows.conv2d(&ones, &weight, None, None, Conv2d::padded(0))?)?;
        match precision {
            Precision::F16 => {
                assert!(twice.iter().chain(&sum).all(|x| x.is_nan()), "{name}: {twice:?} {sum:?}");
                assert!(same[..3] == [65504.0, -65504.0, 40000.0] && same[3].is_nan(), "{name}: {same:?}");
            }
            _ => assert_eq!((&twice[..2], &sum[..]), (&[131_008.0, -131_008.0][..], &[80_000.0; 4][..])),
        }
        // One large score takes all the weight.
        let hot: Vec<f32> = (0..40 * 8).map(|i| if i % 8 == i / 8 % 8 { 1e4 } else { 0.0 }).collect();
        let hot = gpu.from_f32([1, 40, 8].into(), hot)?;
        let values: Vec<f32> = (0..40 * 8).map(|i| (i / 8 % 8) as f32 + 1.0).collect();
        let v = gpu.from_f32([1, 40, 8].into(), values.clone())?;
        let y = gpu.to_f32(&gpu.attention(&hot, &hot, &v, Attention { heads: 1, causal: true })?)?;
        assert!(y.iter().zip(&values).all(|(y, v)| (y - v).abs() <= 1e-3 * v), "{name}: {y:?}");
    }
    Ok(())
}

#[test]
fn a_cancelled_token_stops_operations_and_reading() -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    let cancel = CancelToken::new();
    let gpu = device.backend(BackendOptions { cancel: cancel.clone(), ..BackendOptions::default() })?;
    let x = gpu.from_f32([4].into(), vec![1.0; 4])?;
    cancel.cancel();
    assert!(matches!(gpu.add(&x, &x), Err(Error::Cancelled)));
    assert!(matches!(gpu.to_f32(&x), Err(Error::Cancelled)));
    assert!(matches!(gpu.param("p", ParamKind::Vector, [1].into(), &[1.0]), Err(Error::Cancelled)));
    // What it holds can be used by another token.
    assert_eq!(<GpuDevice as Device>::with_cancel(&gpu, CancelToken::new()).to_f32(&x)?, [1.0; 4]);
    Ok(())
}
