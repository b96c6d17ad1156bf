//! RivaGAN's networks (Zhang et al. 2019, "Robust Invisible Video Watermarking with Attention") for single images, as the Python package
//! `invisible-watermark` has them: an attention says of each pixel which of 32 bits it carries.

use calotype_formats::OnnxFile;
use calotype_tensor::{Backend, Error as TensorError, ParamData, Result as Computed};

use crate::{Error, ParamSource, ParamSpec, Result, Scope, layers::Conv, params::with_backend};

/// Bits of a mark.
pub const BITS: usize = 32;
/// Colours of an image.
const COLOURS: usize = 3;
/// Channels between the convolutions.
const WIDTH: usize = 32;
/// The side of all kernels.
const KERNEL: usize = 11;
/// How far a convolution looks.
const REACH: usize = KERNEL / 2;
/// As PyTorch's batch norm has it.
const EPS: f32 = 1e-5;
/// So many pixels are computed at a time, which takes some 200 MB.
const BAND: usize = 1 << 18;
/// What to do about a file of another network.
const ADVICE: &str = "give rivagan_decoder.onnx of PyPI's invisible-watermark";

/// The network that reads a mark.
#[derive(Clone, Debug)]
pub struct RivaGanDecoder<P> {
    attention: Branch<P>,
    /// The last of the attention, before its softmax.
    attention_norm: Norm,
    content: Branch<P>,
}

/// Two convolutions with a tanh and a batch norm between them.
#[derive(Clone, Debug)]
struct Branch<P> {
    first: Conv<P>,
    norm: Norm,
    second: Conv<P>,
    outputs: usize,
}

/// A batch norm as it is after training: a factor and a summand of each channel.
#[derive(Clone, Debug)]
struct Norm(Vec<(f32, f32)>);

/// The rows of an image that are computed at a time.
struct Band {
    /// The first of the result and the one after its last.
    rows: [usize; 2],
    /// Those of the whole image.
    height: usize,
    width: usize,
}

impl Band {
    /// The rows of which so many convolutions make the band's.
    fn reached(&self, convolutions: usize) -> [usize; 2] {
        let [top, bottom] = self.rows;
        [top.saturating_sub(convolutions * REACH), (bottom + convolutions * REACH).min(self.height)]
    }

    /// The numbers of the rows `inner` out of those of the rows `outer`.
    fn cut<'a>(&self, values: &'a [f32], outer: [usize; 2], inner: [usize; 2], channels: usize) -> &'a [f32] {
        let row = self.width * channels;
        &values[(inner[0] - outer[0]) * row..(inner[1] - outer[0]) * row]
    }
}

/// The tensors of the package's file, whose kernels have a third dimension of one frame.
struct Source<'a>(&'a OnnxFile);

impl Source<'_> {
    fn read(&self, name: &str, expected: &[usize]) -> Result<Vec<f32>> {
        let file = self.0.weights();
        let problem = |problem: String| Error::Config { model: "RivaGAN", problem };
        let Some(tensor) = file.get(name) else {
            return Err(problem(format!("the file has no tensor {name}: {ADVICE}")));
        };
        let is_as_expected = match (tensor.shape.as_slice(), expected) {
            (&[o, i, 1, y, x], expected) => [o, i, y, x] == *expected,
            (shape, expected) => shape == expected,
        };
        if !is_as_expected {
            return Err(Error::Misshapen {
                source_label: file.label().to_owned(),
                tensor: name.to_owned(),
                expected: format!("{expected:?}"),
                got: format!("{:?}", tensor.shape),
                by_config: false,
            });
        }
        let values = file.read_f32(name)?;
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(values),
            false => Err(problem(format!("tensor {name} has numbers that are not finite: get the file again"))),
        }
    }

    /// The batch norm of this name.
    fn norm(&self, name: &str) -> Result<Norm> {
        let part = |part: &str| self.read(&format!("{name}.{part}"), &[WIDTH]);
        let (gamma, beta) = (part("weight")?, part("bias")?);
        let (mean, variance) = (part("running_mean")?, part("running_var")?);
        let of_channel = |i: usize| {
            let factor = gamma[i] / (variance[i] + EPS).sqrt();
            (factor, beta[i] - mean[i] * factor)
        };
        Ok(Norm((0..WIDTH).map(of_channel).collect()))
    }
}

impl ParamSource for Source<'_> {
    fn data(&mut self, spec: &ParamSpec) -> Result<Box<dyn ParamData + '_>> {
        Ok(Box::new(self.read(&spec.name, &spec.shape)?))
    }
}

impl Norm {
    /// The norm of the tanh of each number, channels last.
    fn of_tanh(&self, values: &[f32]) -> Vec<f32> {
        let of_pixel = |pixel: &[f32]| {
            let channels = pixel.iter().zip(&self.0);
            channels.map(|(value, (factor, summand))| value.tanh() * factor + summand).collect::<Vec<_>>()
        };
        values.chunks_exact(self.0.len()).flat_map(of_pixel).collect()
    }
}

impl<P> Branch<P> {
    fn new(scope: &mut Scope<'_, P>, name: &str, inputs: usize, outputs: usize, norm: Norm) -> Result<Self> {
        let first = Conv::new(scope.sub(format_args!("{name}.0")), inputs, WIDTH, KERNEL)?;
        let second = Conv::new(scope.sub(format_args!("{name}.3")), WIDTH, outputs, KERNEL)?;
        Ok(Self { first, norm, second, outputs })
    }

