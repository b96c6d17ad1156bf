//! Training against a discriminator (Rombach et al. 2022, appendix G; Esser et al. 2021, section 3.1): what an autoencoder loses to
//! it, and what it loses itself.
//!
//! CompVis sums over a picture where this crate takes means: every number here is theirs divided by the count of the picture's
//! values, and so are the gradients, to which Adam is blind.

use calotype_models::{AutoencoderKl, ParamSource, PatchDiscriminator};
use calotype_tensor::{
    Activation, Backend, Conv2d, Differentiable,
    tape::{Parameter, Tape, Var},
};

use crate::{
    AutoencoderLossConfig, DiscriminatorLossConfig, Result,
    autoencoder::sample_posterior,
    losses::{Reconstruction, Terms, Values, latent_terms, reconstruction_terms, weighted_sum},
    run::{Loss, scalar},
};

/// The greatest weight of the discriminator's verdict before [`DiscriminatorLossConfig::weight`].
const GREATEST_WEIGHT: f64 = 1e4;
/// Added to the norm of the verdict's gradient.
const NORM_EPS: f64 = 1e-4;

/// A discriminator on a tape of its own, and what else a picture that the autoencoder made is judged by.
pub(crate) struct Adversary<B: Differentiable> {
    tape: Tape<B>,
    config: DiscriminatorLossConfig,
    discriminator: PatchDiscriminator<Parameter<B>>,
    reconstruction: Terms<Tape<B>>,
    latent: Terms<Tape<B>>,
}

/// What pictures are judged to be.
struct Verdict<T> {
    /// What is made small, but for the latents' part.
    loss: f64,
    /// Its gradient by the pictures that the autoencoder made.
    gradient: T,
    terms: Values,
}

impl<B: Differentiable + Clone> Adversary<B> {
    /// With weights from `weights`: taming's start is in their specs.
    pub(crate) fn new(
        inner: &B,
        loss: &AutoencoderLossConfig,
        config: &DiscriminatorLossConfig,
        weights: &mut dyn ParamSource,
    ) -> Result<Self> {
        let tape = Tape::new(inner.clone());
        let discriminator = config.sizes().init(&tape, weights)?;
        let reconstruction = tape.no_grad(|tape| reconstruction_terms(tape, loss))?;
        Ok(Self { tape, config: config.clone(), discriminator, reconstruction, latent: latent_terms(loss) })
    }

    /// The tape with the discriminator's parameters.
    pub(crate) fn tape(&self) -> &Tape<B> {
        &self.tape
    }

    /// Whether the discriminator takes part in step `step`, from 1.
    pub(crate) fn active(&self, step: u64) -> bool {
        step > self.config.start
    }

    /// What the autoencoder makes small: reconstruction, latents, and the verdict of the discriminator as it is.
    ///
    /// The value that is given back has the gradient of the whole, but is not its number.
    pub(crate) fn generator_loss(
        &self,
        tape: &Tape<B>,
        vae: &AutoencoderKl<Parameter<B>>,
        pictures: Var<B>,
        moments: &Var<B>,
        step: u64,
        noise: impl FnOnce(usize) -> Vec<f32>,
    ) -> Result<Loss<B>> {
        let mut features = None;
        let batch = sample_posterior(tape, pictures, moments, noise, |latents| {
            let (decoded, last) = vae.decode_with_features(tape, latents)?;
            features = Some(last);
            Ok(decoded)
        })?;
        let Verdict { loss, gradient, mut terms } = self.judge(&batch, features.as_ref(), self.active(step))?;
        let (latents, more) = weighted_sum(tape, &self.latent, &batch)?;
        terms.extend(more);
        let total = loss + scalar(tape.inner(), latents.value())?;
        // A sum with the gradient as its weights has just that gradient.
        let count = tape.shape(&batch.decoded).count() as f32;
        let weighted = tape.mul(&batch.decoded, &tape.constant(gradient))?;
        let value = tape.add(&tape.scale(&tape.mean(&weighted)?, count)?, &latents)?;
        Ok(Loss { value, terms, total: Some(total) })
    }

