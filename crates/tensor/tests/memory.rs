//! Memory: the arena that is found before a run against what the run takes, what is given back, and what is not there.

use calotype_tensor::{
    Activation, Attention, Backend, BackendOptions, Conv2d, Device, Error, Memory, MemoryPlan, ParamData, ParamKind,
    Precision, Result, Shape,
    cpu::{Convolution, Cpu, CpuDevice, CpuOptions, Isa},
    reference::ReferenceDevice,
};

/// Some of every kind of operation, with tensors that outlive others.
fn network<B: Backend>(b: &B) -> Result<B::Tensor> {
    let zeros = |shape: &[usize]| vec![0.01; shape.iter().product()];
    let param = |name: &str, kind, shape: &[usize]| b.param(name, kind, Shape::new(shape)?, &zeros(shape));
    let weight = param("w", ParamKind::Conv, &[64, 32, 3, 3])?;
    let narrow = param("n", ParamKind::Conv, &[32, 96, 3, 3])?;
    let doubled = param("d", ParamKind::UpsampledConv, &[32, 64, 3, 3])?;
    let (gamma, beta) = (param("g", ParamKind::Vector, &[64])?, param("b", ParamKind::Vector, &[64])?);
    let gates = param("e", ParamKind::Linear, &[256, 64])?;
    let back = param("f", ParamKind::Linear, &[64, 128])?;
    let x = b.from_f32([2, 40, 40, 32].into(), zeros(&[2, 40, 40, 32]))?;
    let h = b.conv2d(&x, &weight, None, None, Conv2d::padded(1))?;
    let h = b.group_norm(&h, &gamma, &beta, 32, 1e-5, Activation::Silu)?;
    let sequence = b.reshape(&h, [2, 1600, 64].into())?;
    let attention = Attention { heads: 2, causal: false };
    let sequence = b.add(&sequence, &b.attention(&sequence, &sequence, &sequence, attention)?)?;
    let inner = b.linear_geglu(&b.layer_norm(&sequence, &gamma, &beta, 1e-5)?, &gates, None)?;
    let h = b.reshape(&b.linear(&inner, &back, None, Some(&sequence), Activation::None)?, [2, 40, 40, 64].into())?;
    let joined = b.concat(&h, &x)?;
    let small = b.conv2d(&joined, &narrow, None, None, Conv2d { stride: 2, ..Conv2d::padded(1) })?;
    let small = b.concat(&small, &b.scale(&small, 2.0)?)?;
    b.upsample_conv2d(&small, &doubled, None)
}

#[test]
fn a_run_takes_its_arena_and_little_else() -> Result<()> {
    for precision in [Precision::F32, Precision::BF16, Precision::F16, Precision::Int8] {
        for isa in Isa::available() {
            let options = CpuOptions { isa: Some(isa), threads: 2, precision, convolution: Convolution::Direct };
            let cpu = Cpu::with_options(options)?;
            let plan = MemoryPlan::new(&cpu);
            network(&plan)?;
            cpu.reserve(plan.arena_bytes())?;
            network(&cpu)?;
            let (activations, outside) = (plan.arena_bytes(), cpu.outside_arena());
            // The least that is in use at a time: the input and output of the product before the gates.
            let least = 2 * 1600 * (64 + 128) * precision.activations().size();
            assert!((least..=20 * least).contains(&activations), "{isa} {precision}: an arena of {activations} bytes");
            // Each of two threads holds sums of products: as many tiles as the widest instruction set has. Blocks are up to an eighth larger.
            let own = 2 * (5 << 19);
            assert!(outside <= plan.param_bytes() * 9 / 8 + own, "{isa} {precision}: {outside} bytes outside of it");
            let without = Cpu::with_options(options)?;
            network(&without)?;
            assert!(without.outside_arena() > outside + activations / 2, "{isa} {precision}");
        }
    }
    Ok(())
}

#[test]
fn any_device_can_be_planned() -> Result<()> {
    let backend = ReferenceDevice::<f32>::new().backend(BackendOptions::default())?;
    let plan = MemoryPlan::new(&backend);
    let x = plan.tensor([10, 100].into());
    let weight = plan.param("w", ParamKind::Linear, [50, 100].into(), &vec![0.0; 5000])?;
    let y = plan.linear(&x, &weight, None, None, Activation::None)?;
    assert_eq!((plan.param_bytes(), plan.arena_bytes()), (4 * 5000, 4 * (1000 + 500)));
    // Where the input was there is room for two more of the result's size.
    drop(x);
    let more = [plan.scale(&y, 2.0)?, plan.reshape(&y, [5, 100].into())?, plan.add(&y, &y)?];
    assert_eq!(plan.arena_bytes(), 4 * (1000 + 500));
    assert_eq!(more.map(|x| plan.shape(&x)), [[10, 50].into(), [5, 100].into(), [10, 50].into()]);
    plan.concat(&y, &y)?;
    assert_eq!(plan.arena_bytes(), 4 * (1000 + 500));
    assert!(plan.add(&y, &plan.tensor([1].into())).is_err());
    network(&MemoryPlan::new(&backend)).map(drop)
}

