//! Stable Diffusion in Rust: load a model, turn text into pictures.
//!
//! ```no_run
//! use calotype::{Model, Pipeline, PipelineOptions, Request};
//!
//! # fn main() -> calotype::Result<()> {
//! let model = Model::open("models/emoji")?;
//! let pipeline = Pipeline::load(&model, PipelineOptions::default())?;
//! let request = Request { prompt: "an octopus on a yellow background".into(), ..Default::default() };
//!
//! let mut run = pipeline.run(&request)?;
//! for step in &mut run {
//!     let step = step?;
//!     println!("{} of {}, sigma {}", step.index + 1, step.total, step.sigma);
//! }
//! let pictures = run.finish()?;
//! # Ok(())
//! # }
//! ```
//!
//! A run is an iterator: progress, previews and cancelling need no callbacks. Same weights, request and noise give the
//! latents of diffusers within 1e-4, and of any batch size and number of threads bit for bit.

mod adapters;
mod bench;
mod bench_part;
mod conditioning;
mod error;
mod guided;
mod latents;
mod masked;
mod memory;
mod metadata;
mod pipeline;
mod prepare;
mod profile;
mod request;
mod resident;
mod warning;

pub use adapters::{
    AdapterFile, AdapterFolders, AdapterMetadata, AdapterOptions, EmbeddingOptions, HypernetworkOptions, LoraOptions,
};
pub use bench::{BenchOptions, BenchReport, BenchSource, bench, median};
pub use bench_part::{BenchPart, PartWork, bench_part};
pub use calotype_checkpoint::{EmbeddedFile, Model, ModelOptions, ZERO_TERMINAL_SNR};
pub use calotype_diffusion::{
    Latents, PredictionType, Rng, SamplerKind, SamplerSettings, ScheduleKind, SeedPer, Step, UniPcSkipType,
    UniPcVariant, Variation,
};
pub use calotype_formats::DType;
pub use calotype_image::RgbImage;
pub use calotype_models::WeightSet;
pub use calotype_tensor::{Precision, cpu::Convolution};
pub use calotype_text::{Emphasis, Network, PromptStyle};
pub use conditioning::{Attended, Conditioning, Holding};
pub use error::{Error, Result};
pub use guided::{Guided, guides};
pub use latents::{latents_sha256, read_latents, write_latents};
pub use memory::peak_memory;
pub use metadata::{
    BatchMetadata, JSON_KEYWORD, LatentsMetadata, Metadata, NoiseMetadata, PARAMETERS_KEYWORD, Parameters,
};
pub use pipeline::{Pictures, Pipeline, PipelineOptions, Run, fastest_precision};
pub use profile::{BenchProfile, PartProfile, Peak, Peaks, ProfileRow};
pub use request::{
    FileRef, Fill, Hires, Init, Inpaint, NoiseRequest, OneOf, PictureFile, Plan, Request, ResizeMode, Sides,
    StrengthRule, Tiling, Upscaler,
};
pub use resident::Keep;
pub use warning::Warning;
