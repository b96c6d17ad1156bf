//! One network of a run, timed in turns with other programs.

use std::time::Instant;

use calotype::{Model, Result, auxiliary_precision, sampling::CfgPredictor};
use calotype_diffusion::{BatchNoise, Predictor};
use calotype_models::TextConfig;
use calotype_tensor::{Backend, BackendOptions, Device, Memory};
use calotype_text::MAX_LENGTH;
use serde::Serialize;

use crate::{
    BenchOptions, BenchSource, Machine,
    whole::{Job, Networks, SEED, TIMESTEP, extra_channels},
};

/// A network, and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BenchPart {
    /// A UNet step with guidance (batch 2).
    UNetStep,
    /// The decoding of one picture.
    VaeDecode,
}

/// What is timed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartWork {
    /// What is done, and by whose networks.
    pub name: String,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Parameters of the network.
    pub parameters: usize,
    /// The number type.
    pub precision: &'static str,
    /// Threads.
    pub threads: usize,
    /// The instruction set in use, or the card.
    pub isa: String,
}

/// Times one network again and again, with no other in memory.
///
/// After each run `next` is told what is timed and the seconds it took (none after the first, which warms up), and says
/// whether to run again. It may wait, so that runs of several programs take turns.
///
/// # Errors
/// The model can't make pictures of that size, or its weights can't be read.
pub fn bench_part<D: Device>(
    machine: &Machine<D>,
    source: &BenchSource<'_>,
    options: BenchOptions,
    part: BenchPart,
    next: &mut dyn FnMut(&PartWork, Option<f64>) -> bool,
) -> Result<PartWork> {
    let device = &machine.device;
    let networks = Networks::new(source, options, device)?;
    let job = Job { source, networks: &networks, options, work: &machine.work };
    let precision = match part {
        BenchPart::UNetStep => options.precision,
        BenchPart::VaeDecode => auxiliary_precision(options.precision),
    };
    let backend = device.backend(BackendOptions::in_precision(precision))?;
    let [c, h, w] = networks.latents;
    let shape = [1, h, w, c];
    let x = BatchNoise::new(SEED, 1, [h, w, c]).randn();
    let mut work = PartWork {
        name: networks.name.clone(),
        width: options.width,
        height: options.height,
        parameters: 0,
        precision: options.precision.id(),
        threads: backend.threads().count(),
        isa: machine.isa.clone(),
    };
    match part {
        BenchPart::UNetStep => {
            let unet = job.make(&backend, &networks.unet, Model::unet, &mut work.parameters)?;
            backend.reserve(networks.need.unet)?;
            let context = random_context(&backend, &networks.text)?;
            let mut guided =
                extra_channels(CfgPredictor::new(backend, unet, &context, 7.5, shape)?, &networks.unet, shape)?;
            let mut timestep = TIMESTEP;
            repeat(&work, next, || {
                // Never the same twice, as in a run: what comes of a timestep is part of the step.
                timestep = if timestep > 1.0 { timestep - 1.0 } else { TIMESTEP };
                guided.predict(&x, timestep).map(drop)
            })?;
        }
        BenchPart::VaeDecode => {
            let vae = job.vae_decoder(&backend, &mut work.parameters)?;
            backend.reserve(networks.need.vae)?;
            let latents = backend.from_f32(shape.into(), x.into_data())?;
            repeat(&work, next, || {
                vae.forward(&backend, &latents, false)?;
                Ok(backend.synchronize()?)
            })?;
        }
    }
    Ok(work)
}

/// Two encoded prompts, `(2, L, C)`.
fn random_context<B: Backend>(backend: &B, text: &TextConfig) -> Result<B::Tensor> {
    let noise = BatchNoise::new(SEED, 2, [MAX_LENGTH, text.hidden_size, 1]).randn().into_data();
    Ok(backend.from_f32([2, MAX_LENGTH, text.hidden_size].into(), noise)?)
}

fn repeat(
    work: &PartWork,
    next: &mut dyn FnMut(&PartWork, Option<f64>) -> bool,
    mut run: impl FnMut() -> Result<()>,
) -> Result<()> {
    run()?;
    let mut seconds = None;
    while next(work, seconds) {
        let start = Instant::now();
        run()?;
        seconds = Some(start.elapsed().as_secs_f64());
    }
    Ok(())
}
