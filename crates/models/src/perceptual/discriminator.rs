//! PatchGAN's discriminator (Isola et al. 2017, section 6.1.2), as taming-transformers has it (`NLayerDiscriminator`).

use calotype_tensor::{Activation, Backend, Conv2d, Padding, ParamKind, Result as Computed, op_shapes};

use crate::{Init, ParamSource, ParamSpec, Result, Scope, params};

/// Added to the variances.
const EPS: f32 = 1e-5;
/// The standard deviation that weights start with.
const DEVIATION: f32 = 0.02;

/// The sizes of a [`PatchDiscriminator`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiscriminatorConfig {
    /// Channels after the first convolution (`ndf`); each further one has twice as many, up to eight times.
    pub channels: usize,
    /// Convolutions with stride 2 (`n_layers`).
    pub layers: usize,
}

impl Default for DiscriminatorConfig {
    fn default() -> Self {
        Self { channels: 64, layers: 3 }
    }
}

impl DiscriminatorConfig {
    /// Makes it with `b`'s parameters from `source`.
    ///
    /// # Errors
    /// A parameter can't be had.
    pub fn init<B: Backend>(&self, b: &B, source: &mut dyn ParamSource) -> Result<PatchDiscriminator<B::Param>> {
        params::with_backend(b, source, |scope| PatchDiscriminator::new(self, scope))
    }

    /// What it asks for.
    ///
    /// # Errors
    /// As [`Self::init`].
    pub fn specs(&self) -> Result<Vec<ParamSpec>> {
        params::list(|scope| PatchDiscriminator::new(self, scope))
    }
}

/// Tells drawn pictures from made ones, patch by patch: a number for each, high for a drawn one.
///
/// Its batch norms normalise with the batch they see, as in training; it is never used otherwise.
#[derive(Clone, Debug)]
pub struct PatchDiscriminator<P>(Vec<Layer<P>>);

#[derive(Clone, Debug)]
struct Layer<P> {
    weight: P,
    bias: Option<P>,
    /// Gain and offset.
    norm: Option<[P; 2]>,
    stride: usize,
    last: bool,
}

impl<P> PatchDiscriminator<P> {
    fn new(config: &DiscriminatorConfig, scope: &mut Scope<'_, P>) -> Result<Self> {
        let width = |layer: usize| config.channels * (1 << layer.min(3));
        let (mut layers, mut place) = (Vec::new(), 0);
        for layer in 0..=config.layers + 1 {
            let (first, last) = (layer == 0, layer == config.layers + 1);
            let inputs = if first { 3 } else { width(layer - 1) };
            let outputs = if last { 1 } else { width(layer) };
            let mut conv = scope.sub(format_args!("main.{place}"));
            // PyTorch's own start for a bias: taming sets the weights alone.
            let bias = Init::Uniform(((inputs * 16) as f32).sqrt().recip());
            let weight = conv.param("weight", ParamKind::Conv, &[outputs, inputs, 4, 4], Init::Normal(DEVIATION))?;
            let bias = (first || last).then(|| conv.param("bias", ParamKind::Vector, &[outputs], bias)).transpose()?;
            let norm = if first || last {
                None
            } else {
                let mut norm = scope.sub(format_args!("main.{}", place + 1));
                let gain = norm.param("weight", ParamKind::Vector, &[outputs], Init::NormalAroundOne(DEVIATION))?;
                Some([gain, norm.param("bias", ParamKind::Vector, &[outputs], Init::Zeros)?])
            };
            layers.push(Layer { weight, bias, norm, stride: if layer < config.layers { 2 } else { 1 }, last });
            // A convolution, its norm, its activation.
            place += if first { 2 } else { 3 };
        }
        Ok(Self(layers))
    }

    /// Pictures `(B, H, W, 3)` in -1..1 to `(B, h, w, 1)`.
    ///
    /// # Errors
    /// The pictures are too small.
    pub fn forward<B: Backend<Param = P>>(&self, b: &B, pictures: &B::Tensor) -> Computed<B::Tensor> {
        let mut x = pictures.clone();
        for layer in &self.0 {
            let activates = !layer.last && layer.norm.is_none();
            let activation = if activates { Activation::LeakyRelu } else { Activation::None };
            let options = Conv2d { stride: layer.stride, padding: Padding::all(1), activation };
            x = b.conv2d(&x, &layer.weight, layer.bias.as_ref(), None, options)?;
            if let Some([gain, offset]) = &layer.norm {
                x = b.activation(&batch_norm(b, &x, gain, offset)?, Activation::LeakyRelu)?;
            }
        }
        Ok(x)
    }
}

/// Batch normalisation (Ioffe & Szegedy 2015, algorithm 1) with the statistics of `x (B, H, W, C)` itself: of one picture that has
/// all lines, each channel is a group.
fn batch_norm<B: Backend>(b: &B, x: &B::Tensor, gain: &B::Param, offset: &B::Param) -> Computed<B::Tensor> {
    let shape = b.shape(x);
    let [batch, h, w, channels] = op_shapes::picture("batch_norm", "x", shape)?;
    let one = b.reshape(x, [1, batch * h, w, channels].into())?;
    b.reshape(&b.group_norm(&one, gain, offset, channels, EPS, Activation::None)?, shape)
}
