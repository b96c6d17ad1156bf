//! The CPU backend with every instruction set that this machine has.

use calotype_tensor::{
    Backend, Precision, Result,
    cases::{self, Case, Values},
    cpu::{Convolution, Cpu, CpuOptions, Isa},
};

use crate::agreement::{Exactness, agrees};

fn with_isa(threads: usize, isa: Isa) -> Result<Cpu> {
    Cpu::with_options(CpuOptions { threads, isa: Some(isa), ..CpuOptions::default() })
}

fn by_winograd(threads: usize, isa: Isa) -> Result<Cpu> {
    let convolution = Convolution::Winograd;
    Cpu::with_options(CpuOptions { threads, isa: Some(isa), convolution, ..CpuOptions::default() })
}

/// Backends of `threads` threads, one for each instruction set.
pub(crate) fn backends(threads: usize) -> Result<Vec<(String, Cpu)>> {
    let backend = |isa: Isa| Ok((format!("cpu {isa}, {threads} threads"), with_isa(threads, isa)?));
    Isa::available().into_iter().map(backend).collect()
}

#[test]
fn agrees_with_the_reference() -> Result<()> {
    backends(2)?.iter().for_each(|(name, cpu)| agrees(name, cpu, Exactness::F32));
    Ok(())
}

#[test]
fn winograd_agrees_with_the_reference() -> Result<()> {
    for isa in Isa::available() {
        let exactness = Exactness { looser: 2.0, ..Exactness::F32 };
        agrees(&format!("cpu {isa}, Winograd"), &by_winograd(2, isa)?, exactness);
    }
    Ok(())
}

/// Weights and activations in 16 bits: as exact as the rounding of inputs and results lets them be.
#[test]
fn narrow_elements_agree_with_the_reference() -> Result<()> {
    for isa in Isa::available() {
        for convolution in [Convolution::Direct, Convolution::Winograd] {
            for (precision, digits) in [(Precision::BF16, 9), (Precision::F16, 12)] {
                let options = CpuOptions { threads: 2, isa: Some(isa), precision, convolution };
                let exactness = Exactness { rounding: 0.5f64.powi(digits - 1), looser: 2.0, gradients: false };
                agrees(&format!("cpu {isa}, {precision}, {convolution:?}"), &Cpu::with_options(options)?, exactness);
            }
        }
    }
    Ok(())
}

/// Backends in mixed precision: none where the processor can't.
fn in_mixed_precision(threads: usize) -> Result<Vec<(String, Cpu)>> {
    let mut backends = Vec::new();
    for convolution in [Convolution::Direct, Convolution::Winograd] {
        let cpu = Cpu::with_options(CpuOptions { threads, convolution, ..CpuOptions::default() })?;
        match cpu.isa() {
            Isa::Avx512Bf16 => backends.push((format!("cpu, mixed, {convolution:?}"), cpu.in_mixed_precision()?)),
            _ => assert!(cpu.in_mixed_precision().is_err()),
        }
    }
    Ok(backends)
}

/// Gradients too are as exact as the rounding of factors lets them be.
#[test]
fn mixed_precision_agrees_with_the_reference() -> Result<()> {
    let exactness = Exactness { rounding: 0.5f64.powi(8), looser: 2.0, gradients: true };
    in_mixed_precision(2)?.iter().for_each(|(name, cpu)| agrees(name, cpu, exactness));
    Ok(())
}

/// The bits of the result and of all gradients.
fn bits(cpu: &Cpu, case: &Case) -> Result<Vec<Vec<u32>>> {
    let inputs = case.upload(cpu, &case.inputs(1))?;
    let y = case.forward(cpu, &inputs)?;
    let dy = Values::Uniform { low: -1.0, high: 2.0 }.draw(2, 0, cpu.shape(&y).count());
    let mut results = case.backward(cpu, &inputs, &cpu.from_f32(cpu.shape(&y), dy)?)?;
    results.push(y);
    results.iter().map(|x| Ok(cpu.to_f32(x)?.into_iter().map(f32::to_bits).collect())).collect()
}

#[test]
fn the_number_of_threads_changes_no_bit() -> Result<()> {
    for isa in Isa::available() {
        for [one, three] in [[with_isa(1, isa)?, with_isa(3, isa)?], [by_winograd(1, isa)?, by_winograd(3, isa)?]] {
            for case in cases::table() {
                assert_eq!(bits(&one, &case)?, bits(&three, &case)?, "{isa}: {case}");
            }
        }
    }
    for ((name, one), (_, three)) in in_mixed_precision(1)?.iter().zip(in_mixed_precision(3)?) {
        for case in cases::table() {
            assert_eq!(bits(one, &case)?, bits(&three, &case)?, "{name}: {case}");
        }
    }
    Ok(())
}
