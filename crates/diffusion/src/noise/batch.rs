use super::brownian::BrownianTree;
use super::variation::{centred, slerp};
use super::{Batch, NoiseOptions, NoiseSource, SeedPer, Variation};
use crate::{Error, Generator, Latents, NormalStream, Rng};

/// The noise of a batch of pictures, `(B, h, w, C)`.
///
/// Each picture's stream draws as torch does for a tensor `(1, C, h, w)`, so that a picture is the same in any batch;
/// with [`SeedPer::Batch`] one stream draws `(B, C, h, w)`.
/// The first call gives the starting noise, later ones what the stochastic samplers add: the order of diffusers and A1111.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNoise {
    rng: Rng,
    /// One for each picture, or one for all.
    streams: Vec<NormalStream>,
    /// The seeds of the streams, before any delta.
    seeds: Vec<u64>,
    /// Numbers that each stream draws at a time.
    each: usize,
    /// That of one image, `[h, w, C]`.
    shape: [usize; 3],
    /// The starting noise in NCHW order where it is more than the first draw of the streams, until it is asked for.
    start: Option<Vec<f32>>,
    /// The noise of a picture's latents in NCHW order where it is not what the streams draw next, until it is asked for.
    picture: Option<Vec<f32>>,
    brownian: Option<Vec<BrownianTree>>,
    /// The only picture whose noise is asked for.
    only: Option<usize>,
}

impl BatchNoise {
    /// Noise of latents `(B, h, w, C)` for pictures of the seeds `seed`, `seed + 1`, …; `shape` is `[h, w, C]`.
    #[must_use]
    pub fn new(seed: u64, batch_size: usize, shape: [usize; 3]) -> Self {
        let seeds = (0..batch_size as u64).map(|k| seed.wrapping_add(k));
        Self::from_generators(seeds.map(Generator::manual_seed).collect(), shape)
    }

    /// Noise of latents `(B, h, w, C)`, one picture per generator; `shape` is `[h, w, C]`.
    #[must_use]
    pub fn from_generators(generators: Vec<Generator>, shape: [usize; 3]) -> Self {
        let seeds = generators.iter().map(Generator::seed).collect();
        let streams = generators.into_iter().map(NormalStream::from).collect();
        Self::from_streams(Rng::Cpu, streams, seeds, shape.iter().product(), shape)
    }

    fn from_streams(rng: Rng, streams: Vec<NormalStream>, seeds: Vec<u64>, each: usize, shape: [usize; 3]) -> Self {
        Self { rng, streams, seeds, each, shape, start: None, picture: None, brownian: None, only: None }
    }

    /// The noise of one batch of a run, of latents `(B, h, w, C)`; `shape` is `[h, w, C]`.
    ///
    /// # Errors
    /// Those of [`NoiseOptions::check`].
    pub fn with_options(options: &NoiseOptions, batch: Batch, shape: [usize; 3]) -> Result<Self, Error> {
        options.check()?;
        Ok(match options.seed_per {
            SeedPer::Picture => Self::per_picture(options, batch, shape),
            SeedPer::Batch => Self::per_batch(options, batch, shape),
        })
    }

    /// A1111's `ImageRNG` (`modules/rng.py`), its order of draws included.
    fn per_picture(options: &NoiseOptions, batch: Batch, shape: [usize; 3]) -> Self {
        let variation = options.variation.filter(|variation| variation.strength != 0.0);
        let first = (batch.index as u64).wrapping_mul(batch.size as u64);
        let seed_of = |picture: u64| match variation {
            Some(_) => options.seed,
            None => options.seed.wrapping_add(picture),
        };
        let each = shape.iter().product();
        let seeds: Vec<u64> = (0..batch.size as u64).map(|k| seed_of(first.wrapping_add(k))).collect();
        let streams = seeds.iter().map(|&seed| options.rng.stream(seed)).collect();
        let mut noise = Self::from_streams(options.rng, streams, seeds, each, shape);

        let moved = options.fixed_code && batch.index > 0;
        let delta = options.eta_noise_seed_delta;
        let drawn_apart = variation.is_some() || options.seed_resize.is_some() || moved || delta != 0;
        if drawn_apart && !batch.start_given {
            let mut start = Vec::with_capacity(each.saturating_mul(batch.size));
            for (k, stream) in (0u64..).zip(&mut noise.streams) {
                let picture = if moved { k } else { first.wrapping_add(k) };
                // The stream of the steps has given its first tensor away, whether the start is that one or not.
                stream.skip(each);
                start.extend(starting_noise(options, seed_of(picture), variation, picture, shape));
            }
            noise.start = Some(start);
        }
        if delta != 0 {
            let seeds = noise.seeds.iter().map(|seed| seed.wrapping_add_signed(delta));
            noise.streams = seeds.map(|seed| options.rng.stream(seed)).collect();
        }
        noise
    }

