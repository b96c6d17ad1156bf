//! The arena that is found before a run, against what the run takes.

use calotype_tensor::{
    Activation, Attention, Backend, Conv2d, Memory, MemoryPlan, ParamKind, Precision, Result, Shape,
    cpu::{Convolution, Cpu, CpuOptions, Isa},
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
