//! RRDBNet (Wang et al. 2018, "ESRGAN"): residual dense blocks in residual blocks at the picture's own size, then nearest upsampling
//! by 2 as often as needed; with more paths in ESRGAN+ (Rakotonirina & Rasoanaivo 2020).

use calotype_tensor::{Activation, Backend, Conv2d, ParamData, ParamKind, Result as Computed};

use super::config::Shapes;
use crate::{
    Init, ParamSource, ParamSpec, Result, Scope,
    layers::{Conv, Upsampler},
};

/// What a block's result is multiplied by before its input is added.
const RESIDUAL: f32 = 0.2;
/// Convolutions of a dense block.
const DENSE: usize = 5;
/// The last of them, whose weights have that factor already.
const WEIGHED: &str = ".conv5.";

/// The sizes of an RRDBNet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RrdbConfig {
    /// Channels of the first convolution's input.
    pub inputs: usize,
    /// Channels of the picture it gives.
    pub outputs: usize,
    /// Channels between blocks.
    pub channels: usize,
    /// Channels that each convolution of a dense block adds.
    pub growth: usize,
    /// Residual blocks of three dense blocks each.
    pub blocks: usize,
    /// How often it doubles.
    pub ups: usize,
    /// Pixels of a side that are channels of one at its input, or 1.
    pub unshuffle: usize,
    /// Whether it has ESRGAN+'s paths.
    pub plus: bool,
}

impl RrdbConfig {
    pub(super) fn infer(shapes: &Shapes<'_>) -> Result<Self> {
        let (inputs, channels) = (shapes.extent("conv_first.weight", 1)?, shapes.extent("conv_first.weight", 0)?);
        let outputs = shapes.extent("conv_last.weight", 0)?;
        let unshuffle = [2, 4].into_iter().find(|factor| outputs * factor * factor == inputs).unwrap_or(1);
        let config = Self {
            inputs,
            outputs,
            channels,
            growth: shapes.extent("body.0.rdb1.conv1.weight", 0)?,
            blocks: shapes.count(|n| format!("body.{n}.rdb1.conv1.weight")),
            ups: shapes.count(|n| format!("conv_up{}.weight", n + 1)),
            unshuffle,
            plus: shapes.has("body.0.rdb1.conv1x1.weight"),
        };
        if config.ups > 5 || !(1_usize << config.ups).is_multiple_of(unshuffle) {
            return shapes.refuse(format!("it doubles {} times what it made {unshuffle} times smaller", config.ups));
        }
        Ok(config)
    }

    /// How much it enlarges.
    #[must_use]
    pub fn scale(&self) -> usize {
        (1 << self.ups) / self.unshuffle
    }

    /// Channels of the picture it takes.
    #[must_use]
    pub fn colours(&self) -> usize {
        self.inputs / (self.unshuffle * self.unshuffle)
    }
}

/// Another source, but the weights of each dense block's last convolution are times its factor.
pub(super) struct Weighed<'a>(pub(super) &'a mut dyn ParamSource);

impl ParamSource for Weighed<'_> {
    fn data(&mut self, spec: &ParamSpec) -> Result<Box<dyn ParamData + '_>> {
        let data = self.0.data(spec)?;
        Ok(if spec.name.contains(WEIGHED) { Box::new(Scaled(data)) } else { data })
    }
}

/// Data times the factor of a block.
struct Scaled<'a>(Box<dyn ParamData + 'a>);

impl ParamData for Scaled<'_> {
    fn count(&self) -> usize {
        self.0.count()
    }

    fn read(&self, start: usize, to: &mut [f32]) -> Computed<()> {
        self.0.read(start, to)?;
        to.iter_mut().for_each(|x| *x *= RESIDUAL);
        Ok(())
    }
}

#[derive(Clone, Debug)]
pub(super) struct RrdbNet<P> {
    unshuffle: usize,
    first: Conv<P>,
    blocks: Vec<[Dense<P>; 3]>,
    body: Conv<P>,
    ups: Vec<Upsampler<P>>,
    hr: Conv<P>,
    last: Conv<P>,
}

