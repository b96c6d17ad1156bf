//! What a picture starts from.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    path::PathBuf,
};

use calotype::{Request, Rng, SeedPer};
use clap::Args;

/// What a picture starts from.
#[derive(Args)]
#[command(next_help_heading = "Noise")]
pub(crate) struct NoiseArgs {
    /// Seed of the first picture; each one after has the next; -1 for any
    #[arg(long, value_name = "N", default_value = "42", value_parser = seed)]
    pub(crate) seed: u64,
    /// Generator of noise (Random number generator source): torch's on the cpu or on cuda, or nv, A1111's imitation of the latter.
    /// Up to 800 x 800 pixels cuda is the noise of a T4 and all larger GPUs; beyond, GPUs differ, and this is an A100's
    #[arg(long, value_name = "NAME", default_value_t = Rng::Cpu)]
    pub(crate) rng: Rng,
    /// A seed for each picture, or one stream for all pictures of a batch, and for all batches, as CompVis draws it
    #[arg(long, value_name = "picture|batch", default_value_t = SeedPer::Picture)]
    pub(crate) seed_per: SeedPer,
    /// Second seed to mix in (Variation seed); it is counted on for each picture instead of --seed (A1111's subseed)
    #[arg(long, value_name = "N", alias = "subseed", value_parser = seed, requires = "variation_strength")]
    pub(crate) variation_seed: Option<u64>,
    /// How much of the second seed (Variation strength): 0 none, 1 all
    #[arg(long, value_name = "X", alias = "subseed-strength", requires = "variation_seed")]
    pub(crate) variation_strength: Option<f32>,
    /// Start from the noise that the seed gives at this size (Resize seed from width, height), in the middle of the picture
    #[arg(long, value_name = "WxH", value_parser = size)]
    pub(crate) seed_resize: Option<[usize; 2]>,
    /// Added to the seed for the noise of a stochastic sampler's steps (Eta noise seed delta, ENSD)
    #[arg(long, value_name = "N", alias = "ensd", default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) eta_noise_seed_delta: i64,
    /// What the noise is multiplied by that is laid over --init-img (Noise multiplier for img2img), 0 to 1.5
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub(crate) noise_multiplier: f64,
    /// More noise over --init-img and before the hires fix (Extra noise), 0 to 1
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub(crate) extra_noise: f64,
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
        request.rng = self.rng;
        request.seed_per = self.seed_per;
        request.variation_seed = self.variation_seed;
        request.variation_strength = self.variation_strength.unwrap_or_default();
        request.seed_resize = self.seed_resize;
        request.eta_noise_seed_delta = self.eta_noise_seed_delta;
        request.init_noise_multiplier = self.noise_multiplier;
        request.extra_noise = self.extra_noise;
        request.fixed_code = self.fixed_code;
    }
}

/// A seed; of `-1` any, of 32 bits as A1111's.
pub(crate) fn seed(text: &str) -> Result<u64, String> {
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
