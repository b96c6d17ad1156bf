//! The networks' gradients against PyTorch's: every parameter and input, with and without checkpointing.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;

use std::collections::BTreeMap;

use calotype_models::{ModelConfig, TextConfig, UNetConfig, UNetInputs, VaeConfig, posterior};
use calotype_tensor::{
    Backend, Differentiable, Result,
    cpu::Cpu,
    reference::Reference,
    tape::{Tape, Var},
    to_file_layout,
};
use common::{Formula, Golden, tensor, values};

const TOLERANCE: f64 = 2e-5;

/// Compares the loss and all gradients of `output = forward(inputs)`.
fn check<B: Differentiable>(
    tape: &Tape<B>,
    what: &str,
    golden: &Golden,
    inputs: &[(&str, &[usize])],
    forward: impl FnOnce(&[Var<B>]) -> Result<Var<B>>,
) {
    let leaves: Vec<Var<B>> = inputs
        .iter()
        .map(|(name, shape)| {
            let (shape, data) = tensor(name, shape);
            tape.leaf(tape.inner().from_f32(shape, data).unwrap())
        })
        .collect();
    let output = forward(&leaves).unwrap();
    let (shape, data) = tensor("loss", &golden.shape);
    let weights = tape.constant(tape.inner().from_f32(shape, data).unwrap());
    let loss = tape.mean(&tape.mul(&output, &weights).unwrap()).unwrap();
    let value = tape.to_f32(&loss).unwrap()[0];
    let scale = golden.output.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    assert!((value - golden.loss).abs() < 1e-5 * scale, "{what}: loss {value}, expected {}", golden.loss);

    let gradients = tape.backward(&loss).unwrap();
    let mut got = BTreeMap::new();
    for parameter in tape.parameters() {
        if let Some(gradient) = gradients.get(&parameter) {
            let data = tape.inner().to_f32(gradient).unwrap();
            let (_, data) = to_file_layout(parameter.kind(), parameter.shape(), data, tape.threads()).unwrap();
            let probe = values(&format!("probe.{}", parameter.name()), data.len());
            got.insert(parameter.name().to_owned(), norm_and_dot(&data, probe.into_iter()));
        }
    }
    for ((name, shape), leaf) in inputs.iter().zip(&leaves) {
        let data = tape.inner().to_f32(gradients.leaf(leaf).expect("inputs have gradients")).unwrap();
        let (_, probe) = tensor(&format!("probe.{name}"), shape);
        got.insert((*name).to_owned(), norm_and_dot(&data, probe.into_iter().map(f64::from)));
    }
    assert_eq!(got.keys().collect::<Vec<_>>(), golden.gradients.keys().collect::<Vec<_>>(), "{what}");
    // A gradient that cancels to nothing is compared with the usual size of one.
    let usual = got.values().map(|[norm, _]| norm).sum::<f64>() / got.len() as f64;
    for (name, expected) in &golden.gradients {
        let bound = TOLERANCE * f64::from(expected[0]).max(usual);
        for (got, &expected) in got[name].iter().zip(expected) {
            assert!((got - f64::from(expected)).abs() < bound, "{what}: {name}: {got}, expected {expected}");
        }
    }
}

fn norm_and_dot(data: &[f32], probe: impl Iterator<Item = f64>) -> [f64; 2] {
    let norm = data.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    [norm, data.iter().zip(probe).map(|(&v, p)| f64::from(v) * p).sum()]
}

fn unets<B: Differentiable>(backend: impl Fn() -> B) {
    for (name, checkpointing) in [("unet_v1", false), ("unet_linear", false), ("unet_lists", false), ("unet_v1", true)]
    {
        let (golden, tape) = (Golden::read(name), Tape::new(backend()));
        let mut unet = golden.config::<UNetConfig>().init(&tape, &mut Formula).unwrap();
        unet.checkpointing = checkpointing;
        let inputs = [("latents", &*golden.latents), ("context", &*golden.context)];
        check(&tape, name, &golden, &inputs, |x| {
            let (time, context) = (unet.time_embedding(&tape, &golden.timesteps, None)?, unet.prepare(&tape, &x[1])?);
            unet.forward(&tape, &UNetInputs::new(&x[0], &time, &context))
        });
    }
}

fn autoencoders<B: Differentiable>(backend: impl Fn() -> B) {
    for (name, checkpointing) in [
        ("vae_f4", false),
        ("vae_plain", false),
        ("vae_f4", true),
        ("tiny_f8", false),
        ("tiny_plain", false),
        ("tiny_f8", true),
    ] {
        for way in ["encode", "decode"] {
            let name = format!("{name}_{way}");
            let (golden, tape) = (Golden::read(&name), Tape::new(backend()));
            let mut vae = golden.config::<VaeConfig>().init(&tape, &mut Formula).unwrap();
            vae.checkpointing = checkpointing;
            check(&tape, &name, &golden, &[("x", &golden.x)], |x| match way {
                "encode" => Ok(posterior(&tape, &vae.encode(&tape, &x[0])?)?.0),
                _ => vae.decode(&tape, &x[0]),
            });
        }
    }
}

fn text_encoders<B: Differentiable>(backend: impl Fn() -> B) {
    for (name, checkpointing) in [("text_quick_gelu", false), ("text_gelu", false), ("text_quick_gelu", true)] {
        let (golden, tape) = (Golden::read(name), Tape::new(backend()));
        let mut encoder = golden.config::<TextConfig>().init(&tape, &mut Formula).unwrap();
        encoder.checkpointing = checkpointing;
        check(&tape, name, &golden, &[], |_| encoder.forward(&tape, &golden.ids.concat(), golden.ids.len()));
    }
}

#[test]
fn reference_backend() {
    unets(Reference::<f32>::default);
    autoencoders(Reference::<f32>::default);
    text_encoders(Reference::<f32>::default);
}

#[test]
fn cpu_backend() {
    let cpu = || Cpu::new(2).unwrap();
    unets(cpu);
    autoencoders(cpu);
    text_encoders(cpu);
}
