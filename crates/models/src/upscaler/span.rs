//! SPAN (Wan et al. 2023, "Swift Parameter-free Attention Network for Efficient Super-Resolution").

use calotype_tensor::{Activation, Backend, Conv2d, ParamData, ParamKind, Result as Computed};

use super::config::Shapes;
use crate::{Init, ParamSource, ParamSpec, Result, Scope, Stored, layers::Conv};

/// What is subtracted from the colours, and what they are multiplied by then.
const MEAN: [f32; 3] = [0.4488, 0.4371, 0.4040];
const RANGE: f32 = 255.0;
/// Blocks.
const BLOCKS: usize = 6;
/// What a layer is called that was several in training.
const MERGED: &str = ".eval_conv.";

/// The sizes of a SPAN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanConfig {
    /// Channels of the picture it takes.
    pub colours: usize,
    /// Channels of the picture it gives.
    pub outputs: usize,
    /// Channels of every layer.
    pub channels: usize,
    /// How much it enlarges.
    pub scale: usize,
    /// Whether the colours' means are subtracted first.
    pub centred: bool,
    /// How many times as wide the layers in training are.
    pub gain: usize,
}

impl SpanConfig {
    pub(super) fn infer(shapes: &Shapes<'_>) -> Result<Self> {
        let (colours, channels) = (shapes.extent("conv_1.sk.weight", 1)?, shapes.extent("conv_1.sk.weight", 0)?);
        let (scale, outputs) = shapes.shuffled(shapes.extent("upsampler.0.weight", 0)?, colours)?;
        let centred = shapes.mark("no_norm").is_none();
        if centred && colours != MEAN.len() {
            return shapes.refuse(format!("it takes {colours} channels, of which the means are not known"));
        }
        let gain = shapes.extent("conv_1.conv.0.weight", 0)?.checked_div(colours).unwrap_or(0);
        if !(1..=8).contains(&gain) {
            return shapes.refuse(format!("its layers in training are {gain} times as wide, expected 1 to 8"));
        }
        Ok(Self { colours, outputs, channels, scale, centred, gain })
    }

    /// Factors and summands that centre the colours.
    pub(super) fn centre<B: Backend>(&self, b: &B) -> Result<Option<[B::Param; 2]>> {
        if !self.centred {
            return Ok(None);
        }
        let shift = MEAN.map(|mean| -mean * RANGE);
        Ok(Some([
            b.param("range", ParamKind::Table, [1, MEAN.len()].into(), &[RANGE; 3])?,
            b.param("shift", ParamKind::Vector, [MEAN.len()].into(), &shift)?,
        ]))
    }

    /// The parameters as files have them, of those that the network asks for.
    pub(super) fn stored_specs(&self, specs: &[ParamSpec]) -> Vec<ParamSpec> {
        let mut stored = Vec::new();
        for spec in specs {
            match (spec.name.split_once(MERGED), &spec.shape[..]) {
                (Some((layer, "weight")), &[outputs, inputs, ..]) => {
                    stored.extend(self.parts(layer, [outputs, inputs]).into_iter().flatten());
                }
                // They are among the parts.
                (Some(_), _) => {}
                (None, _) => stored.push(spec.clone()),
            }
        }
        stored
    }

    /// Weight and bias of the layers that make one: the path aside, and the three in a row.
    fn parts(&self, layer: &str, [outputs, inputs]: [usize; 2]) -> [[ParamSpec; 2]; 4] {
        let part = |name: &str, outputs: usize, inputs: usize, kernel: usize| {
            let spec = |last: &str, kind, shape: &[usize]| ParamSpec {
                name: format!("{layer}.{name}.{last}"),
                kind,
                shape: shape.to_vec(),
                init: Init::Zeros,
                quantise: false,
            };
            [
                spec("weight", ParamKind::Conv, &[outputs, inputs, kernel, kernel]),
                spec("bias", ParamKind::Vector, &[outputs]),
            ]
        };
        let [wide_in, wide_out] = [inputs, outputs].map(|width| width * self.gain);
        [
            part("sk", outputs, inputs, 1),
            part("conv.0", wide_in, inputs, 1),
            part("conv.1", wide_out, wide_in, 3),
            part("conv.2", outputs, wide_out, 1),
        ]
    }
}

/// A file's parameters, several layers as the one that they are after training. (The copies of these in the file may be of an
/// earlier step.)
pub(super) struct Merged<'a> {
    pub(super) stored: Stored<'a>,
    pub(super) config: &'a SpanConfig,
}

impl ParamSource for Merged<'_> {
    fn data(&mut self, spec: &ParamSpec) -> Result<Box<dyn ParamData + '_>> {
        let Some((layer, part)) = spec.name.split_once(MERGED) else { return self.stored.data(spec) };
        let (layer, is_weight) = (layer.to_owned(), part == "weight");
        let sizes = match (is_weight, &spec.shape[..]) {
            (true, &[outputs, inputs, ..]) => [outputs, inputs],
            // The first layer takes the picture, all others what it makes of it.
            _ => [self.config.channels, if layer == "conv_1" { self.config.colours } else { self.config.channels }],
        };
        let mut read = Vec::new();
        for [weight, bias] in self.config.parts(&layer, sizes) {
            let mut values = |spec: &ParamSpec| -> Result<Vec<f64>> {
                Ok(self.stored.data(spec)?.to_vec()?.into_iter().map(f64::from).collect())
            };
            read.push([values(&weight)?, values(&bias)?]);
        }
        let merged = match &read[..] {
            [aside, first, second, third] => merge(sizes, self.config.gain, [aside, first, second, third], is_weight),
            _ => Vec::new(),
        };
        Ok(Box::new(merged))
    }
}

