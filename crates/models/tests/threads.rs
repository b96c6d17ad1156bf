//! A device of one thread starts no other, whatever is loaded and computed on it. One test: it counts the process' threads.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;

use std::fs;

use calotype_models::{ModelConfig, UNetConfig, UNetInputs, VaeConfig, VaeDecoder};
use calotype_tensor::{
    Backend, BackendOptions, Device, Precision,
    cpu::{CpuDevice, CpuDeviceOptions},
};
use common::{Formula, tensor};

/// The threads of this process.
fn count() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

/// Parameters large enough to be divided among threads, an image in bands, a UNet's prediction.
fn load_and_compute<B: Backend>(b: &B) {
    let config = VaeConfig { norm_num_groups: 2, ..VaeConfig::with_channels(&[4, 6]) };
    let decoder: VaeDecoder<B::Param> = config.init_decoder(b, &mut Formula).unwrap();
    let (shape, data) = tensor("x", &[1, 40, 96, 4]);
    b.to_f32(&decoder.forward_tiled(b, &b.from_f32(shape, data).unwrap()).unwrap()).unwrap();
    let config = UNetConfig { block_out_channels: vec![32; 4], ..UNetConfig::default() };
    let unet = config.init(b, &mut Formula).unwrap();
    let context = tensor("context", &[1, 7, config.cross_attention_dim.get(0)]);
    let context = unet.prepare(b, &b.from_f32(context.0, context.1).unwrap()).unwrap();
    let time = unet.time_embedding(b, &[7.0], None).unwrap();
    let (shape, data) = tensor("x", &[1, 32, 32, 4]);
    let latents = b.from_f32(shape, data).unwrap();
    b.to_f32(&unet.forward(b, &UNetInputs::new(&latents, &time, &context)).unwrap()).unwrap();
}

#[test]
fn one_thread_is_one_thread() {
    let before = count();
    for precision in [Precision::F32, Precision::BF16, Precision::Int8] {
        let device = CpuDevice::new(CpuDeviceOptions { threads: 1, ..Default::default() }).unwrap();
        load_and_compute(&device.backend(BackendOptions::in_precision(precision)).unwrap());
        assert_eq!(count(), before, "{precision}");
    }
    // All backends of a device share its threads.
    let device = CpuDevice::new(CpuDeviceOptions { threads: 3, ..Default::default() }).unwrap();
    for precision in [Precision::F32, Precision::BF16] {
        load_and_compute(&device.backend(BackendOptions::in_precision(precision)).unwrap());
        assert_eq!(count(), before + 3, "{precision}");
    }
}
