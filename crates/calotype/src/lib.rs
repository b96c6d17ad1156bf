//! Stable Diffusion in Rust: load a model, turn text into pictures.
//!
//! ```no_run
//! use calotype::{Event, Model, Pipeline, PipelineOptions, Request};
//!
//! # fn main() -> calotype::Result<()> {
//! let pipeline = Pipeline::load(Model::open("models/emoji")?, PipelineOptions::default())?;
//! let mut run = pipeline.generate(Request::new("an octopus on a yellow background"))?;
//! for event in &mut run {
//!     match event? {
//!         Event::Stage(stage) => println!("{stage}"),
//!         Event::Step(step) => println!("step {} of {}", step.index + 1, step.total),
//!         _ => {}
//!     }
//! }
//! run.finish()?.images[0].save_png("octopus.png")?;
//! # Ok(())
//! # }
//! ```
//!
//! Build with `--release`: a step takes many times as long without optimisation.
//!
//! A run is an iterator of events, so progress and previews need no callbacks; a [`CancelToken`] ends it from another thread.
//! Same weights, request and noise give the
//! latents of diffusers within 1e-4, and of any batch size and number of threads bit for bit.

mod adapters;
mod cfg;
mod conditioning;
mod error;
mod latents;
mod mask_blend;
pub mod memory;
mod metadata;
mod pipeline;
mod prepare;
mod preview;
mod request;
mod resident;
mod warning;

pub use adapters::{
    AdapterFile, AdapterFolders, AdapterKind, AdapterMetadata, AdapterOptions, EmbeddingOptions, HypernetworkOptions,
    LoraOptions,
};
pub use calotype_checkpoint::{EmbeddedFile, Model, ModelOptions, ZERO_TERMINAL_SNR};
pub use calotype_diffusion::{
    Denoiser, Latents, NoiseLevel, PredictionType, Rng, SAMPLERS, SCHEDULES, SamplerFeature, SamplerInfo, SamplerKind, SamplerSettings, ScheduleInfo, ScheduleKind, SeedPer, Step, StepNoise,
    UniPcSkipType, UniPcVariant, Variation,
};
pub use calotype_formats::DType;
pub use calotype_image::{RgbImage, RgbaImage};
pub use calotype_models::WeightSet;
pub use calotype_tensor::{
    CancelToken, Device, Precision,
    cpu::{Convolution, CpuDevice, CpuDeviceOptions},
};
pub use calotype_text::{Emphasis, PromptStyle};
pub use cfg::{CfgPredictor, guides};
pub use conditioning::{Conditioning, ContextRef, StepConditioning};
pub use error::{Error, NotFinite, Result};
pub use latents::{latents_sha256, read_latents, write_latents};
pub use metadata::{BatchMetadata, JSON_KEYWORD, LatentsMetadata, Metadata, PARAMETERS_KEYWORD, Parameters};
pub use pipeline::{
    BoxDenoiser, Event, Image, Output, Pipeline, PipelineOptions, Run, RunOptions, Stage, auxiliary_precision,
    fastest_precision,
};
pub use preview::LatentRgb;
pub use request::{
    BatchPlace, FileRef, Fill, Hires, Init, Inpaint, InputImage, OneOf, Plan, Request, ResizeMode, Sides, StrengthRule,
    Tiling, Upscaler, check_side,
};
pub use resident::Keep;
pub use warning::Warning;
