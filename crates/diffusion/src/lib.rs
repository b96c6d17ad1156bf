//! Noise schedules, samplers, guidance and noise generators of latent diffusion.
//!
//! This crate knows no tensors and no model: latents are a few thousand numbers, so they live on the host as
//! [`Latents`], and the network is seen only through [`Denoiser`].
//!
//! ```text
//! seed  → Generator, BatchNoise → unit-variance noise, Latents (B, h, w, C)
//! noise → Sampler::run(denoiser, &noise, noise source) → iterator of Step { index, total, sigma, latents }
//! ```
//!
//! Every sampler works in the variance-exploding form of k-diffusion: `x = x0 + sigma · noise`
//! (Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models").
//! Networks of Stable Diffusion are trained in the variance-preserving form, `x / sqrt(sigma² + 1)`, and predict ε or v:
//! [`ModelDenoiser`] turns such a [`Predictor`] into a [`Denoiser`] once, so that a sampler never sees the difference.
//!
//! Everything can be sent to another thread, runs under way included, as long as the caller's own denoiser can.
//!
//! Final latents equal those of diffusers 0.42 (`output_type="latent"`) for the same noise; where diffusers has no such
//! sampler or schedule, those of k-diffusion and A1111 1.10, or of CompVis' scripts.

mod denoiser;
mod error;
mod generator;
mod guidance;
mod ids;
mod latents;
mod linspace;
mod noise;
mod normal;
mod philox;
mod rng;
mod sampler;
mod schedule;

pub use denoiser::{Denoiser, ModelDenoiser, NoiseLevel, Predictor};
pub use error::Error;
pub use generator::Generator;
pub use guidance::{compose, guide};
pub use latents::Latents;
pub use noise::{Batch, BatchNoise, NoiseOptions, NoiseSource, SeedPer, Variation};
pub use rng::{NormalStream, Rng};
pub use sampler::{
    AlgorithmType, Context, FinalSigmas, Levels, Run, SAMPLERS, SCHEDULES, SampleOptions, Sampler, SamplerFeature,
    SamplerInfo, SamplerKind, SamplerSettings, ScheduleInfo, ScheduleKind, SchedulerSettings, SigmaSpacing, Solver,
    SolverType, Step, StepNoise, StrengthRule, TimestepSpacing, UniPcSkipType, UniPcVariant,
};
pub use schedule::{NoiseSchedule, PredictionType};