/// What two threads hold for themselves: 64 points of 64 tiles, inputs of 256 channels and the sums of a panel of at most 64 columns.
const TILES: usize = 2 * 64 * 64 * (256 + 64) * 4;

#[test]
fn transformed_weights_are_part_of_the_plan() -> Result<()> {
    for precision in [Precision::F32, Precision::BF16] {
        let options = CpuOptions { threads: 2, precision, convolution: Convolution::Winograd, ..CpuOptions::default() };
        let cpu = Cpu::with_options(options)?;
        // 64 points of 256 by 256 channels are 16 MiB, of 36 points 9 MiB.
        let plan = MemoryPlan::new(&cpu);
        convolve(&plan)?;
        let tensors = 2 * 64 * 64 * 256 * precision.activations().size();
        assert!(plan.arena_bytes() > tensors + (8 << 20), "{precision}: {}", plan.arena_bytes());
        cpu.reserve(plan.arena_bytes())?;
        convolve(&cpu)?;
        let outside = cpu.outside_arena();
        assert!(outside <= plan.param_bytes() * 9 / 8 + TILES, "{precision}: {outside} bytes outside the arena");
    }
    Ok(())
}

fn convolve<B: Backend>(b: &B) -> Result<()> {
    let weight = Shape::from([256, 256, 3, 3]);
    let weight = b.param("w", ParamKind::Conv, weight, &vec![0.1; weight.count()])?;
    let x = Shape::from([1, 64, 64, 256]);
    b.conv2d(&b.from_f32(x, vec![0.1; x.count()])?, &weight, None, None, Conv2d::padded(1)).map(drop)
}

#[test]
fn free_memory_is_given_back() -> Result<()> {
    let cpu = Cpu::new(1)?;
    let run = || network(&cpu).map(|_| cpu.outside_arena());
    let first = run()?;
    let again = run()?;
    // Blocks are recycled; only the parameters, which are gone too, may be of other sizes.
    assert_eq!(again, first);
    cpu.trim();
    assert_eq!(run()?, 2 * first);
    // A reserved arena takes their place, and goes when nothing is in it.
    cpu.trim();
    cpu.reserve(64 << 20)?;
    assert_eq!(run()?, 2 * first);
    let kept = cpu.from_f32([1].into(), vec![2.0])?;
    cpu.trim();
    assert_eq!((run()?, cpu.to_f32(&kept)?), (2 * first, vec![2.0]));
    drop(kept);
    cpu.trim();
    assert_eq!(run()?, 3 * first);
    Ok(())
}

/// As many zeros as nobody has memory for.
struct Zeros(usize);

impl ParamData for Zeros {
    fn count(&self) -> usize {
        self.0
    }

    fn read(&self, _start: usize, to: &mut [f32]) -> Result<()> {
        to.fill(0.0);
        Ok(())
    }
}

#[test]
fn memory_that_is_not_there_is_an_error() -> Result<()> {
    fn needed<T>(result: Result<T>) -> usize {
        match result.map(drop) {
            Err(Error::OutOfMemory { needed }) => needed,
            other => panic!("{other:?}, expected that memory is out"),
        }
    }
    // 64 Ti elements: more than a processor addresses.
    const SIDE: usize = 1 << 23;
    for precision in Precision::ALL {
        let device = CpuDevice::new(Default::default())?;
        let cpu = device.backend(BackendOptions::in_precision(precision))?;
        let x = cpu.from_f32([1, 1, 1, 1].into(), vec![1.0])?;
        let pixel = cpu.param("w", ParamKind::Conv, [1, 1, 1, 1].into(), &[1.0])?;
        let size = precision.activations().size();
        let padded = needed(cpu.conv2d(&x, &pixel, None, None, Conv2d::padded(SIDE / 2)));
        assert!(padded >= SIDE * SIDE * size, "{precision}: {padded}");
        for (kind, shape) in [
            (ParamKind::Linear, Shape::from([SIDE, SIDE])),
            (ParamKind::Table, [SIDE, SIDE].into()),
            (ParamKind::Vector, [SIDE * SIDE].into()),
            (ParamKind::Conv, [SIDE, SIDE, 1, 1].into()),
            (ParamKind::UpsampledConv, [SIDE, SIDE / 8, 3, 3].into()),
        ] {
            // In bytes 64 TiB, which may just be there.
            if precision != Precision::Int8 || kind == ParamKind::Vector {
                assert!(needed(cpu.param("p", kind, shape, &Zeros(shape.count()))) > 1 << 46, "{precision}, {kind:?}");
            }
        }
        assert_eq!(needed(cpu.reserve(1 << 50)), 1 << 50);
        // What is there can still be used.
        assert_eq!(cpu.to_f32(&cpu.add(&x, &x)?)?, [2.0]);
        let error = cpu.reserve(1 << 50).map_err(|e| e.to_string());
        assert_eq!(error, Err("out of memory: 1125899906842624 more bytes can't be had".into()));
    }
    Ok(())
}
