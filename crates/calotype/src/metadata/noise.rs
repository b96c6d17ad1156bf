//! What a picture's file says of its noise.

use calotype_diffusion::{Rng, SeedPer, Variation};
use serde::{Deserialize, Serialize};

use crate::{
    NoiseRequest, OneOf, Request, Result,
    request::{is_default, is_one},
};

/// Where the noise came from, besides the seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NoiseMetadata {
    /// The generator's id.
    pub rng: String,
    /// This picture's own variation seed, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variation_seed: Option<u64>,
    /// How much of it is mixed in.
    #[serde(skip_serializing_if = "is_default")]
    pub variation_strength: f32,
    /// The width and height in pixels that the seed was resized from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed_resize: Option<[usize; 2]>,
    /// What was added to the seed for the noise of steps.
    #[serde(skip_serializing_if = "is_default")]
    pub eta_noise_seed_delta: i64,
    /// What the noise over the picture to start from was multiplied by.
    #[serde(skip_serializing_if = "is_one")]
    pub init_noise_multiplier: f64,
    /// Noise beyond that of the first noise level.
    #[serde(skip_serializing_if = "is_default")]
    pub extra_noise: f64,
    /// The batch, where the noise depends on it; the seed is then that of the run's first picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchMetadata>,
}

/// The batch that a picture was made in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchMetadata {
    /// What the seed is for.
    pub seed_per: String,
    /// Whether all batches start from the same noise.
    pub fixed_code: bool,
    /// Pictures in the batch.
    pub size: usize,
    /// How many batches came before it.
    pub index: usize,
    /// The picture's place in it, from 0.
    pub position: usize,
}

impl BatchMetadata {
    /// As in A1111's text, which has no words of its own for it: `batch 3 1 2` is seed per batch, picture 2 of the 3 in
    /// batch 1; `fixed` may follow.
    pub(super) fn to_text(&self) -> String {
        let Self { seed_per, fixed_code, size, index, position } = self;
        format!("{seed_per} {size} {index} {position}{}", if *fixed_code { " fixed" } else { "" })
    }

    pub(super) fn from_text(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let seed_per: SeedPer = words.next()?.parse().ok()?;
        let mut number = || words.next()?.parse().ok();
        let (size, index, position) = (number()?, number()?, number()?);
        let fixed_code = words.next().map_or(Some(false), |word| (word == "fixed").then_some(true))?;
        words.next().is_none().then(|| Self { seed_per: seed_per.id().to_owned(), fixed_code, size, index, position })
    }
}

impl Default for NoiseMetadata {
    fn default() -> Self {
        Self {
            rng: Rng::default().id().to_owned(),
            variation_seed: None,
            variation_strength: 0.0,
            seed_resize: None,
            eta_noise_seed_delta: 0,
            init_noise_multiplier: 1.0,
            extra_noise: 0.0,
            batch: None,
        }
    }
}

impl NoiseMetadata {
    /// That of picture `position` of a request, and its seed.
    pub(super) fn new(request: &Request, position: usize) -> (u64, Self) {
        let noise = &request.noise;
        let (seed, variation) = request.seeds(position);
        let own = Self {
            rng: noise.rng.id().to_owned(),
            variation_seed: variation.map(|v| v.seed),
            variation_strength: variation.map_or(0.0, |v| v.strength),
            seed_resize: noise.seed_resize,
            eta_noise_seed_delta: noise.eta_noise_seed_delta,
            init_noise_multiplier: noise.init_multiplier,
            extra_noise: noise.extra,
            batch: None,
        };
        let own_start = !(noise.fixed_code && noise.batch_index > 0);
        if noise.seed_per == SeedPer::Picture && own_start {
            return (seed, own);
        }
        let one_of = noise.one_of.unwrap_or(OneOf { batch_size: request.batch_size, position });
        let batch = BatchMetadata {
            seed_per: noise.seed_per.id().to_owned(),
            fixed_code: noise.fixed_code,
            size: one_of.batch_size,
            index: noise.batch_index,
            position: one_of.position,
        };
        // All of the batch is made again, to take this picture out of it: its seeds are the run's.
        let variation_seed = noise.variation.filter(|_| variation.is_some()).map(|v| v.seed);
        (request.seed, Self { batch: Some(batch), variation_seed, ..own })
    }

    /// The part of a request that makes the picture again, alone.
    pub(super) fn request(&self) -> Result<NoiseRequest> {
        let batch = self.batch.as_ref();
        Ok(NoiseRequest {
            rng: self.rng.parse()?,
            seed_per: batch.map_or(Ok(SeedPer::Picture), |batch| batch.seed_per.parse())?,
            variation: self.variation_seed.map(|seed| Variation { seed, strength: self.variation_strength }),
            seed_resize: self.seed_resize,
            eta_noise_seed_delta: self.eta_noise_seed_delta,
            init_multiplier: self.init_noise_multiplier,
            extra: self.extra_noise,
            fixed_code: batch.is_some_and(|batch| batch.fixed_code),
            batch_index: batch.map_or(0, |batch| batch.index),
            one_of: batch.map(|batch| OneOf { batch_size: batch.size, position: batch.position }),
        })
    }
}
