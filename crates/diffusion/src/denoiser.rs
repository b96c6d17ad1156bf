use crate::{Error, Latents, PredictionType};

/// How noisy a sample is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NoiseLevel {
    /// Standard deviation of the noise in variance-exploding form: `x = x0 + sigma · noise`.
    pub sigma: f64,
    /// The training timestep of that sigma, from 0 to `num_train_timesteps − 1`; may be fractional.
    pub timestep: f64,
}

impl NoiseLevel {
    /// No noise at all: where most samplers end. (The timestep has no meaning there.)
    pub const CLEAN: Self = Self { sigma: 0.0, timestep: 0.0 };

    /// `sqrt(sigma² + 1)`: variance-exploding samples divided by this have the scale the network was trained at.
    #[must_use]
    pub fn scale(self) -> f64 {
        self.sigma.hypot(1.0)
    }
}

/// What a sampler asks of a model: the expected clean sample.
///
/// A denoiser around another one changes what every sampler sees; no sampler knows of it:
///
/// ```
/// use calotype_diffusion::{Denoiser, Latents, NoiseLevel};
///
/// /// Keeps the clean sample within the range that the autoencoder was trained on.
/// struct Clamped<D>(D);
///
/// impl<D: Denoiser> Denoiser for Clamped<D> {
///     type Error = D::Error;
///
///     fn denoise(&mut self, x: &Latents, level: NoiseLevel) -> Result<Latents, D::Error> {
///         Ok(self.0.denoise(x, level)?.map(|x0| x0.clamp(-4.0, 4.0)))
///     }
/// }
/// ```
pub trait Denoiser {
    /// The error of this model; it also has to carry the sampler's own.
    type Error: From<Error>;

    /// The model's estimate of `x0` given `x = x0 + sigma · noise`, both `(B, h, w, C)`.
    ///
    /// # Errors
    /// Whatever the model meets.
    fn denoise(&mut self, x: &Latents, level: NoiseLevel) -> Result<Latents, Self::Error>;

    /// The same, and beside it the estimate without the prompt, which `ddim_cfgpp` walks on with. A model without
    /// guidance has one estimate; one with guidance, or around such a one, has to give both.
    ///
    /// # Errors
    /// As [`Denoiser::denoise`].
    fn denoise_with_uncond(&mut self, x: &Latents, level: NoiseLevel) -> Result<[Latents; 2], Self::Error> {
        let denoised = self.denoise(x, level)?;
        Ok([denoised.clone(), denoised])
    }

    /// As [`Denoiser::denoise`], each image of the batch at a level of its own: `dpm_adaptive` chooses the steps of each
    /// by itself. What is not overridden calls the model once for each level.
    ///
    /// # Errors
    /// As [`Denoiser::denoise`].
    fn denoise_each(&mut self, x: &Latents, levels: &[NoiseLevel]) -> Result<Latents, Self::Error> {
        per_image(x, levels, |level| self.denoise(x, level))
    }
}

/// A denoiser or predictor behind a pointer is one too.
macro_rules! behind_pointer {
    ($trait:ident, $level:ty, $one:ident, $with_uncond:ident, $each:ident: $($pointer:ty),+) => {$(
        impl<T: $trait + ?Sized> $trait for $pointer {
            type Error = T::Error;

            fn $one(&mut self, x: &Latents, level: $level) -> Result<Latents, Self::Error> {
                (**self).$one(x, level)
            }

            fn $with_uncond(&mut self, x: &Latents, level: $level) -> Result<[Latents; 2], Self::Error> {
                (**self).$with_uncond(x, level)
            }

            fn $each(&mut self, x: &Latents, levels: &[$level]) -> Result<Latents, Self::Error> {
                (**self).$each(x, levels)
            }
        }
    )+};
}

behind_pointer!(Denoiser, NoiseLevel, denoise, denoise_with_uncond, denoise_each: Box<T>, &mut T);
behind_pointer!(Predictor, f64, predict, predict_with_uncond, predict_each: Box<T>, &mut T);

/// Each image's part of what `all` gives for its value; one call for values in a row that are the same.
fn per_image<T: Copy + PartialEq, E: From<Error>>(
    x: &Latents,
    values: &[T],
    mut all: impl FnMut(T) -> Result<Latents, E>,
) -> Result<Latents, E> {
    let mut out = Vec::with_capacity(x.data().len());
    let mut last: Option<(T, Latents)> = None;
    for (image, &value) in values.iter().enumerate() {
        let of_all = match last.take() {
            Some((of, of_all)) if of == value => of_all,
            _ => all(value)?,
        };
        out.extend(of_all.images().nth(image).unwrap_or_default());
        last = Some((value, of_all));
    }
    Ok(x.with_data(out)?)
}

