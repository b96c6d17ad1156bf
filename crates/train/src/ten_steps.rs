//! Ten training steps through the whole loop, held to PyTorch's (`reference/training.py`).

use std::{borrow::Cow, cell::Cell, collections::BTreeMap, fs, path::Path, sync::atomic::AtomicBool};

use calotype_diffusion::Generator;
use calotype_formats::{DType, encode_f32, write_safetensors};
use calotype_image::RgbImage;
use calotype_models::{
    AutoencoderKl, ClipTextEncoder, Component, Error as ModelError, ModelConfig, ParamSource, ParamSpec, TextConfig,
    UNet, UNetConfig, VaeConfig, adapters::Adapted,
};
use calotype_tensor::{
    Backend, Differentiable, ParamData,
    cpu::Cpu,
    tape::{Parameter, Tape, Var},
};
use serde::Deserialize;

use crate::{
    AutoencoderLossConfig, LoraOptions, LossWeighting, PerceptualNetwork, Prediction, ReportConfig, Result,
    StepMetrics, TrainConfig,
    adversary::Adversary,
    autoencoder::sample_posterior,
    diffusion::noise_loss,
    folder::RunFolder,
    folders::noise_schedule,
    lora::{Lora, chosen},
    losses::{latent_terms, reconstruction_terms, weighted_sum},
    noising::{Noised, Noising},
    run::{Loss, Plan, RunOptions, Task, run, scalar},
    weights::Weights,
};

#[derive(Deserialize)]
struct Golden {
    /// Of what trains against a discriminator.
    #[serde(default)]
    adaptive_weights: Vec<f64>,
    #[serde(default)]
    discriminator: Vec<f64>,
    config: serde_json::Value,
    train: TrainConfig,
    losses: Vec<f64>,
    norms: Vec<f64>,
    #[serde(default)]
    averaged: f64,
}

impl Golden {
    fn read(name: &str) -> Self {
        let path = format!("{}/tests/goldens/{name}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    }

    fn config<C: ModelConfig>(&self, network: &str) -> C {
        C::from_json(&self.config[network].to_string()).unwrap()
    }
}

/// Pseudo-random numbers in -1..1: FNV-1a of the name, then SplitMix64.
fn values(name: &str, count: usize) -> Vec<f64> {
    let state = crate::random::fnv1a(name.bytes());
    let value = |n: u64| {
        let z = state.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f64 / f64::from(1u32 << 24) * 2.0 - 1.0
    };
    (1..=count as u64).map(value).collect()
}

fn floats(name: &str, count: usize) -> Vec<f32> {
    values(name, count).into_iter().map(|x| x as f32).collect()
}

fn whole(name: &str, count: usize, below: usize) -> Vec<usize> {
    values(name, count).into_iter().map(|x| ((x + 1.0) / 2.0 * below as f64) as usize).collect()
}

/// Weights by formula.
struct Formula;

impl ParamSource for Formula {
    fn data(&mut self, spec: &ParamSpec) -> Result<Box<dyn ParamData + '_>, ModelError> {
        let fan_in = (spec.count() / spec.shape[0]) as f64;
        let scaled = |x: f64| match spec.shape.len() {
            _ if spec.name.contains("embedding.weight") => x,
            2.. => x * (3.0 / fan_in).sqrt(),
            _ if spec.name.ends_with("weight") => 1.0 + 0.1 * x,
            _ => 0.1 * x,
        };
        let values: Vec<f32> = values(&spec.name, spec.count()).into_iter().map(|x| scaled(x) as f32).collect();
        Ok(Box::new(values))
    }
}

/// A task whose batches are known by their number.
struct Fixed<L> {
    loss: L,
    next: Cell<u64>,
}

impl<B: Differentiable, L: FixedLoss<B>> Task<B> for Fixed<L> {
    fn name(&self) -> &'static str {
        "fixed"
    }