/// The weight `(O, I, 3, 3)` or the bias `(O)` of `aside + third ∘ second ∘ first`.
fn merge(
    [outputs, inputs]: [usize; 2],
    gain: usize,
    [aside, first, second, third]: [&[Vec<f64>; 2]; 4],
    is_weight: bool,
) -> Vec<f32> {
    const TAPS: usize = 9;
    let [wide_in, wide_out] = [inputs, outputs].map(|width| width * gain);
    // second ∘ first: (wide_out, I, 9), and its bias.
    let mut inner = vec![0.0; wide_out * inputs * TAPS];
    let mut bias = second[1].clone();
    for m in 0..wide_out {
        for k in 0..wide_in {
            let taps = &second[0][(m * wide_in + k) * TAPS..][..TAPS];
            bias[m] += taps.iter().sum::<f64>() * first[1][k];
            for i in 0..inputs {
                let factor = first[0][k * inputs + i];
                let to = &mut inner[(m * inputs + i) * TAPS..][..TAPS];
                to.iter_mut().zip(taps).for_each(|(to, tap)| *to += factor * tap);
            }
        }
    }
    let row = |o: usize| &third[0][o * wide_out..][..wide_out];
    if !is_weight {
        let of = |o: usize| row(o).iter().zip(&bias).map(|(w, b)| w * b).sum::<f64>() + third[1][o] + aside[1][o];
        return (0..outputs).map(|o| of(o) as f32).collect();
    }
    let mut weight = Vec::with_capacity(outputs * inputs * TAPS);
    for o in 0..outputs {
        let mut sums = vec![0.0; inputs * TAPS];
        for (factor, from) in row(o).iter().zip(inner.chunks_exact(inputs * TAPS)) {
            sums.iter_mut().zip(from).for_each(|(sum, x)| *sum += factor * x);
        }
        for i in 0..inputs {
            sums[i * TAPS + TAPS / 2] += aside[0][o * inputs + i];
        }
        weight.extend(sums.into_iter().map(|x| x as f32));
    }
    weight
}

#[derive(Clone, Debug)]
pub(super) struct Span<P> {
    centre: Option<[P; 2]>,
    first: Conv<P>,
    blocks: Vec<[Conv<P>; 3]>,
    second: Conv<P>,
    together: Conv<P>,
    upsampler: Conv<P>,
    scale: usize,
}

impl<P> Span<P> {
    pub(super) fn new(config: &SpanConfig, scope: &mut Scope<'_, P>, centre: Option<[P; 2]>) -> Result<Self> {
        let SpanConfig { colours, outputs, channels, scale, .. } = *config;
        let mut merged = |name: String, inputs: usize| {
            Conv::new(scope.sub(format_args!("{name}.eval_conv")).unquantised(), inputs, channels, 3)
        };
        let first = merged("conv_1".to_owned(), colours)?;
        let mut blocks = Vec::new();
        for n in 1..=BLOCKS {
            let mut conv = |i: usize| merged(format!("block_{n}.c{i}_r"), channels);
            // What follows the first two is SiLU.
            blocks.push([conv(1)?.with(1, Activation::Silu), conv(2)?.with(1, Activation::Silu), conv(3)?]);
        }
        let second = merged("conv_2".to_owned(), channels)?;
        Ok(Self {
            centre,
            first,
            blocks,
            second,
            together: Conv::new(scope.sub("conv_cat"), 4 * channels, channels, 1)?,
            upsampler: Conv::new(scope.sub("upsampler.0").unquantised(), channels, outputs * scale * scale, 3)?,
            scale,
        })
    }

    pub(super) fn features<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        let x = match &self.centre {
            Some([range, shift]) => b.depthwise_conv2d(x, range, Some(shift), [1, 1], Conv2d::padded(0))?,
            None => x.clone(),
        };
        let first = self.first.forward(b, &x, None)?;
        let (mut y, mut after_first, mut inner) = (first.clone(), None, None);
        for [one, two, three] in &self.blocks {
            let activated = one.forward(b, &y, None)?;
            let third = three.forward(b, &two.forward(b, &activated, None)?, None)?;
            // (third + y) · (sigmoid(third) − ½)
            let sum = b.add(&third, &y)?;
            let gated = b.mul(&sum, &b.activation(&third, Activation::Sigmoid)?)?;
            y = b.sub(&gated, &b.scale(&sum, 0.5)?)?;
            after_first.get_or_insert_with(|| y.clone());
            inner = Some(activated);
        }
        let last = self.second.forward(b, &y, None)?;
        let mut all = b.concat(&first, &last)?;
        for part in after_first.iter().chain(&inner) {
            all = b.concat(&all, part)?;
        }
        self.together.forward(b, &all, None)
    }

    pub(super) fn picture<B: Backend<Param = P>>(&self, b: &B, features: &B::Tensor) -> Computed<B::Tensor> {
        b.pixel_shuffle(&self.upsampler.forward(b, features, None)?, self.scale)
    }
}
