//! What an image's file says of the batch that it was made in.

use calotype_diffusion::SeedPer;
use serde::{Deserialize, Serialize};

use crate::{
    Request,
    request::{BatchPlace, OneOf, by_id, json::is_default},
};

/// The batch that an image was made in, where its noise depends on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchMetadata {
    /// What the seed is for.
    #[serde(with = "by_id")]
    pub seed_per: SeedPer,
    /// Whether all batches start from the same noise.
    pub fixed_code: bool,
    /// Images in the batch.
    pub size: usize,
    /// How many batches came before it.
    pub index: usize,
    /// The image's place in it, from 0.
    pub position: usize,
}

impl BatchMetadata {
    /// Lets a request be that of one image of a batch, alone. Where its noise depends on the batch, the request keeps the
    /// seed of the run's first image, and what is left of the batch is given.
    pub(super) fn take(request: &mut Request, place: BatchPlace, position: usize) -> Option<Self> {
        let BatchPlace { index, one_of } = place;
        let (seed_per, fixed_code) = (std::mem::take(&mut request.seed_per), std::mem::take(&mut request.fixed_code));
        let size = std::mem::replace(&mut request.batch_size, 1);
        if request.variation_seed.is_none() || is_default(&request.variation_strength) {
            (request.variation_seed, request.variation_strength) = (None, 0.0);
        }
        if seed_per == SeedPer::Picture && !(fixed_code && index > 0) {
            (request.seed, request.variation_seed) = request.seeds(index.saturating_mul(size).saturating_add(position));
            return None;
        }
        let OneOf { batch_size: size, position } = one_of.unwrap_or(OneOf { batch_size: size, position });
        Some(Self { seed_per, fixed_code, size, index, position })
    }

    /// The other way: the place in which the image is made again, alone.
    pub(super) fn give(&self, request: &mut Request) -> BatchPlace {
        let Self { seed_per, fixed_code, size, index, position } = *self;
        (request.seed_per, request.fixed_code) = (seed_per, fixed_code);
        BatchPlace { index, one_of: Some(OneOf { batch_size: size, position }) }
    }

    /// As in A1111's text, which has no words of its own for it: `batch 3 1 2` is seed per batch, image 2 of the 3 in
    /// batch 1; `fixed` may follow.
    pub(super) fn to_text(&self) -> String {
        let Self { seed_per, fixed_code, size, index, position } = self;
        format!("{seed_per} {size} {index} {position}{}", if *fixed_code { " fixed" } else { "" })
    }

    pub(super) fn from_text(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let seed_per = words.next()?.parse().ok()?;
        let mut number = || words.next()?.parse().ok();
        let (size, index, position) = (number()?, number()?, number()?);
        let fixed_code = words.next().map_or(Some(false), |word| (word == "fixed").then_some(true))?;
        words.next().is_none().then_some(Self { seed_per, fixed_code, size, index, position })
    }
}
