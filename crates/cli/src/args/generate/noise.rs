//! What a picture starts from.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    path::PathBuf,
};

use calotype::{
    Request,
    sampling::{Rng, SeedPer},
};
use clap::Args;

use super::Given;

/// Seeds and noise.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(next_help_heading = "Noise")]
pub(crate) struct NoiseArgs {
    /// Seed of the first image; the next images have the next seeds; -1 for a random one
    #[arg(long, value_name = "N", default_value = "42", value_parser = seed)]
    pub(crate) seed: u64,
    /// Generator of noise (Random number generator source): torch's on the cpu or on cuda, or nv, A1111's imitation of the latter.
    /// Up to 800 x 800 pixels cuda is the noise of a T4 and all larger GPUs; beyond, GPUs differ, and this is an A100's
    #[arg(long, value_name = "NAME", default_value_t = Rng::Cpu)]
    pub(crate) rng: Rng,
    /// One seed for each image, or one stream of noise for all images of all batches, as in CompVis
    #[arg(long, value_name = "picture|batch", default_value_t = SeedPer::Picture)]
    pub(crate) seed_per: SeedPer,
    /// Second seed, mixed in (Variation seed, subseed); it increases for each image instead of --seed
    #[arg(long, value_name = "N", alias = "subseed", value_parser = seed)]
    pub(crate) variation_seed: Option<u64>,
    /// How much of the second seed is mixed in, 0 to 1 (Variation strength)
    #[arg(long, value_name = "X", alias = "subseed-strength")]
    pub(crate) variation_strength: Option<f32>,
    /// Start from the noise of the seed at this size, in the middle of the image (Resize seed from width, height)
    #[arg(long, value_name = "WxH", value_parser = size)]
    pub(crate) seed_resize: Option<[usize; 2]>,
    /// Added to the seed for the noise of a stochastic sampler's steps (Eta noise seed delta, ENSD)
    #[arg(long, value_name = "N", alias = "ensd", default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) eta_noise_seed_delta: i64,
    /// Multiplier of the noise that is added to --init-img, 0 to 1.5 (Noise multiplier for img2img)
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub(crate) noise_multiplier: f64,
    /// Extra noise added to --init-img and before the hires fix, 0 to 1 (Extra noise)
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub(crate) extra_noise: f64,
    /// Start every batch from the noise of the first
    #[arg(long, alias = "fixed_code")]
    pub(crate) fixed_code: bool,
}

/// Noise that does not come from a seed.
#[derive(Args)]
#[command(next_help_heading = "Noise")]
pub(crate) struct LatentsArgs {
    /// Starting noise: a safetensors file with one tensor `latents`, f32 (B, 4, h, w)
    #[arg(long, value_name = "FILE", conflicts_with = "fixed_code")]
    pub(crate) latents: Option<PathBuf>,
}

impl NoiseArgs {
    pub(super) fn apply(&self, request: &mut Request, given: &Given) {
        given.set("seed", &mut request.seed, self.seed);
        given.set("rng", &mut request.rng, self.rng);
        given.set("seed_per", &mut request.seed_per, self.seed_per);
        given.set("variation_seed", &mut request.variation_seed, self.variation_seed);
        let variation_strength = self.variation_strength.unwrap_or_default();
        given.set("variation_strength", &mut request.variation_strength, variation_strength);
        given.set("seed_resize", &mut request.seed_resize, self.seed_resize);
        given.set("eta_noise_seed_delta", &mut request.eta_noise_seed_delta, self.eta_noise_seed_delta);
        given.set("noise_multiplier", &mut request.init_noise_multiplier, self.noise_multiplier);
        given.set("extra_noise", &mut request.extra_noise, self.extra_noise);
        given.set("fixed_code", &mut request.fixed_code, self.fixed_code);
    }
}

/// A seed; of `-1` any, of 32 bits as A1111's.
fn seed(text: &str) -> Result<u64, String> {
    if text == "-1" {
        // The keys of the hasher are random.
        return Ok(RandomState::new().build_hasher().finish() >> 32);
    }
    text.parse().map_err(|_| "expected a whole number, or -1 for any".to_owned())
}

/// Width and height: `512x768`.
fn size(text: &str) -> Result<[usize; 2], String> {
    let size = text.split_once('x').and_then(|(width, height)| Some([width.parse().ok()?, height.parse().ok()?]));
    size.ok_or_else(|| "expected a width and a height in pixels, such as 512x768".to_owned())
}