    fn inputs(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn pictures(&self) -> usize {
        3
    }

    fn loss(&self, tape: &Tape<B>, _: u64, _: &[usize], _: &mut Generator) -> Result<Loss<B>> {
        let batch = self.next.replace(self.next.get() + 1);
        Ok(Loss { value: self.loss.training(tape, batch)?, terms: Vec::new(), total: None })
    }

    fn evaluate(&self, inner: &B, weights: &Weights) -> Result<BTreeMap<String, f64>> {
        let loss = self.loss.averaged(inner, weights, 0)?;
        Ok(BTreeMap::from([("loss".into(), scalar(inner, &loss)?)]))
    }

    fn samples(&self, _: &B, _: &Weights) -> Result<Option<RgbImage>> {
        Ok(None)
    }

    fn export(&self, _: &Weights, _: &Path) -> Result<()> {
        Ok(())
    }
}

trait FixedLoss<B: Differentiable> {
    fn training(&self, tape: &Tape<B>, batch: u64) -> Result<<Tape<B> as Backend>::Tensor>;
    fn averaged(&self, inner: &B, weights: &Weights, batch: u64) -> Result<B::Tensor>;
}

/// Runs the loop in a folder and gives what it wrote of each step.
fn steps_of(task: &impl Task<Cpu>, tape: &Tape<Cpu>, train: &TrainConfig, folder: &Path) -> Vec<StepMetrics> {
    let folder = RunFolder::open(folder, false).unwrap();
    let report = ReportConfig { sample_every: 0, evaluate_every: 0, ..ReportConfig::default() };
    let plan = Plan { folder: &folder, train, report: &report, fixed: serde_json::Value::Null, whole: String::new() };
    let mut options = RunOptions {
        resume: false,
        threads: 2,
        skip_bad: false,
        set: &[],
        stop: &AtomicBool::new(false),
        progress: &mut |_| {},
        tell: &mut |_| {},
    };
    run(task, tape, &plan, &mut options).unwrap();
    let lines = fs::read_to_string(folder.metrics()).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs the loop and compares every loss and gradient norm.
fn check(golden: &Golden, tape: &Tape<Cpu>, loss: impl FixedLoss<Cpu>) {
    let output = tempfile::tempdir().unwrap();
    let steps = steps_of(&Fixed { loss, next: Cell::new(0) }, tape, &golden.train, output.path());
    assert_eq!(steps.len(), golden.losses.len());
    let close = |what: &str, step: u64, got: f64, expected: f64| {
        let difference = (got - expected).abs() / expected;
        assert!(difference < 1e-4, "step {step}: {what} is {got}, expected {expected}");
    };
    for ((step, loss), norm) in steps.iter().zip(&golden.losses).zip(&golden.norms) {
        close("the loss", step.step, step.loss, *loss);
        close("the gradient's norm", step.step, step.grad_norm, *norm);
    }
    let last = steps.last().unwrap();
    close("the loss with averaged weights", last.step, last.held_out["loss"], golden.averaged);
}

struct Diffusion {
    unet_config: UNetConfig,
    text_config: TextConfig,
    unet: UNet<Parameter<Cpu>>,
    text: ClipTextEncoder<Parameter<Cpu>>,
    noising: Noising,
    lora: Option<Lora>,
}

impl Diffusion {
    fn loss<B: Backend>(
        &self,
        backend: &B,
        unet: &UNet<B::Param>,
        text: &ClipTextEncoder<B::Param>,
        batch: u64,
    ) -> Result<B::Tensor> {
        let (latents, noise) = (floats(&format!("latents.{batch}"), 3 * 64), floats(&format!("noise.{batch}"), 3 * 64));
        let ids: Vec<u32> = whole(&format!("ids.{batch}"), 21, 50).into_iter().map(|id| id as u32).collect();
        let mut noised = Noised::default();
        for (place, timestep) in whole(&format!("timesteps.{batch}"), 3, 1000).into_iter().enumerate() {
            let of = |values: &[f32]| values[place * 64..][..64].to_vec();
            self.noising.push(&mut noised, &of(&latents), of(&noise), timestep)?;
        }
        noise_loss(backend, unet, text, &ids, noised, [4, 4, 4])
    }
}

impl FixedLoss<Cpu> for Diffusion {
    fn training(&self, tape: &Tape<Cpu>, batch: u64) -> Result<<Tape<Cpu> as Backend>::Tensor> {
        self.loss(tape, &self.unet, &self.text, batch)
    }

    fn averaged(&self, inner: &Cpu, weights: &Weights, batch: u64) -> Result<<Cpu as Backend>::Tensor> {
        if let Some(lora) = &self.lora {
            // As pictures are made with it.
            let (mut base, applied, threads) = (Formula, [lora.applied(weights)?], Backend::threads(inner));
            let unet =
                self.unet_config.init(inner, &mut Adapted::new(&mut base, Component::UNet, &applied, threads))?;
            let mut text = Adapted::new(&mut base, Component::TextEncoder, &applied, threads);
            return self.loss(inner, &unet, &self.text_config.init(inner, &mut text)?, batch);
        }
        let unet = self.unet_config.init(inner, &mut &*weights)?;
        let text = self.text_config.init(inner, &mut &*weights)?;
        self.loss(inner, &unet, &text, batch)
    }
}

fn check_diffusion(name: &str, checkpointing: bool) {
    let golden = Golden::read(name);
    let tape = Tape::new(Cpu::new(2).unwrap());
    let (unet_config, text_config) = (golden.config::<UNetConfig>("unet"), golden.config::<TextConfig>("text_encoder"));
    let networks = |tape: &Tape<Cpu>| {
        (unet_config.init(tape, &mut Formula).unwrap(), text_config.init(tape, &mut Formula).unwrap())
    };
    let options: Option<LoraOptions> = serde_json::from_value(golden.config["lora"].clone()).unwrap();
    let (mut unet, mut text) = if options.is_some() { tape.no_grad(networks) } else { networks(&tape) };
    let lora = options.map(|options| {
        let specs = [unet_config.specs().unwrap(), text_config.specs().unwrap()];
        let modules = chosen(&options, &specs[0], &specs[1]).unwrap();
        assert_eq!(tape.parameters().len(), 0, "the weights don't learn");
        Lora::attach(&tape, modules, specs, &options, &mut Formula).unwrap()
    });
    (unet.checkpointing, text.checkpointing) = (checkpointing, checkpointing);
    let weighting =
        golden.config["min_snr"].as_f64().map_or(LossWeighting::Uniform, |gamma| LossWeighting::MinSnr { gamma });
    let prediction = match golden.config["prediction_type"].as_str() {
        Some("v_prediction") => Prediction::VPrediction,
        _ => Prediction::Epsilon,
    };
    let noising = Noising { schedule: noise_schedule().unwrap(), prediction, weighting };
    check(&golden, &tape, Diffusion { unet_config, text_config, unet, text, noising, lora });
}

#[test]
fn diffusion_has_pytorchs_losses() {
    check_diffusion("diffusion", false);
}

#[test]
fn diffusion_with_checkpointed_blocks_has_pytorchs_losses() {
    check_diffusion("diffusion", true);
}

#[test]
fn min_snr_has_pytorchs_losses() {
    check_diffusion("diffusion_min_snr", false);
}

#[test]
fn v_prediction_has_pytorchs_losses() {
    check_diffusion("diffusion_v", false);
}

#[test]
fn min_snr_of_v_has_pytorchs_losses() {
    check_diffusion("diffusion_v_min_snr", false);
}

/// Of every kind of module: linear maps, convolutions of 1×1 and 3×3, halving and doubling, in both networks.
#[test]
fn lora_has_pefts_losses() {
    check_diffusion("lora", false);
    check_diffusion("lora", true);
}

struct Autoencoder {
    config: VaeConfig,
    vae: AutoencoderKl<Parameter<Cpu>>,
    weights: AutoencoderLossConfig,
}

impl Autoencoder {
    fn loss<B: Backend>(&self, backend: &B, vae: &AutoencoderKl<B::Param>, batch: u64) -> Result<B::Tensor> {
        let pictures = backend.from_f32([3, 8, 8, 3].into(), floats(&format!("pictures.{batch}"), 3 * 192))?;
        let noise = floats(&format!("noise.{batch}"), 3 * 48);
        let moments = vae.encode(backend, &pictures)?;
        let decode = |latents: &B::Tensor| Ok(vae.decode(backend, latents)?);
        let batch = sample_posterior(backend, pictures, &moments, |_| noise, decode)?;
        let mut terms = reconstruction_terms(backend, &self.weights)?;
        terms.extend(latent_terms(&self.weights));
        Ok(weighted_sum(backend, &terms, &batch)?.0)
    }
}

impl FixedLoss<Cpu> for Autoencoder {
    fn training(&self, tape: &Tape<Cpu>, batch: u64) -> Result<<Tape<Cpu> as Backend>::Tensor> {
        self.loss(tape, &self.vae, batch)
    }

    fn averaged(&self, inner: &Cpu, weights: &Weights, batch: u64) -> Result<<Cpu as Backend>::Tensor> {
        self.loss(inner, &self.config.init(inner, &mut &*weights)?, batch)
    }
}

#[test]
fn the_autoencoder_has_pytorchs_losses() {
    let golden = Golden::read("autoencoder");
    let tape = Tape::new(Cpu::new(2).unwrap());
    let config = golden.config::<VaeConfig>("vae");
    let vae = config.init(&tape, &mut Formula).unwrap();
    let weights = serde_json::from_value(golden.config["loss"].clone()).unwrap();
    check(&golden, &tape, Autoencoder { config, vae, weights });
}

/// An autoencoder and its adversary, whose batches are known by their numbers.
struct Adversarial {
    config: VaeConfig,
    vae: AutoencoderKl<Parameter<Cpu>>,
    adversary: Adversary<Cpu>,
    next: Cell<u64>,
    next_of_adversary: Cell<u64>,
}

impl Adversarial {
    fn pictures(&self, tape: &Tape<Cpu>, batch: u64) -> Var<Cpu> {
        tape.from_f32([3, 16, 16, 3].into(), floats(&format!("pictures.{batch}"), 3 * 768)).unwrap()
    }
}

impl Task<Cpu> for Adversarial {
    fn name(&self) -> &'static str {
        "adversarial"
    }

    fn inputs(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn pictures(&self) -> usize {
        3
    }

    fn loss(&self, tape: &Tape<Cpu>, step: u64, _: &[usize], _: &mut Generator) -> Result<Loss<Cpu>> {
        let batch = self.next.replace(self.next.get() + 1);
        let pictures = self.pictures(tape, batch);
        let moments = self.vae.encode(tape, &pictures)?;
        let noise = |count| floats(&format!("noise.{batch}"), count);
        self.adversary.generator_loss(tape, &self.vae, pictures, &moments, step, noise)
    }

    fn adversary(&self) -> Option<&Tape<Cpu>> {
        Some(self.adversary.tape())
    }

    fn adversary_loss(&self, tape: &Tape<Cpu>, step: u64, _: &[usize], _: &mut Generator) -> Result<Option<Loss<Cpu>>> {
        if !self.adversary.active(step) {
            return Ok(None);
        }
        // A step has two batches.
        let part = self.next_of_adversary.replace(self.next_of_adversary.get() + 1) % 2;
        let batch = (step - 1) * 2 + part;
        let pictures = self.pictures(tape, batch);
        let noise = |count| floats(&format!("noise.discriminator.{batch}"), count);
        let made = tape.no_grad(|tape| -> Result<_> {
            let moments = self.vae.encode(tape, &pictures)?;
            let decode = |latents: &Var<Cpu>| Ok(self.vae.decode(tape, latents)?);
            sample_posterior(tape, pictures.clone(), &moments, noise, decode)
        })?;
        self.adversary.discriminator_loss(pictures.value(), made.decoded.value()).map(Some)
    }

    fn evaluate(&self, _: &Cpu, _: &Weights) -> Result<BTreeMap<String, f64>> {
        assert_eq!(self.config.latent_channels, 3);
        Ok(BTreeMap::new())
    }

    fn samples(&self, _: &Cpu, _: &Weights) -> Result<Option<RgbImage>> {
        Ok(None)
    }

    fn export(&self, _: &Weights, _: &Path) -> Result<()> {
        Ok(())
    }
}

/// VGG16 with the names of PyPI's `lpips` and weights by formula, as `perceptual()` of `reference/adversary.py` has it.
fn write_vgg(path: &Path) {
    let slices: [&[[usize; 3]]; 5] = [
        &[[0, 3, 64], [2, 64, 64]],
        &[[5, 64, 128], [7, 128, 128]],
        &[[10, 128, 256], [12, 256, 256], [14, 256, 256]],
        &[[17, 256, 512], [19, 512, 512], [21, 512, 512]],
        &[[24, 512, 512], [26, 512, 512], [28, 512, 512]],
    ];
    let mut tensors = Vec::new();
    let mut add = |name: String, shape: Vec<usize>, scaled: &dyn Fn(f64) -> f64| {
        let data: Vec<f32> = values(&name, shape.iter().product()).into_iter().map(|x| scaled(x) as f32).collect();
        tensors.push((name, DType::F32, shape, Cow::from(encode_f32(&data, DType::F32).unwrap())));
    };
    for (slice, convolutions) in slices.iter().enumerate() {
        for [place, inputs, outputs] in *convolutions {
            let name = format!("net.slice{}.{place}", slice + 1);
            let scale = (3.0 / (inputs * 9) as f64).sqrt();
            add(format!("{name}.weight"), vec![*outputs, *inputs, 3, 3], &|x| x * scale);
            add(format!("{name}.bias"), vec![*outputs], &|x| 0.1 * x);
        }
        let width = convolutions[0][2];
        add(format!("lin{slice}.model.1.weight"), vec![1, width, 1, 1], &f64::abs);
    }
    write_safetensors(path, tensors, &BTreeMap::new()).unwrap();
}

#[test]
fn training_against_a_discriminator_has_pytorchs_losses() {
    let golden = Golden::read("adversary");
    let output = tempfile::tempdir().unwrap();
    let network = output.path().join("vgg.safetensors");
    write_vgg(&network);
    let mut loss: AutoencoderLossConfig = serde_json::from_value(golden.config["loss"].clone()).unwrap();
    loss.perceptual = Some(PerceptualNetwork::Lpips { trunk: network.clone(), heads: network });
    let tape = Tape::new(Cpu::new(2).unwrap());
    let config = golden.config::<VaeConfig>("vae");
    let vae = config.init(&tape, &mut Formula).unwrap();
    let adversary = Adversary::new(tape.inner(), &loss, loss.discriminator.as_ref().unwrap(), &mut Formula).unwrap();
    let task = Adversarial { config, vae, adversary, next: Cell::new(0), next_of_adversary: Cell::new(0) };
    let steps = steps_of(&task, &tape, &golden.train, &output.path().join("run"));
    assert_eq!((steps.len(), golden.losses.len()), (10, 10));
    for (i, step) in steps.iter().enumerate() {
        let term = |name: &str| step.terms.get(name).copied().unwrap_or(0.0);
        for (what, got, expected, tolerance) in [
            ("the loss", step.loss, golden.losses[i], 1e-4),
            ("the discriminator's loss", term("discriminator"), golden.discriminator[i], 1e-4),
            ("the gradient's norm", step.grad_norm, golden.norms[i], 1e-3),
            ("the weight of the verdict", term("adaptive_weight"), golden.adaptive_weights[i], 1e-3),
        ] {
            let error = (got - expected).abs();
            assert!(error <= tolerance * expected.abs(), "step {}: {what} is {got}, expected {expected}", i + 1);
        }
    }
}
