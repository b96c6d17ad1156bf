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
}

impl<D: Denoiser + ?Sized> Denoiser for &mut D {
    type Error = D::Error;

    fn denoise(&mut self, x: &[f32], level: NoiseLevel) -> Result<Vec<f32>, Self::Error> {
        (**self).denoise(x, level)
    }
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
}

impl<P: Predictor + ?Sized> Predictor for &mut P {
    type Error = P::Error;

    fn predict(&mut self, x: &[f32], timestep: f64) -> Result<Vec<f32>, Self::Error> {
        (**self).predict(x, timestep)
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

impl<P: Predictor> Denoiser for ModelDenoiser<P> {
    type Error = P::Error;

    /// ε: `x0 = x − σ ε`. v (Salimans & Ho 2022): `x0 = x / (σ² + 1) − v σ / sqrt(σ² + 1)`.
    fn denoise(&mut self, x: &[f32], level: NoiseLevel) -> Result<Vec<f32>, Self::Error> {
        let scale = level.scale();
        let input: Vec<f32> = x.iter().map(|&x| (f64::from(x) / scale) as f32).collect();
        let output = self.predictor.predict(&input, level.timestep)?;
        if output.len() != x.len() {
            return Err(Error::Length { what: "the prediction", got: output.len(), expected: x.len() }.into());
        }
        let (c_skip, c_out) = match self.prediction_type {
            PredictionType::Epsilon => (1.0, -level.sigma),
            PredictionType::VPrediction => (1.0 / (scale * scale), -level.sigma / scale),
        };
        Ok(x.iter().zip(&output).map(|(&x, &out)| (c_skip * f64::from(x) + c_out * f64::from(out)) as f32).collect())
    }
}