    /// CompVis' scripts: everything from one stream, the batches before this one included.
    fn per_batch(options: &NoiseOptions, batch: Batch, shape: [usize; 3]) -> Self {
        let each = shape.iter().product::<usize>().saturating_mul(batch.size);
        let mut stream = options.rng.stream(options.seed);
        let picture = batch.has_picture.then(|| stream.randn(each));
        let start = (options.fixed_code && !batch.start_given).then(|| stream.randn(each));
        let starts = usize::from(start.is_none() && !batch.start_given);
        for _ in 0..batch.index.saturating_mul(batch.draws + starts) {
            stream.skip(each);
        }
        let seed = options.seed;
        Self { start, picture, ..Self::from_streams(options.rng, vec![stream], vec![seed], each, shape) }
    }

    /// Only the noise of one picture of the batch, `(1, h, w, C)`: it is the same as with the others.
    #[must_use]
    pub fn only(self, picture: usize) -> Self {
        Self { only: Some(picture), ..self }
    }

    /// Follows one Brownian motion per stream between these sigmas wherever a sampler asks for
    /// [`NoiseSource::noise_between`]: what A1111 and k-diffusion do for their SDE samplers
    /// (`BrownianTreeNoiseSampler`). Its seeds are those of the pictures.
    ///
    /// The motion is as rough as any: sigmas that differ in the last digit of f32 have noise that differs by about
    /// `1e-3`. So sigmas are made as there, step by step in f32 ([`crate::ScheduleKind`]), and whole runs agree to a few
    /// `1e-7`; where torch's own logarithm or root is one place off in its last digit, which depends on its machine, mostly
    /// to `1e-4` still.
    #[must_use]
    pub fn brownian(self, sigma_min: f64, sigma_max: f64) -> Self {
        let (rng, each) = (self.rng, self.each);
        let trees = self.seeds.iter().map(|&seed| BrownianTree::new(rng, seed, each, [sigma_min, sigma_max]));
        Self { brownian: Some(trees.collect()), ..self }
    }

    /// Fresh noise `(B, h, w, C)`.
    #[must_use]
    pub fn randn(&mut self) -> Latents {
        let each = self.each;
        let nchw = match self.start.take() {
            Some(start) => start,
            None => self.streams.iter_mut().flat_map(|stream| stream.randn(each)).collect(),
        };
        self.arranged(&nchw)
    }

    /// The noise `(B, h, w, C)` of the latents of a picture to start from: fresh, or what [`Batch::has_picture`] says.
    #[must_use]
    pub fn for_picture(&mut self) -> Latents {
        match self.picture.take() {
            Some(nchw) => self.arranged(&nchw),
            None => self.draw(),
        }
    }

    /// Fresh noise `(B, h, w, C)` beside the starting one, which may be still to come.
    #[must_use]
    pub fn draw(&mut self) -> Latents {
        let start = self.start.take();
        let drawn = self.randn();
        self.start = start;
        drawn
    }

    /// In the order of latents, and only what is asked for.
    fn arranged(&self, nchw: &[f32]) -> Latents {
        let size = self.shape.iter().product::<usize>().max(1);
        let asked = match self.only {
            Some(picture) => nchw.chunks_exact(size).nth(picture).unwrap_or_default(),
            None => nchw,
        };
        Latents::of_images(self.shape, asked)
    }
}

impl NoiseSource for BatchNoise {
    fn noise(&mut self) -> Latents {
        self.randn()
    }

    fn noise_between(&mut self, sigma: f64, sigma_next: f64) -> Latents {
        let Some(trees) = &mut self.brownian else { return self.randn() };
        let nchw: Vec<f32> = trees.iter_mut().flat_map(|tree| tree.noise(sigma, sigma_next)).collect();
        self.arranged(&nchw)
    }
}

/// The starting noise of one picture, `(C, h, w)`; `shape` is `[h, w, C]`.
fn starting_noise(
    options: &NoiseOptions,
    seed: u64,
    variation: Option<Variation>,
    picture: u64,
    shape: [usize; 3],
) -> Vec<f32> {
    let [height, width, channels] = shape;
    let [h, w] = options.seed_resize.unwrap_or([height, width]);
    let first_draw = |seed: u64, numel: usize| options.rng.stream(seed).randn(numel);

    let mut noise = first_draw(seed, channels * h * w);
    if let Some(Variation { seed, strength }) = variation {
        let other = first_draw(seed.wrapping_add(picture), channels * h * w);
        noise = slerp(strength, &noise, &other, [channels, h, w]);
    }
    if [h, w] == [height, width] {
        return noise;
    }
    centred(&noise, [h, w], first_draw(seed, channels * height * width), [height, width])
}
