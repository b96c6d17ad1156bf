use crate::{Error, PredictionType};

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
pub trait Denoiser {
    /// The error of this model; it also has to carry the sampler's own.
    type Error: From<Error>;

    /// The model's estimate of `x0` given `x = x0 + sigma · noise`, both of one length and layout.
    ///
    /// # Errors
    /// Whatever the model meets.
    fn denoise(&mut self, x: &[f32], level: NoiseLevel) -> Result<Vec<f32>, Self::Error>;

    /// The same, and beside it the estimate without the prompt, which `ddim_cfgpp` walks on with. A model without
    /// guidance has one estimate; one with guidance, or around such a one, has to give both.
    ///
    /// # Errors
    /// As [`Denoiser::denoise`].
    fn denoise_with_uncond(&mut self, x: &[f32], level: NoiseLevel) -> Result<[Vec<f32>; 2], Self::Error> {
        let denoised = self.denoise(x, level)?;
        Ok([denoised.clone(), denoised])
    }

    /// How many pictures `x` holds, one after the other; a model around another has to ask it. `dpm_adaptive` chooses
    /// the steps of each by itself.
    fn batch_size(&self) -> usize {
        1
    }

    /// As [`Denoiser::denoise`], each picture at a level of its own: [`Denoiser::batch_size`] of them.
    /// What is not overridden calls the model once for each level.
    ///
    /// # Errors
    /// As [`Denoiser::denoise`].
    fn denoise_each(&mut self, x: &[f32], levels: &[NoiseLevel]) -> Result<Vec<f32>, Self::Error> {
        per_picture(x, levels, |level| self.denoise(x, level))
    }
}

impl<D: Denoiser + ?Sized> Denoiser for &mut D {
    type Error = D::Error;

    fn denoise(&mut self, x: &[f32], level: NoiseLevel) -> Result<Vec<f32>, Self::Error> {
        (**self).denoise(x, level)
    }

    fn denoise_with_uncond(&mut self, x: &[f32], level: NoiseLevel) -> Result<[Vec<f32>; 2], Self::Error> {
        (**self).denoise_with_uncond(x, level)
    }

    fn batch_size(&self) -> usize {
        (**self).batch_size()
    }

    fn denoise_each(&mut self, x: &[f32], levels: &[NoiseLevel]) -> Result<Vec<f32>, Self::Error> {
        (**self).denoise_each(x, levels)
    }
}

/// Each picture's part of what `all` gives for its value; one call for values in a row that are the same.
fn per_picture<T: Copy + PartialEq, E>(
    x: &[f32],
    values: &[T],
    mut all: impl FnMut(T) -> Result<Vec<f32>, E>,
) -> Result<Vec<f32>, E> {
    let size = (x.len() / values.len().max(1)).max(1);
    let mut out = Vec::with_capacity(x.len());
    let mut last: Option<(T, Vec<f32>)> = None;
    for (picture, &value) in values.iter().enumerate() {
        let of_all = match last.take() {
            Some((of, of_all)) if of == value => of_all,
            _ => all(value)?,
        };
        out.extend(of_all.chunks(size).nth(picture).unwrap_or_default());
        last = Some((value, of_all));
    }
    Ok(out)
}

/// A network as Stable Diffusion trains it, guidance included.
///
/// The caller makes one batch of the unconditional and the conditional half (one pass when the scale is 1) and
/// joins them with [`crate::guide`].
pub trait Predictor {
    /// The error of this network; it also has to carry the sampler's own.
    type Error: From<Error>;

    /// Its prediction (ε or v) for `x`, in variance-preserving scale, at a timestep that may be fractional.
    ///
    /// # Errors
    /// Whatever the network meets.
    fn predict(&mut self, x: &[f32], timestep: f64) -> Result<Vec<f32>, Self::Error>;

    /// The guided prediction and the unconditional one ([`Denoiser::denoise_with_uncond`]).
    ///
    /// # Errors
    /// Whatever the network meets.
    fn predict_with_uncond(&mut self, x: &[f32], timestep: f64) -> Result<[Vec<f32>; 2], Self::Error> {
        let predicted = self.predict(x, timestep)?;
        Ok([predicted.clone(), predicted])
    }

