//! SRVGGNetCompact (Wang et al. 2021, "Real-ESRGAN", as its later models are): convolutions one after the other at the picture's own
//! size, then a pixel shuffle.

use calotype_tensor::{Backend, Conv2d, ParamKind, Result as Computed};

use super::config::Shapes;
use crate::{Init, Result, Scope, layers::Conv};

/// The sizes of an SRVGGNetCompact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactConfig {
    /// Channels of the picture it takes.
    pub colours: usize,
    /// Channels of the picture it gives.
    pub outputs: usize,
    /// Channels of every layer.
    pub channels: usize,
    /// Convolutions between the first and the last.
    pub convolutions: usize,
    /// How much it enlarges.
    pub scale: usize,
}

impl CompactConfig {
    pub(super) fn infer(shapes: &Shapes<'_>) -> Result<Self> {
        let layers = shapes.count(|n| format!("body.{n}.weight"));
        let (colours, channels) = (shapes.extent("body.0.weight", 1)?, shapes.extent("body.0.weight", 0)?);
        if layers < 3 || layers.is_multiple_of(2) {
            return shapes
                .refuse(format!("{layers} layers were found, expected a first, a last, and pairs with a PReLU"));
        }
        let last = shapes.extent(&format!("body.{}.weight", layers - 1), 0)?;
        let (scale, outputs) = shapes.shuffled(last, colours)?;
        if outputs != colours {
            return shapes
                .refuse(format!("it makes {outputs} channels of {colours}, to which its input can't be added"));
        }
        Ok(Self { colours, outputs, channels, convolutions: (layers - 3) / 2, scale })
    }

    /// The 1×1 convolution that repeats each channel for all pixels that it becomes.
    pub(super) fn spread<B: Backend>(&self, b: &B) -> Result<B::Param> {
        let area = self.scale * self.scale;
        let rows = self.outputs * area;
        let of = |i: usize| if i / self.colours / area == i % self.colours { 1.0 } else { 0.0 };
        let ones: Vec<f32> = (0..rows * self.colours).map(of).collect();
        Ok(b.param("spread", ParamKind::Conv, [rows, self.colours, 1, 1].into(), &ones)?)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Compact<P> {
    first: Conv<P>,
    /// A PReLU's slopes, and the convolution after it.
    layers: Vec<(P, Conv<P>)>,
    spread: P,
    scale: usize,
}

impl<P> Compact<P> {
    pub(super) fn new(config: &CompactConfig, scope: &mut Scope<'_, P>, spread: P) -> Result<Self> {
        let CompactConfig { colours, outputs, channels, convolutions, scale } = *config;
        let mut body = scope.sub("body");
        let first = Conv::new(body.sub(0).unquantised(), colours, channels, 3)?;
        let mut layers = Vec::new();
        for n in 0..=convolutions {
            let slopes = body.sub(2 * n + 1).param("weight", ParamKind::Vector, &[channels], Init::Ones)?;
            let outputs = if n == convolutions { outputs * scale * scale } else { channels };
            layers.push((slopes, Conv::new(body.sub(2 * n + 2).unquantised(), channels, outputs, 3)?));
        }
        Ok(Self { first, layers, spread, scale })
    }

    /// Every pixel of the result, those of one of `x` side by side in the channels.
    pub(super) fn features<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        let mut y = self.first.forward(b, x, None)?;
        for (n, (slopes, conv)) in self.layers.iter().enumerate() {
            // To the last the nearest pixel of the input is added.
            let spread = || b.conv2d(x, &self.spread, None, None, Conv2d::padded(0));
            let residual = (n + 1 == self.layers.len()).then(spread).transpose()?;
            y = conv.forward(b, &b.prelu(&y, slopes)?, residual.as_ref())?;
        }
        Ok(y)
    }

    pub(super) fn picture<B: Backend<Param = P>>(&self, b: &B, features: &B::Tensor) -> Computed<B::Tensor> {
        b.pixel_shuffle(features, self.scale)
    }
}