    /// Judges a batch, without the latents.
    fn judge(
        &self,
        batch: &Reconstruction<Var<B>>,
        features: Option<&Var<B>>,
        active: bool,
    ) -> Result<Verdict<B::Tensor>> {
        let (tape, inner) = (&self.tape, self.tape.inner());
        let constant = |x: &Var<B>| tape.constant(x.value().clone());
        let decoded = tape.leaf(batch.decoded.value().clone());
        let seen = Reconstruction {
            pictures: constant(&batch.pictures),
            decoded: decoded.clone(),
            mean: constant(&batch.mean),
            log_variance: constant(&batch.log_variance),
        };
        tape.clear();
        let zero = || inner.scale(batch.decoded.value(), 0.0);
        let gradient = |loss: &Var<B>| -> Result<B::Tensor> {
            Ok(match tape.backward(loss)?.leaf(&decoded) {
                Some(gradient) => gradient.clone(),
                None => zero()?,
            })
        };
        let (reconstruction, mut terms) = tape.frozen(|tape| weighted_sum(tape, &self.reconstruction, &seen))?;
        let mut loss = scalar(inner, reconstruction.value())?;
        let mut whole = gradient(&reconstruction)?;
        let (Some(features), true) = (features, active) else {
            return Ok(Verdict { loss, gradient: whole, terms });
        };

        let verdict = tape.frozen(|tape| -> Result<_> {
            Ok(tape.scale(&tape.mean(&self.discriminator.forward(tape, &decoded)?)?, -1.0)?)
        })?;
        let generator = scalar(inner, verdict.value())?;
        let of_verdict = gradient(&verdict)?;
        // Of the weights of the decoder's last layer, which is a 3×3 convolution.
        let norm = |gradient: &B::Tensor| -> Result<f64> {
            let last = inner.conv2d_backward_weight(features.value(), gradient, [3, 3], Conv2d::padded(1))?;
            Ok(inner.sum_squares(&last)?.sqrt())
        };
        let values = (inner.shape(&whole).count() / inner.shape(&whole).first().copied().unwrap_or(1).max(1)) as f64;
        let adaptive = (values * norm(&whole)? / (norm(&of_verdict)? + NORM_EPS)).clamp(0.0, GREATEST_WEIGHT);
        let weight = adaptive * f64::from(self.config.weight) / values;
        loss += weight * generator;
        terms.extend([("generator", generator), ("adaptive_weight", weight * values)]);
        inner.accumulate(&mut whole, &inner.scale(&of_verdict, weight as f32)?)?;
        Ok(Verdict { loss, gradient: whole, terms })
    }

    /// What the discriminator makes small: half of `mean max(0, 1 - D(drawn)) + mean max(0, 1 + D(made))` (Lim & Ye 2017).
    pub(crate) fn discriminator_loss(&self, drawn: &B::Tensor, made: &B::Tensor) -> Result<Loss<B>> {
        let tape = &self.tape;
        tape.clear();
        let hinge = |pictures: &B::Tensor, sign: f32| -> Result<Var<B>> {
            let logits = self.discriminator.forward(tape, &tape.constant(pictures.clone()))?;
            let shape = tape.shape(&logits);
            let one = tape.from_f32(shape, vec![1.0; shape.count()])?;
            let margin = tape.add(&one, &tape.scale(&logits, sign)?)?;
            Ok(tape.mean(&tape.activation(&margin, Activation::Relu)?)?)
        };
        // Two passes, since each batch has statistics of its own.
        let value = tape.scale(&tape.add(&hinge(drawn, -1.0)?, &hinge(made, 1.0)?)?, 0.5)?;
        Ok(Loss { value, terms: Vec::new(), total: None })
    }
}
