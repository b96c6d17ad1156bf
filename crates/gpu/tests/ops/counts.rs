//! What a guided step and a decoding of Stable Diffusion v1.5 ask of a device: nothing is computed, and no weights are read.
//!
//! `UPDATE_GPU_TABLES=1` writes the table anew.

use calotype_gpu::{Counts, Faults, Gpu, GpuDevice, Tier};
use calotype_models::{ModelConfig, Random, UNetConfig, UNetInputs, VaeConfig};
use calotype_tensor::{Backend, Precision, Result};

use crate::setup::{backend, device, open};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/work.txt");

/// What `run` asks for.
fn counted<T>(device: &GpuDevice, run: impl FnOnce() -> Result<T>) -> Result<(T, Counts)> {
    let before = device.counts();
    let result = run()?;
    Ok((result, device.counts().since(&before)))
}

fn zeros(gpu: &Gpu, shape: &[usize]) -> Result<<Gpu as Backend>::Tensor> {
    gpu.from_f32(calotype_tensor::Shape::new(shape)?, vec![0.0; shape.iter().product()])
}

/// The step for so many images with guidance, without what is made of the timestep, and that.
fn step(device: &GpuDevice, gpu: &Gpu, images: usize, side: usize) -> Result<[Counts; 2]> {
    let unet = UNetConfig::sd15().init(gpu, &mut Random { seed: 0 }).unwrap();
    let batch = 2 * images;
    let context = unet.prepare(gpu, &zeros(gpu, &[batch, 77, 768])?)?;
    let (time, of_time) = counted(device, || unet.time_embedding(gpu, &vec![500.0; batch], None))?;
    let latents = zeros(gpu, &[batch, side / 8, side / 8, 4])?;
    let (_, of_step) = counted(device, || unet.forward(gpu, &UNetInputs::new(&latents, &time, &context)))?;
    Ok([of_step, of_time])
}

fn decode(device: &GpuDevice, gpu: &Gpu, side: usize) -> Result<Counts> {
    let decoder = VaeConfig::sd15().init_decoder(gpu, &mut Random { seed: 0 }).unwrap();
    let latents = zeros(gpu, &[1, side / 8, side / 8, 4])?;
    Ok(counted(device, || decoder.forward(gpu, &latents, false))?.1)
}

fn table(device: &GpuDevice) -> Result<String> {
    let gpu = backend(device, Precision::F16)?;
    let [step_512, time] = step(device, &gpu, 1, 512)?;
    let parts = [
        ("UNet step with guidance, 512 x 512", step_512),
        ("UNet step with guidance, 768 x 768", step(device, &gpu, 1, 768)?[0].clone()),
        ("what comes of a timestep", time),
        ("VAE decode, 512 x 512", decode(device, &gpu, 512)?),
    ];
    let text = parts.map(|(name, counts)| format!("{name}: {counts}\n"));
    Ok(format!("Stable Diffusion v1.5 in f16\n\n{}", text.join("\n")))
}

#[test]
fn the_work_of_a_step_is_as_in_the_table() -> Result<()> {
    if device().is_none() {
        return Ok(());
    }
    for tier in [Tier::Plain, Tier::Khr] {
        let Ok(device) = open(tier, Faults { idle: true, ..Faults::default() }) else { continue };
        let Ok(gpu) = backend(&device, Precision::F16) else { continue };
        let table = table(&device)?;
        if std::env::var_os("UPDATE_GPU_TABLES").is_some() {
            std::fs::write(TABLE, &table).unwrap();
        }
        assert_eq!(
            table,
            std::fs::read_to_string(TABLE).unwrap_or_default(),
            "{tier}: UPDATE_GPU_TABLES=1 if it is meant"
        );
        // More images take no weights more, and dispatches only where one would be too long.
        let [[one, _], [four, _]] = [step(&device, &gpu, 1, 512)?, step(&device, &gpu, 4, 512)?];
        let norms =
            |counts: &Counts| ["group norm", "layer norm", "concat"].map(|name| counts.kernels[name].dispatches);
        assert_eq!(norms(&one), norms(&four));
        assert!(four.bytes() < 3 * one.bytes() && (four.flops / one.flops - 4.0).abs() < 1e-9);
    }
    Ok(())
}
