use crate::ids::ids;
use crate::{Error, Rng};

/// What a seed is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SeedPer {
    /// Each picture its own: picture `k` of a run has the seed `seed + k`, and is the same in any batch (A1111,
    /// diffusers with a list of generators).
    #[default]
    Picture,
    /// One stream for all pictures, as CompVis' scripts draw: one tensor `(B, C, h, w)` for a whole batch, and the next
    /// batch goes on where the last one ended. A picture then depends on the batch it is in.
    Batch,
}

ids!(SeedPer, "seed_per", [Picture = "picture", Batch = "batch"]);

/// A second seed whose noise is mixed in (A1111's `subseed` and `subseed_strength`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Variation {
    /// Picture `k` has the variation seed `seed + k`, while all pictures then have the same main seed.
    pub seed: u64,
    /// 0 is the main seed's noise (and as if no variation was asked for), 1 the variation seed's.
    pub strength: f32,
}

/// Where the noise of a run comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseOptions {
    /// The generator.
    pub rng: Rng,
    /// The seed of the first picture.
    pub seed: u64,
    /// Whether each picture has its own.
    pub seed_per: SeedPer,
    /// A second seed to mix in.
    pub variation: Option<Variation>,
    /// `[h, w]` of latents: the starting noise is that of this size, put in the middle, so that a picture of another
    /// size resembles the one the seed gives at this size (A1111's `seed_resize_from_h`, `seed_resize_from_w`).
    pub seed_resize: Option<[usize; 2]>,
    /// If not 0, the noise of stochastic samplers' steps comes from `seed + delta` (A1111's ENSD), counted round at 2⁶⁴.
    pub eta_noise_seed_delta: i64,
    /// Every batch starts from the noise of the first one (CompVis' `--fixed_code`).
    pub fixed_code: bool,
}

impl NoiseOptions {
    /// Torch's CPU generator with a seed for each picture, and nothing else.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::Cpu,
            seed,
            seed_per: SeedPer::Picture,
            variation: None,
            seed_resize: None,
            eta_noise_seed_delta: 0,
            fixed_code: false,
        }
    }

    /// Checks what does not depend on the size of the pictures.
    ///
    /// # Errors
    /// [`Error::NoiseOptions`] says which option can't be, and what to do.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |problem: String| Err(Error::NoiseOptions(problem));
        if let Some(strength) = self.variation.map(|variation| variation.strength)
            && !(0.0..=1.0).contains(&strength)
        {
            return refuse(format!("the variation strength is {strength}: give a number from 0 to 1"));
        }
        if self.seed_resize.is_some_and(|size| size.contains(&0)) {
            return refuse("the size that the seed is resized from has no latents: give at least 8 x 8 pixels".into());
        }
        let of_a_picture = [
            (self.variation.is_some(), "variation seed"),
            (self.seed_resize.is_some(), "seed resize"),
            (self.eta_noise_seed_delta != 0, "eta noise seed delta"),
        ];
        match of_a_picture.into_iter().find(|&(given, _)| given) {
            Some((_, what)) if self.seed_per == SeedPer::Batch => {
                refuse(format!("one seed per batch has no {what}: leave it away, or use one seed per picture"))
            }
            _ => Ok(()),
        }
    }
}

/// One batch of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Batch {
    /// Pictures in it, as many as in those before it.
    pub size: usize,
    /// How many batches came before it.
    pub index: usize,
    /// How often each batch before it drew besides its starting noise: [`crate::Sampler::noise_draws`]. Used only with
    /// [`SeedPer::Batch`].
    pub draws: usize,
    /// Whether all start from noise that comes from elsewhere: then nothing is drawn for it.
    pub start_given: bool,
    /// Whether noise for the latents of a picture to start from is drawn ([`crate::BatchNoise::for_picture`]). With
    /// [`SeedPer::Batch`] that is done once for all batches, before their own noise: CompVis' `img2img.py` encodes once.
    pub has_picture: bool,
}

impl Batch {
    /// The only batch of a run.
    #[must_use]
    pub fn only(size: usize) -> Self {
        Self { size, ..Self::default() }
    }
}
