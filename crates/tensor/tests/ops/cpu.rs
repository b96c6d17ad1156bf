//! The CPU backend with every instruction set that this machine has.

use calotype_tensor::{
    Backend, Precision, Result,
    cases::{self, Case, Op, Values},
    cpu::{Convolution, Cpu, CpuOptions, Isa},
};

use crate::{
    agreement::{agrees, agrees_within},
    truth::{TRUTHS, distance, widen},
};

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
    backends(2)?.iter().for_each(|(name, cpu)| agrees(name, cpu));
    Ok(())
}

/// F(4 × 4, 3 × 3) has about 5 times the error of the direct method (measured on sums of 2304 products: 1.4e-6 of the result, against
/// 2.9e-7); the table's tolerance has room for half of that.
const WINOGRAD: f64 = 2.0;

#[test]
fn winograd_agrees_with_the_reference() -> Result<()> {
    for isa in Isa::available() {
        agrees_within(&format!("cpu {isa}, Winograd"), &by_winograd(2, isa)?, WINOGRAD);
    }
    Ok(())
}

/// With elements of 16 bits the products are in `f32`, so that what is left is the rounding of inputs and results.
#[test]
fn winograd_in_16_bits_is_as_exact_as_the_direct_method() -> Result<()> {
    for isa in Isa::available() {
        for precision in [Precision::BF16, Precision::F16] {
            for truth in TRUTHS.iter().filter(|truth| matches!(truth.case.op, Op::Conv2d { .. })) {
                let error = |convolution| {
                    let options = CpuOptions { threads: 2, isa: Some(isa), precision, convolution };
                    let cpu = Cpu::with_options(options)?;
                    let y = truth.case.forward(&cpu, &truth.case.upload(&cpu, &truth.inputs)?)?;
                    Ok(distance(&widen(&cpu.to_f32(&y)), truth.results[0].value.data()))
                };
                let [direct, winograd] = [error(Convolution::Direct)?, error(Convolution::Winograd)?];
                let case = &truth.case;
                assert!(winograd <= direct + 1e-4, "{isa}, {precision}, {case}: {winograd:.1e}, directly {direct:.1e}");
            }
        }
    }
    Ok(())
}

/// The bits of the result and of all gradients.
fn bits(cpu: &Cpu, case: &Case) -> Result<Vec<Vec<u32>>> {
    let inputs = case.upload(cpu, &case.inputs(1))?;
    let y = case.forward(cpu, &inputs)?;
    let dy = Values::Uniform { low: -1.0, high: 2.0 }.draw(2, 0, cpu.shape(&y).count());
    let mut results = case.backward(cpu, &inputs, &cpu.from_f32(cpu.shape(&y), dy)?)?;
    results.push(y);
    Ok(results.iter().map(|x| cpu.to_f32(x).into_iter().map(f32::to_bits).collect()).collect())
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
    Ok(())
}