    /// How many pictures `x` holds ([`Denoiser::batch_size`]).
    fn batch_size(&self) -> usize {
        1
    }

    /// Each picture at a timestep of its own ([`Denoiser::denoise_each`]).
    ///
    /// # Errors
    /// Whatever the network meets.
    fn predict_each(&mut self, x: &[f32], timesteps: &[f64]) -> Result<Vec<f32>, Self::Error> {
        per_picture(x, timesteps, |timestep| self.predict(x, timestep))
    }
}

impl<P: Predictor + ?Sized> Predictor for &mut P {
    type Error = P::Error;

    fn predict(&mut self, x: &[f32], timestep: f64) -> Result<Vec<f32>, Self::Error> {
        (**self).predict(x, timestep)
    }

    fn predict_with_uncond(&mut self, x: &[f32], timestep: f64) -> Result<[Vec<f32>; 2], Self::Error> {
        (**self).predict_with_uncond(x, timestep)
    }

    fn batch_size(&self) -> usize {
        (**self).batch_size()
    }

    fn predict_each(&mut self, x: &[f32], timesteps: &[f64]) -> Result<Vec<f32>, Self::Error> {
        (**self).predict_each(x, timesteps)
    }
}

/// Makes a [`Denoiser`] of a [`Predictor`]: the only place that knows ε- from v-prediction.
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

impl<P: Predictor> ModelDenoiser<P> {
    /// `x` in the scale the network was trained at.
    fn input(x: &[f32], level: NoiseLevel) -> impl Iterator<Item = f32> {
        let scale = level.scale();
        x.iter().map(move |&x| (f64::from(x) / scale) as f32)
    }

    /// ε: `x0 = x − σ ε`. v (Salimans & Ho 2022): `x0 = x / (σ² + 1) − v σ / sqrt(σ² + 1)`.
    fn denoised(&self, x: &[f32], predicted: &[f32], level: NoiseLevel) -> Result<Vec<f32>, Error> {
        if predicted.len() != x.len() {
            return Err(Error::Length { what: "the prediction", got: predicted.len(), expected: x.len() });
        }
        let scale = level.scale();
        let (c_skip, c_out) = match self.prediction_type {
            PredictionType::Epsilon => (1.0, -level.sigma),
            PredictionType::VPrediction => (1.0 / (scale * scale), -level.sigma / scale),
        };
        let of = |(&x, &out): (&f32, &f32)| (c_skip * f64::from(x) + c_out * f64::from(out)) as f32;
        Ok(x.iter().zip(predicted).map(of).collect())
    }
}

impl<P: Predictor> Denoiser for ModelDenoiser<P> {
    type Error = P::Error;

    fn denoise(&mut self, x: &[f32], level: NoiseLevel) -> Result<Vec<f32>, Self::Error> {
        let predicted = self.predictor.predict(&Self::input(x, level).collect::<Vec<_>>(), level.timestep)?;
        Ok(self.denoised(x, &predicted, level)?)
    }

    fn denoise_with_uncond(&mut self, x: &[f32], level: NoiseLevel) -> Result<[Vec<f32>; 2], Self::Error> {
        let input: Vec<f32> = Self::input(x, level).collect();
        let [guided, uncond] = self.predictor.predict_with_uncond(&input, level.timestep)?;
        Ok([self.denoised(x, &guided, level)?, self.denoised(x, &uncond, level)?])
    }

    fn batch_size(&self) -> usize {
        self.predictor.batch_size()
    }

    fn denoise_each(&mut self, x: &[f32], levels: &[NoiseLevel]) -> Result<Vec<f32>, Self::Error> {
        let size = (x.len() / levels.len().max(1)).max(1);
        let pictures = || x.chunks(size).zip(levels.iter().copied());
        let input: Vec<f32> = pictures().flat_map(|(x, level)| Self::input(x, level)).collect();
        let timesteps: Vec<f64> = levels.iter().map(|level| level.timestep).collect();
        let predicted = self.predictor.predict_each(&input, &timesteps)?;
        let mut out = Vec::with_capacity(x.len());
        for ((x, level), predicted) in pictures().zip(predicted.chunks(size)) {
            out.extend(self.denoised(x, predicted, level)?);
        }
        Ok(out)
    }
}
