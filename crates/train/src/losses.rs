//! What an autoencoder is trained for, as lists of terms; a discriminator is in [`crate::adversary`].

use std::path::Path;

use calotype_formats::Checkpoint;
use calotype_models::PerceptualDistance;
use calotype_tensor::{Backend, Shape, op_shapes};

use crate::{AutoencoderLossConfig, PerceptualNetwork, Result, run::scalar};

/// A batch that has gone through the autoencoder.
pub(crate) struct Reconstruction<T> {
    /// The pictures, `(B, H, W, 3)` in [-1, 1].
    pub(crate) pictures: T,
    /// What came out, in the same form.
    pub(crate) decoded: T,
    /// Mean of the latents' distribution, `(B, h, w, c)`.
    pub(crate) mean: T,
    /// Logarithm of its variance, in the same form.
    pub(crate) log_variance: T,
}

/// One term of the loss.
pub(crate) trait Term<B: Backend> {
    /// Its name in the metrics.
    fn name(&self) -> &'static str;
    /// Its value, of shape `(1)`.
    fn loss(&self, backend: &B, batch: &Reconstruction<B::Tensor>) -> Result<B::Tensor>;
}

/// Terms and their weights.
pub(crate) type Terms<B> = Vec<(f32, Box<dyn Term<B>>)>;

/// Names and values of terms.
pub(crate) type Values = Vec<(&'static str, f64)>;

/// The sum of the weighted terms, and each term's name and unweighted value.
pub(crate) fn weighted_sum<B: Backend>(
    backend: &B,
    terms: &Terms<B>,
    batch: &Reconstruction<B::Tensor>,
) -> Result<(B::Tensor, Values)> {
    let (mut sum, mut parts) = (backend.from_f32([1].into(), vec![0.0])?, Vec::new());
    for (weight, term) in terms {
        let part = term.loss(backend, batch)?;
        parts.push((term.name(), scalar(backend, &part)?));
        sum = backend.add(&sum, &backend.scale(&part, *weight)?)?;
    }
    Ok((sum, parts))
}

/// The terms that compare pictures, those with a weight above 0. On a tape, a perceptual network must be made as constants, in
/// [`Tape::no_grad`](calotype_tensor::tape::Tape::no_grad).
pub(crate) fn reconstruction_terms<B: Backend>(backend: &B, config: &AutoencoderLossConfig) -> Result<Terms<B>> {
    let mut all: Terms<B> = vec![(config.l1_weight, Box::new(L1)), (config.edge_weight, Box::new(Edge))];
    if let Some(network) = config.perceptual.as_ref().filter(|_| config.perceptual_weight > 0.0) {
        let open = |file: &Path| Checkpoint::open(file, "");
        let distance = match network {
            PerceptualNetwork::EfficientnetLite0(file) => {
                PerceptualDistance::efficientnet_lite0(backend, &open(file)?)?
            }
            PerceptualNetwork::Lpips { trunk, heads } => {
                PerceptualDistance::lpips(backend, &open(trunk)?, &open(heads)?)?
            }
        };
        all.push((config.perceptual_weight, Box::new(Perceptual(distance))));
    }
    Ok(all.into_iter().filter(|(weight, _)| *weight > 0.0).collect())
}

/// The terms of the latents' distribution.
pub(crate) fn latent_terms<B: Backend>(config: &AutoencoderLossConfig) -> Terms<B> {
    if config.kl_weight > 0.0 { vec![(config.kl_weight, Box::new(Kl))] } else { Vec::new() }
}

/// The mean perceptual distance.
struct Perceptual<P>(PerceptualDistance<P>);

impl<B: Backend> Term<B> for Perceptual<B::Param> {
    fn name(&self) -> &'static str {
        "perceptual"
    }

    fn loss(&self, backend: &B, batch: &Reconstruction<B::Tensor>) -> Result<B::Tensor> {
        Ok(self.0.distance(backend, &batch.decoded, &batch.pictures)?)
    }
}

/// `mean |x̂ − x|`.
struct L1;

impl<B: Backend> Term<B> for L1 {
    fn name(&self) -> &'static str {
        "l1"
    }

    fn loss(&self, backend: &B, batch: &Reconstruction<B::Tensor>) -> Result<B::Tensor> {
        let error = backend.sub(&batch.decoded, &batch.pictures)?;
        Ok(backend.mean(&backend.abs(&error)?)?)
    }
}

/// `mean |∂x̂ − ∂x|` over horizontal plus over vertical neighbours: the gradient difference loss of Mathieu et al. 2016
/// (eq. 6, α = 1, signed), which punishes blur that L1 hardly sees.
struct Edge;

impl<B: Backend> Term<B> for Edge {
    fn name(&self) -> &'static str {
        "edge"
    }

    fn loss(&self, backend: &B, batch: &Reconstruction<B::Tensor>) -> Result<B::Tensor> {
        // Differences are linear, so that of the error is the error of the differences.
        let error = backend.sub(&batch.decoded, &batch.pictures)?;
        let [b, h, w, c] = op_shapes::picture("edge loss", "pictures", backend.shape(&error))?;
        let rows = backend.reshape(&error, [b, h, w * c].into())?;
        let pictures = backend.reshape(&error, [b, h * w * c].into())?;
        let horizontal = shifted_difference(backend, &rows, c)?;
        let vertical = shifted_difference(backend, &pictures, w * c)?;
        Ok(backend.add(&horizontal, &vertical)?)
    }
}

/// `mean |x[i + shift] − x[i]|` along the last dimension.
fn shifted_difference<B: Backend>(backend: &B, x: &B::Tensor, shift: usize) -> Result<B::Tensor> {
    let length = backend.shape(x).last().saturating_sub(shift);
    let (ahead, behind) = (backend.narrow(x, shift, length)?, backend.narrow(x, 0, length)?);
    Ok(backend.mean(&backend.abs(&backend.sub(&ahead, &behind)?)?)?)
}

/// `½ Σ (μ² + σ² − 1 − log σ²)`, the divergence of the latents from a standard normal distribution
/// (Kingma & Welling 2014, appendix B) in nats, divided by the count of the picture's values.
///
/// CompVis' loss sums both L1 and divergence over a picture, so a `kl_weight` here means what it means there.
struct Kl;

impl<B: Backend> Term<B> for Kl {
    fn name(&self) -> &'static str {
        "kl"
    }

    fn loss(&self, backend: &B, batch: &Reconstruction<B::Tensor>) -> Result<B::Tensor> {
        let Reconstruction { mean, log_variance, pictures, .. } = batch;
        let square = backend.mul(mean, mean)?;
        let moments = backend.add(&square, &backend.exp(log_variance)?)?;
        let sum = backend.mean(&backend.sub(&moments, log_variance)?)?;
        let one = backend.from_f32(Shape::from([1]), vec![1.0])?;
        let share = backend.shape(mean).count() as f32 / backend.shape(pictures).count() as f32;
        Ok(backend.scale(&backend.sub(&sum, &one)?, 0.5 * share)?)
    }
}
