//! Stable Diffusion in Rust: load a model, turn text into images.
//!
//! ```no_run
//! use calotype::{Event, Model, Pipeline, PipelineOptions, Request};
//!
//! # fn main() -> calotype::Result<()> {
//! let pipeline = Pipeline::load(Model::open("path/to/sd15")?, PipelineOptions::default())?;
//! let mut run = pipeline.generate(Request::new("a lighthouse at dawn"))?;
//! for event in &mut run {
//!     match event? {
//!         Event::Stage(stage) => println!("{stage}"),
//!         Event::Step(step) => println!("step {} of {}", step.index + 1, step.total),
//!         _ => {}
//!     }
//! }
//! run.finish()?.images[0].save_png("lighthouse.png")?;
//! # Ok(())
//! # }
//! ```
//!
//! Build with `--release`: a step takes many times as long without optimisation.
//!
//! - A [`Request`] says what to generate. [`Pipeline::plan`] checks it against the model, the [`Plan`] is run by [`Pipeline::run`].
//! - A [`Run`] is an iterator of [`Event`]s, so progress and previews need no callbacks; a [`CancelToken`] ends it from another thread.
//! - Runs reserve their memory from one [`memory::MemoryBudget`] before they read anything.
//! - Same weights, request and noise give the latents of diffusers within 1e-4, and of any batch size and number of threads bit for bit.
//!
//! The modules have what belongs to one task: images to start from and other options in [`request`], LoRAs in [`adapters`], samplers
//! and denoisers in [`sampling`], larger pictures in [`upscale`], what an image file says of itself in [`metadata`], latents and previews in [`latents`], model files in
//! [`checkpoint`].

mod cfg;
mod conditioning;
mod error;
mod latent_files;
mod mask_blend;
mod networks;
mod pipeline;
mod prepare;
mod preview;
mod tiles;
mod warning;

pub mod adapters;
pub mod memory;
pub mod metadata;
pub mod request;
pub mod upscale;

pub use calotype_checkpoint::{self as checkpoint, Model, ModelOptions};
pub use calotype_diffusion::{Latents, Step};
pub use calotype_image::{RgbImage, RgbaImage};
pub use calotype_models::Component;
pub use calotype_tensor::{
    CancelToken, Device, Precision,
    cpu::{Convolution, CpuDevice, CpuDeviceOptions},
};
pub use error::{Error, NotFinite, Result};
pub use networks::Keep;
pub use pipeline::{
    Event, Image, Output, Pipeline, PipelineOptions, Run, RunOptions, Stage, auxiliary_precision, fastest_precision,
};
pub use request::{Plan, Request};
pub use warning::Warning;

/// Latents in files, and previews of them.
///
/// ```no_run
/// use calotype::{Request, latents::{read_latents, write_latents}};
///
/// # fn main() -> calotype::Result<()> {
/// // The starting noise of another program, instead of that of a seed.
/// let request = Request { latents: Some(read_latents("noise.safetensors")?.into()), ..Request::new("a harbour") };
/// # Ok(())
/// # }
/// ```
pub mod latents {
    pub use crate::{
        latent_files::{latents_sha256, read_latents, write_latents},
        preview::LatentRgb,
    };
}

/// Samplers, schedules and noise, and what a denoiser of one's own needs.
///
/// ```
/// use calotype::{Request, sampling::SamplerKind};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sampler: SamplerKind = "dpmpp_2m".parse()?;
/// let request = Request { sampler, schedule: "karras".parse()?, num_inference_steps: 25, ..Request::new("a harbour") };
/// # Ok(())
/// # }
/// ```
pub mod sampling {
    pub use calotype_diffusion::{
        AlgorithmType, Context, Denoiser, FinalSigmas, Levels, NoiseLevel, PredictionType, Rng, SAMPLERS, SCHEDULES,
        SamplerFeature, SamplerInfo, SamplerKind, SamplerSettings, ScheduleInfo, ScheduleKind, SchedulerSettings,
        SeedPer, SigmaSpacing, Solver, SolverType, StepNoise, TimestepSpacing, UniPcSkipType, UniPcVariant,
    };

    pub use crate::{
        cfg::{CfgPredictor, guides},
        conditioning::{Conditioning, ContextRef, StepConditioning},
        pipeline::{BoxDenoiser, BoxSolver},
    };
}
