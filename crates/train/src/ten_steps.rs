//! Ten training steps through the whole loop, held to PyTorch's (`reference/training.py`).

use std::{cell::Cell, collections::BTreeMap, fs, path::Path, sync::atomic::AtomicBool};

use calotype_diffusion::Generator;
use calotype_image::RgbImage;
use calotype_models::{
    AutoencoderKl, ClipTextEncoder, Error as ModelError, ModelConfig, ParamSource, ParamSpec, TextConfig, UNet,
    UNetConfig, VaeConfig,
};
use calotype_tensor::{
    Backend, Differentiable, ParamData,
    cpu::Cpu,
    tape::{Parameter, Tape},
};
use serde::Deserialize;

use crate::{
    AutoencoderLossConfig, LossWeighting, ReportConfig, Result, StepMetrics, TrainConfig,
    autoencoder::sample_posterior,
    diffusion::noise_loss,
    folder::RunFolder,
    folders::noise_schedule,
    losses::{terms, weighted_sum},
    noising::Noised,
    run::{Loss, Plan, RunOptions, Task, run, scalar},
    weights::Weights,
};

#[derive(Deserialize)]
struct Golden {
    config: serde_json::Value,
    train: TrainConfig,
    losses: Vec<f64>,
    norms: Vec<f64>,
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
    const NAME: &'static str = "fixed";

    fn inputs(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn pictures(&self) -> usize {
        3
    }

    fn loss(&self, tape: &Tape<B>, _: &[usize], _: &mut Generator) -> Result<Loss<B>> {
        let batch = self.next.replace(self.next.get() + 1);
        Ok(Loss { value: self.loss.training(tape, batch)?, terms: Vec::new() })
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

/// Runs the loop and compares every loss and gradient norm.
fn check(golden: &Golden, tape: &Tape<Cpu>, loss: impl FixedLoss<Cpu>) {
    let output = tempfile::tempdir().unwrap();
    let folder = RunFolder::open(output.path(), false).unwrap();
    let report = ReportConfig { sample_every: 0, evaluate_every: 0, ..ReportConfig::default() };
    let plan = Plan { folder: &folder, train: &golden.train, report: &report, fixed: serde_json::Value::Null };
    let mut options = RunOptions { resume: false, threads: 2, stop: &AtomicBool::new(false), progress: &mut |_| {} };
    run(&Fixed { loss, next: Cell::new(0) }, tape, &plan, &mut options).unwrap();

    let lines = fs::read_to_string(folder.metrics()).unwrap();
    let steps: Vec<StepMetrics> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
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
    weighting: LossWeighting,
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
            noised.push(&of(&latents), of(&noise), timestep, &noise_schedule()?, self.weighting)?;
        }
        noise_loss(backend, unet, text, &ids, noised, [4, 4, 4])
    }
}

impl FixedLoss<Cpu> for Diffusion {
    fn training(&self, tape: &Tape<Cpu>, batch: u64) -> Result<<Tape<Cpu> as Backend>::Tensor> {
        self.loss(tape, &self.unet, &self.text, batch)
    }

    fn averaged(&self, inner: &Cpu, weights: &Weights, batch: u64) -> Result<<Cpu as Backend>::Tensor> {
        let unet = self.unet_config.init(inner, &mut &*weights)?;
        let text = self.text_config.init(inner, &mut &*weights)?;
        self.loss(inner, &unet, &text, batch)
    }
}

fn check_diffusion(name: &str, checkpointing: bool) {
    let golden = Golden::read(name);
    let tape = Tape::new(Cpu::new(2).unwrap());
    let (unet_config, text_config) = (golden.config::<UNetConfig>("unet"), golden.config::<TextConfig>("text_encoder"));
    let mut unet = unet_config.init(&tape, &mut Formula).unwrap();
    let mut text = text_config.init(&tape, &mut Formula).unwrap();
    (unet.checkpointing, text.checkpointing) = (checkpointing, checkpointing);
    let weighting =
        golden.config["min_snr"].as_f64().map_or(LossWeighting::Uniform, |gamma| LossWeighting::MinSnr { gamma });
    check(&golden, &tape, Diffusion { unet_config, text_config, unet, text, weighting });
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
        let batch = sample_posterior(backend, vae, pictures, &moments, |_| noise)?;
        Ok(weighted_sum(backend, &terms(&self.weights), &batch)?.0)
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