/// A dense block: each convolution sees the input and what those before it made.
#[derive(Clone, Debug)]
struct Dense<P> {
    convolutions: Vec<Conv<P>>,
    /// ESRGAN+'s path to the second, a 1×1 convolution.
    plus: Option<P>,
}

impl<P> Dense<P> {
    fn new(mut scope: Scope<'_, P>, config: &RrdbConfig) -> Result<Self> {
        let RrdbConfig { channels, growth, plus, .. } = *config;
        let convolution = |n: usize| {
            let (outputs, activation) =
                if n + 1 < DENSE { (growth, Activation::LeakyRelu) } else { (channels, Activation::None) };
            let conv = Conv::new(scope.sub(format_args!("conv{}", n + 1)), channels + n * growth, outputs, 3)?;
            Ok(conv.with(1, activation))
        };
        let convolutions = (0..DENSE).map(convolution).collect::<Result<_>>()?;
        let init = Init::Uniform((channels as f32).sqrt().recip());
        let mut conv1x1 = || scope.param("conv1x1.weight", ParamKind::Conv, &[growth, channels, 1, 1], init);
        Ok(Self { convolutions, plus: plus.then(&mut conv1x1).transpose()? })
    }

    fn forward<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        let (mut seen, mut second) = (x.clone(), None);
        for (n, conv) in self.convolutions.iter().enumerate() {
            if n + 1 == DENSE {
                return conv.forward(b, &seen, Some(x));
            }
            let path = match (&self.plus, n) {
                (Some(weight), 1) => Some(b.conv2d(x, weight, None, None, Conv2d::padded(0))?),
                (Some(_), 3) => second.clone(),
                _ => None,
            };
            let y = conv.forward(b, &seen, path.as_ref())?;
            seen = b.concat(&seen, &y)?;
            if n == 1 {
                second = Some(y);
            }
        }
        Ok(seen)
    }
}

impl<P> RrdbNet<P> {
    pub(super) fn new(config: &RrdbConfig, scope: &mut Scope<'_, P>) -> Result<Self> {
        let RrdbConfig { inputs, outputs, channels, blocks, ups, unshuffle, .. } = *config;
        let first = Conv::new(scope.sub("conv_first").unquantised(), inputs, channels, 3)?;
        let block = |n: usize| {
            let mut dense = |i: usize| Dense::new(scope.sub(format_args!("body.{n}.rdb{i}")), config);
            Ok([dense(1)?, dense(2)?, dense(3)?])
        };
        Ok(Self {
            unshuffle,
            first,
            blocks: (0..blocks).map(block).collect::<Result<_>>()?,
            body: Conv::new(scope.sub("conv_body"), channels, channels, 3)?,
            ups: (1..=ups)
                .map(|n| Upsampler::new(scope.sub(format_args!("conv_up{n}")), channels))
                .collect::<Result<_>>()?,
            hr: Conv::new(scope.sub("conv_hr"), channels, channels, 3)?.with(1, Activation::LeakyRelu),
            last: Conv::new(scope.sub("conv_last").unquantised(), channels, outputs, 3)?,
        })
    }

    pub(super) fn features<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        let x = if self.unshuffle > 1 { b.pixel_unshuffle(x, self.unshuffle)? } else { x.clone() };
        let first = self.first.forward(b, &x, None)?;
        let mut y = first.clone();
        for block in &self.blocks {
            let mut inner = y.clone();
            for dense in block {
                inner = dense.forward(b, &inner)?;
            }
            y = b.add(&b.scale(&inner, RESIDUAL)?, &y)?;
        }
        self.body.forward(b, &y, Some(&first))
    }

    pub(super) fn picture<B: Backend<Param = P>>(&self, b: &B, features: &B::Tensor) -> Computed<B::Tensor> {
        let mut y = features.clone();
        for up in &self.ups {
            y = b.activation(&up.forward(b, &y)?, Activation::LeakyRelu)?;
        }
        self.last.forward(b, &self.hr.forward(b, &y, None)?, None)
    }

    /// A convolution at each size reaches a pixel there, the last size has three.
    pub(super) fn band_context(&self) -> usize {
        2
    }
}
