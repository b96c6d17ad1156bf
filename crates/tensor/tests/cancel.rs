//! Cancelling: operations and loads of every device stop, and nothing else does.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use calotype_tensor::{
    Activation, Attention, Backend, BackendOptions, CancelToken, Conv2d, Device, Error, ParamData, ParamKind,
    Precision, Result, Shape,
    cpu::{Cpu, CpuDevice, Tensor},
    reference::ReferenceDevice,
};

/// A backend that `cancel` stops, and one of the same device that nothing does.
fn backends<D: Device>(device: &D, precision: Precision) -> Result<(CancelToken, D::Backend, D::Backend)> {
    let cancel = CancelToken::new();
    let stopped =
        device.backend(BackendOptions { cancel: cancel.clone(), ..BackendOptions::in_precision(precision) })?;
    Ok((cancel, stopped, device.backend(BackendOptions::in_precision(precision))?))
}

fn is_cancelled<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Cancelled))
}

fn operations_stop<D: Device>(device: &D, precision: Precision) -> Result<()> {
    let (cancel, stopped, runs) = backends(device, precision)?;
    let ones = |shape: &[usize]| vec![1.0; shape.iter().product()];
    let weight = |b: &D::Backend| b.param("w", ParamKind::Conv, [4, 4, 3, 3].into(), &ones(&[4, 4, 3, 3]));
    let doubled = |b: &D::Backend| b.param("d", ParamKind::UpsampledConv, [4, 4, 3, 3].into(), &ones(&[4, 4, 3, 3]));
    let matrix = |b: &D::Backend| b.param("m", ParamKind::Linear, [8, 4].into(), &ones(&[8, 4]));
    let vector = |b: &D::Backend| b.param("v", ParamKind::Vector, [4].into(), &ones(&[4]));
    let run = |b: &D::Backend, x: &_, sequence: &_, params: &[_; 4]| {
        let [weight, doubled, matrix, vector] = params;
        [
            b.conv2d(x, weight, None, None, Conv2d::padded(1)),
            b.upsample_conv2d(x, doubled, None),
            b.upsample_nearest_2x(x),
            b.linear(sequence, matrix, None, None, Activation::None),
            b.linear_geglu(sequence, matrix, None),
            b.attention(sequence, sequence, sequence, Attention { heads: 2, causal: false }),
            b.group_norm(x, vector, vector, 2, 1e-5, Activation::None),
            b.layer_norm(x, vector, vector, 1e-5),
        ]
    };
    let params = |b: &D::Backend| Ok([weight(b)?, doubled(b)?, matrix(b)?, vector(b)?]);
    for (b, expected) in [(&stopped, true), (&runs, false)] {
        let params = params(b)?;
        let x = b.from_f32([1, 2, 2, 4].into(), ones(&[16]))?;
        let sequence = b.reshape(&x, [1, 4, 4].into())?;
        assert!(run(b, &x, &sequence, &params).into_iter().all(|y| y.is_ok()), "{}: before", device.name());
        cancel.cancel();
        for (i, y) in run(b, &x, &sequence, &params).into_iter().enumerate() {
            assert_eq!(is_cancelled(y), expected, "{}: operation {i}", device.name());
        }
        assert_eq!(is_cancelled(weight(b)), expected, "{}: a parameter", device.name());
    }
    Ok(())
}

#[test]
fn operations_of_every_device_stop() -> Result<()> {
    let cpu = CpuDevice::new(Default::default())?;
    Precision::ALL.into_iter().try_for_each(|precision| operations_stop(&cpu, precision))?;
    operations_stop(&ReferenceDevice::<f32>::new(), Precision::F32)
}

/// Ones, that cancel when a part of them was read.
struct CancelsMidway<'a> {
    count: usize,
    read: AtomicUsize,
    cancel: &'a CancelToken,
}

impl ParamData for CancelsMidway<'_> {
    fn count(&self) -> usize {
        self.count
    }

    fn read(&self, _start: usize, to: &mut [f32]) -> Result<()> {
        if self.read.fetch_add(to.len(), Ordering::Relaxed) > self.count / 10 {
            self.cancel.cancel();
        }
        to.fill(1.0);
        Ok(())
    }
}

#[test]
fn a_parameter_is_not_read_to_its_end() -> Result<()> {
    let device = CpuDevice::new(Default::default())?;
    for precision in Precision::ALL {
        for (kind, shape) in [
            (ParamKind::Conv, [512, 512, 3, 3].as_slice()),
            (ParamKind::UpsampledConv, &[512, 512, 3, 3]),
            (ParamKind::Linear, &[2048, 2048]),
            (ParamKind::Table, &[2048, 2048]),
        ] {
            let (cancel, backend, _) = backends(&device, precision)?;
            let count = shape.iter().product();
            let data = CancelsMidway { count, read: AtomicUsize::new(0), cancel: &cancel };
            let shape = Shape::new(shape)?;
            assert!(is_cancelled(backend.param("p", kind, shape, &data)), "{precision}, {kind:?}");
            let read = data.read.into_inner();
            assert!(read < count / 2, "{precision}, {kind:?}: {read} of {count} elements were read");
        }
    }
    Ok(())
}

/// Runs an operation of about a second and cancels it on the way.
fn is_stopped_on_the_way(name: &str, backend: &Cpu, cancel: &CancelToken, run: impl Fn(&Cpu) -> Result<Tensor> + Sync) {
    let result = std::thread::scope(|scope| {
        let operation = scope.spawn(|| run(backend));
        std::thread::sleep(Duration::from_millis(20));
        cancel.cancel();
        operation.join().expect("no panic")
    });
    assert!(is_cancelled(result), "{name}");
}

#[test]
fn a_long_operation_stops_on_the_way() -> Result<()> {
    let device = CpuDevice::new(Default::default())?;
    for precision in [Precision::F32, Precision::BF16] {
        let zeros = |b: &Cpu, shape: &[usize]| {
            let shape = Shape::new(shape)?;
            b.from_f32(shape, vec![0.0; shape.count()])
        };
        let (cancel, b, _) = backends(&device, precision)?;
        let sequence = zeros(&b, &[1, 16384, 320])?;
        is_stopped_on_the_way("attention", &b, &cancel, |b| {
            b.attention(&sequence, &sequence, &sequence, Attention { heads: 8, causal: false })
        });
        let (cancel, b, _) = backends(&device, precision)?;
        let x = zeros(&b, &[1, 512, 512, 256])?;
        let weight = b.param("w", ParamKind::Conv, [256, 256, 3, 3].into(), &vec![0.0; 256 * 256 * 9])?;
        is_stopped_on_the_way("conv2d", &b, &cancel, |b| b.conv2d(&x, &weight, None, None, Conv2d::padded(1)));
    }
    Ok(())
}