    /// Of the numbers of the rows that two convolutions reach, `(rows, width, inputs)`, those of the band, `(rows, width, outputs)`.
    fn forward<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor, band: &Band) -> Computed<Vec<f32>> {
        let first = b.to_f32(&self.first.forward(b, x, None)?)?;
        let between = band.reached(1);
        let hidden = self.norm.of_tanh(band.cut(&first, band.reached(2), between, WIDTH));
        let hidden = b.from_f32([1, between[1] - between[0], band.width, WIDTH].into(), hidden)?;
        let second = b.to_f32(&self.second.forward(b, &hidden, None)?)?;
        Ok(band.cut(&second, between, band.rows, self.outputs).to_vec())
    }
}

impl<P> RivaGanDecoder<P> {
    /// Reads it from `rivagan_decoder.onnx` of PyPI's `invisible-watermark`.
    ///
    /// # Errors
    /// It is another network, or a tensor has another shape.
    pub fn open<B: Backend<Param = P>>(b: &B, file: &OnnxFile) -> Result<Self> {
        let source = Source(file);
        let (attention, content) = (source.norm("_attention.2")?, source.norm("_conv.2")?);
        let attention_norm = source.norm("_attention.5")?;
        with_backend(b, &mut Source(file), |scope| {
            let attention = Branch::new(scope, "_attention", COLOURS, BITS, attention)?;
            Ok(Self { attention, attention_norm, content: Branch::new(scope, "_conv", COLOURS, BITS, content)? })
        })
    }

    /// Of an image `(height, width, 3)` in blue, green and red from -1 to 1 the number of each bit; where it is above 0.52 the package
    /// reads a 1. The image is computed in bands, so that one of any size takes no more memory than they.
    ///
    /// # Errors
    /// There are not as many numbers as the image has.
    pub fn forward<B: Backend<Param = P>>(
        &self,
        b: &B,
        image: &[f32],
        [height, width]: [usize; 2],
    ) -> Computed<[f32; BITS]> {
        self.in_bands(b, image, [height, width], (BAND / width.max(1)).max(1))
    }

    /// As [`Self::forward`], by bands of so many rows.
    fn in_bands<B: Backend<Param = P>>(
        &self,
        b: &B,
        image: &[f32],
        [height, width]: [usize; 2],
        rows: usize,
    ) -> Computed<[f32; BITS]> {
        let pixels = height * width;
        if pixels == 0 || image.len() != pixels * COLOURS {
            let message = format!("{} numbers were given for an image of {width} x {height}", image.len());
            return Err(TensorError::Invalid { op: "RivaGAN", message });
        }
        let mut sums = [0.0f64; BITS];
        for top in (0..height).step_by(rows) {
            let band = Band { rows: [top, (top + rows).min(height)], height, width };
            let reached = band.reached(2);
            let part = band.cut(image, [0, height], reached, COLOURS).to_vec();
            let x = b.from_f32([1, reached[1] - reached[0], width, COLOURS].into(), part)?;
            let attention = self.attention_norm.of_tanh(&self.attention.forward(b, &x, &band)?);
            let content = self.content.forward(b, &x, &band)?;
            for (attention, content) in attention.chunks_exact(BITS).zip(content.chunks_exact(BITS)) {
                let greatest = attention.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let shares = attention.iter().map(|&value| (value - greatest).exp());
                let total: f32 = shares.clone().sum();
                for ((sum, share), value) in sums.iter_mut().zip(shares).zip(content) {
                    *sum += f64::from(share / total * value);
                }
            }
        }
        Ok(sums.map(|sum| (sum / pixels as f64) as f32))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use calotype_tensor::{BackendOptions, Device, Precision, cpu::CpuDevice};

    use super::*;
    use crate::Random;

    #[test]
    fn bands_make_no_difference() {
        let device = CpuDevice::new(Default::default()).unwrap();
        let b = device.backend(BackendOptions::in_precision(Precision::F32)).unwrap();
        let norm = || Norm((0..WIDTH).map(|i| (1.0 + i as f32 / 32.0, 0.2 - i as f32 / 64.0)).collect());
        let network = with_backend(&b, &mut Random { seed: 1 }, |scope| {
            let attention = Branch::new(scope, "_attention", COLOURS, BITS, norm())?;
            let content = Branch::new(scope, "_conv", COLOURS, BITS, norm())?;
            Ok(RivaGanDecoder { attention, attention_norm: norm(), content })
        });
        let network = network.unwrap();
        let [height, width] = [29, 13];
        let image: Vec<f32> = (0..height * width * 3).map(|i| (i * i % 255) as f32 / 127.5 - 1.0).collect();
        let whole = network.in_bands(&b, &image, [height, width], height).unwrap();
        for rows in [1, 3, 10, 28] {
            let parts = network.in_bands(&b, &image, [height, width], rows).unwrap();
            assert!(whole.iter().zip(parts).all(|(a, b)| (a - b).abs() < 1e-5), "{rows} rows");
        }
        assert!(network.forward(&b, &image[1..], [height, width]).is_err());
        assert!(network.forward(&b, &[], [0, 9]).is_err());
    }
}