/// A network as Stable Diffusion trains it, guidance included.
///
/// The caller makes one batch of the unconditional and the conditional half (one pass when the scale is 1) and
/// joins them with [`crate::guide`].
pub trait Predictor {
    /// The error of this network; it also has to carry the sampler's own.
    type Error: From<Error>;

    /// Its prediction (ε, v or x0) for `x`, in variance-preserving scale, at a timestep that may be fractional.
    ///
    /// # Errors
    /// Whatever the network meets.
    fn predict(&mut self, x: &Latents, timestep: f64) -> Result<Latents, Self::Error>;

    /// The guided prediction and the unconditional one ([`Denoiser::denoise_with_uncond`]).
    ///
    /// # Errors
    /// Whatever the network meets.
    fn predict_with_uncond(&mut self, x: &Latents, timestep: f64) -> Result<[Latents; 2], Self::Error> {
        let predicted = self.predict(x, timestep)?;
        Ok([predicted.clone(), predicted])
    }

    /// Each image of the batch at a timestep of its own ([`Denoiser::denoise_each`]).
    ///
    /// # Errors
    /// Whatever the network meets.
    fn predict_each(&mut self, x: &Latents, timesteps: &[f64]) -> Result<Latents, Self::Error> {
        per_image(x, timesteps, |timestep| self.predict(x, timestep))
    }
}

/// Makes a [`Denoiser`] of a [`Predictor`]: the only place that knows ε- from v- and sample prediction.
#[derive(Debug, Clone)]
pub struct ModelDenoiser<P> {
    predictor: P,
    prediction_type: PredictionType,
}

impl<P> ModelDenoiser<P> {
    /// Wraps a network that predicts `prediction_type`.
    pub fn new(predictor: P, prediction_type: PredictionType) -> Self {
        Self { predictor, prediction_type }
    }

    /// The network again.
    pub fn into_inner(self) -> P {
        self.predictor
    }
}

/// `x` in the scale the network was trained at.
fn input(x: &[f32], level: NoiseLevel) -> impl Iterator<Item = f32> {
    let scale = level.scale();
    x.iter().map(move |&x| (f64::from(x) / scale) as f32)
}

impl<P: Predictor> ModelDenoiser<P> {
    /// ε: `x0 = x − σ ε`. v (Salimans & Ho 2022): `x0 = x / (σ² + 1) − v σ / sqrt(σ² + 1)`. The sample is `x0`.
    fn denoised(&self, x: &[f32], predicted: &[f32], level: NoiseLevel) -> impl Iterator<Item = f32> {
        let scale = level.scale();
        let (c_skip, c_out) = match self.prediction_type {
            PredictionType::Epsilon => (1.0, -level.sigma),
            PredictionType::VPrediction => (1.0 / (scale * scale), -level.sigma / scale),
            PredictionType::Sample => (0.0, 1.0),
        };
        let of = move |(&x, &out): (&f32, &f32)| (c_skip * f64::from(x) + c_out * f64::from(out)) as f32;
        x.iter().zip(predicted).map(of)
    }

    /// The same of a whole batch.
    fn denoised_batch(&self, x: &Latents, predicted: Latents, level: NoiseLevel) -> Result<Latents, Error> {
        let predicted = predicted.of_shape(x.shape(), PREDICTION)?;
        x.with_data(self.denoised(x.data(), predicted.data(), level).collect())
    }
}

/// What a prediction is called in errors.
const PREDICTION: &str = "the prediction";

impl<P: Predictor> Denoiser for ModelDenoiser<P> {
    type Error = P::Error;

    fn denoise(&mut self, x: &Latents, level: NoiseLevel) -> Result<Latents, Self::Error> {
        let predicted = self.predictor.predict(&x.with_data(input(x.data(), level).collect())?, level.timestep)?;
        Ok(self.denoised_batch(x, predicted, level)?)
    }

    fn denoise_with_uncond(&mut self, x: &Latents, level: NoiseLevel) -> Result<[Latents; 2], Self::Error> {
        let input = x.with_data(input(x.data(), level).collect())?;
        let [guided, uncond] = self.predictor.predict_with_uncond(&input, level.timestep)?;
        Ok([self.denoised_batch(x, guided, level)?, self.denoised_batch(x, uncond, level)?])
    }

    fn denoise_each(&mut self, x: &Latents, levels: &[NoiseLevel]) -> Result<Latents, Self::Error> {
        let images = || x.images().zip(levels.iter().copied());
        let input = x.with_data(images().flat_map(|(x, level)| input(x, level)).collect())?;
        let timesteps: Vec<f64> = levels.iter().map(|level| level.timestep).collect();
        let predicted = self.predictor.predict_each(&input, &timesteps)?.of_shape(x.shape(), PREDICTION)?;
        let denoised = images().zip(predicted.images()).flat_map(|((x, level), out)| self.denoised(x, out, level));
        Ok(x.with_data(denoised.collect())?)
    }
}
