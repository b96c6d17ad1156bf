//! Times the hot operations of Stable Diffusion on the CPU backend, in GFLOP/s:
//! `cargo run --release -p calotype-tensor --example time_ops [-- FILTER] [--threads N] [--direct|--winograd] [--backward]`.
#![expect(clippy::print_stdout, reason = "a program that prints a table")]

use std::time::Instant;

use calotype_tensor::{
    Backend, Precision, cases,
    cpu::{Convolution, Cpu, CpuOptions},
};

fn main() -> Result<(), calotype_tensor::Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let threads =
        arguments.iter().position(|a| a == "--threads").and_then(|i| arguments.get(i + 1)?.parse().ok()).unwrap_or(0);
    let backward = arguments.iter().any(|a| a == "--backward");
    let filter = arguments.first().filter(|a| !a.starts_with("--") && Precision::ALL.iter().all(|p| p.id() != *a));
    let precision = Precision::ALL.into_iter().find(|p| arguments.iter().any(|a| a == p.id())).unwrap_or_default();
    let convolution = match () {
        () if arguments.iter().any(|a| a == "--direct") => Convolution::Direct,
        () if arguments.iter().any(|a| a == "--winograd") => Convolution::Winograd,
        () => Convolution::Auto,
    };
    let cpu = Cpu::with_options(CpuOptions { threads, precision, convolution, ..CpuOptions::default() })?;
    println!("{} threads, {}", cpu.threads(), cpu.isa());
    for case in cases::timing() {
        if filter.is_some_and(|f| !case.to_string().contains(f.as_str())) {
            continue;
        }
        let inputs = case.upload(&cpu, &case.inputs(1))?;
        let mut dy = case.forward(&cpu, &inputs)?;
        let mut times: Vec<f64> = Vec::new();
        let begin = Instant::now();
        while times.len() < 3 || (begin.elapsed().as_secs_f64() < 0.5 && times.len() < 50) {
            let recorded = if backward { Some(case.record(&cpu, &inputs)?) } else { None };
            let start = Instant::now();
            match recorded {
                Some(recorded) => drop(recorded.backward(&dy)?),
                None => dy = case.forward(&cpu, &inputs)?,
            }
            times.push(start.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2];
        // A gradient costs two products of the size of the forward pass.
        let flops = case.flops() * if backward { 2.0 } else { 1.0 };
        let rate = |seconds: f64| flops / seconds / 1e9;
        let (best, shape) = (rate(times[0]), cpu.shape(&dy));
        println!("{:8.2} ms {:7.1} GFLOP/s, at best {best:7.1}  {case} -> {shape}", 1e3 * median, rate(median));
    }
    Ok(())
}
