//! The networks' outputs against diffusers' and transformers', on every backend.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;

use calotype_models::{ModelConfig, TextConfig, UNetConfig, VaeConfig, posterior};
use calotype_tensor::{Backend, cpu::Cpu, reference::Reference};
use common::{Formula, Golden, assert_close, tensor};

const TOLERANCE: f32 = 1e-5;

fn check<B: Backend>(b: &B, name: &str, golden: &Golden, output: &B::Tensor) {
    assert_eq!(&*b.shape(output), &golden.shape, "{name}");
    assert_close(name, &b.to_f32(output).unwrap(), &golden.output, TOLERANCE);
}

fn input<B: Backend>(b: &B, name: &str, shape: &[usize]) -> B::Tensor {
    let (shape, data) = tensor(name, shape);
    b.from_f32(shape, data).unwrap()
}

fn unets<B: Backend>(b: &B) {
    for name in ["unet_v1", "unet_linear", "unet_lists"] {
        let golden = Golden::read(name);
        let unet = golden.config::<UNetConfig>().init(b, &mut Formula).unwrap();
        let (latents, context) = (input(b, "latents", &golden.latents), input(b, "context", &golden.context));
        let (time, context) = (unet.time_embedding(b, &golden.timesteps).unwrap(), unet.prepare(b, &context).unwrap());
        check(b, name, &golden, &unet.forward(b, &latents, &time, &context).unwrap());
    }
}

fn autoencoders<B: Backend>(b: &B) {
    for name in ["vae_f4", "vae_plain"] {
        let encode = Golden::read(&format!("{name}_encode"));
        let vae = encode.config::<VaeConfig>().init(b, &mut Formula).unwrap();
        let moments = vae.encode(b, &input(b, "x", &encode.x)).unwrap();
        check(b, name, &encode, &posterior(b, &moments).unwrap().0);
        let decode = Golden::read(&format!("{name}_decode"));
        check(b, name, &decode, &vae.decode(b, &input(b, "x", &decode.x)).unwrap());
    }
}

fn text_encoders<B: Backend>(b: &B) {
    for name in ["text_quick_gelu", "text_gelu"] {
        let golden = Golden::read(name);
        let encoder = golden.config::<TextConfig>().init(b, &mut Formula).unwrap();
        check(b, name, &golden, &encoder.forward(b, &golden.ids.concat(), golden.ids.len()).unwrap());
    }
}

#[test]
fn reference_backend() {
    let b = Reference::<f32>::default();
    unets(&b);
    autoencoders(&b);
    text_encoders(&b);
}

#[test]
fn cpu_backend() {
    let b = Cpu::new(2).unwrap();
    unets(&b);
    autoencoders(&b);
    text_encoders(&b);
}

#[test]
fn what_another_unet_prepared_is_refused() {
    let b = Reference::<f32>::default();
    let [golden, other] = ["unet_v1", "unet_lists"].map(Golden::read);
    let [unet, other] = [&golden, &other].map(|g| g.config::<UNetConfig>().init(&b, &mut Formula).unwrap());
    let (latents, text) = (input(&b, "latents", &golden.latents), input(&b, "context", &golden.context));
    let (time, context) = (unet.time_embedding(&b, &golden.timesteps).unwrap(), unet.prepare(&b, &text).unwrap());
    assert!(unet.forward(&b, &latents, &time, &context).is_ok());
    let of_others = other.time_embedding(&b, &golden.timesteps).unwrap();
    assert!(unet.forward(&b, &latents, &of_others, &context).is_err());
    let one_more = [&golden.timesteps[..], &[1.0]].concat();
    let error = unet.forward(&b, &latents, &unet.time_embedding(&b, &one_more).unwrap(), &context).unwrap_err();
    let batch = golden.timesteps.len();
    assert_eq!(error.to_string(), format!("unet: {} timesteps were given for {batch} images", batch + 1));
}
