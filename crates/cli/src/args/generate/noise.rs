//! What a picture starts from.

use std::path::PathBuf;

use calotype::{NoiseRequest, Request, Rng, SeedPer, Variation};
use clap::Args;

/// What a picture starts from.
#[derive(Args)]
#[command(next_help_heading = "Noise")]
pub(crate) struct NoiseArgs {
    /// Seed of the first picture; each one after has the next
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub(crate) seed: u64,
    /// Generator of noise: torch's on the cpu or on cuda, or nv, A1111's imitation of the latter
    #[arg(long, value_name = "NAME", default_value_t = Rng::Cpu)]
    pub(crate) rng: Rng,
    /// A seed for each picture, or one stream for all pictures of a batch, and for all batches, as CompVis draws it
    #[arg(long, value_name = "picture|batch", default_value_t = SeedPer::Picture)]
    pub(crate) seed_per: SeedPer,
    /// Second seed to mix in; it is counted on for each picture instead of --seed (A1111's subseed)
    #[arg(long, value_name = "N", alias = "subseed", requires = "variation_strength")]
    pub(crate) variation_seed: Option<u64>,
    /// How much of the second seed: 0 none, 1 all
    #[arg(long, value_name = "X", alias = "subseed-strength", requires = "variation_seed")]
    pub(crate) variation_strength: Option<f32>,
    /// Start from the noise that the seed gives at this size, in the middle of the picture
    #[arg(long, value_name = "WxH", value_parser = size)]
    pub(crate) seed_resize: Option<[usize; 2]>,
    /// Added to the seed for the noise of a stochastic sampler's steps (A1111's ENSD)
    #[arg(long, value_name = "N", alias = "ensd", default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) eta_noise_seed_delta: i64,
    /// Start every batch from the noise of the first
    #[arg(long, alias = "fixed_code", conflicts_with = "latents")]
    pub(crate) fixed_code: bool,
    /// Starting noise: a safetensors file with one tensor `latents`, f32 (B, 4, h, w)
    #[arg(long, value_name = "FILE")]
    pub(crate) latents: Option<PathBuf>,
}

impl NoiseArgs {
    pub(super) fn apply(&self, request: &mut Request) {
        request.seed = self.seed;
        request.noise = NoiseRequest {
            rng: self.rng,
            seed_per: self.seed_per,
            variation: self
                .variation_seed
                .zip(self.variation_strength)
                .map(|(seed, strength)| Variation { seed, strength }),
            seed_resize: self.seed_resize,
            eta_noise_seed_delta: self.eta_noise_seed_delta,
            fixed_code: self.fixed_code,
            ..NoiseRequest::default()
        };
    }
}

/// Width and height: `512x768`.
fn size(text: &str) -> Result<[usize; 2], String> {
    let size = text.split_once('x').and_then(|(width, height)| Some([width.parse().ok()?, height.parse().ok()?]));
    size.ok_or_else(|| "expected a width and a height in pixels, such as 512x768".to_owned())
}
