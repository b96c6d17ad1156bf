use calotype_tensor::{Activation, Backend, Result as Computed, op_shapes};

use crate::{
    CircularPadding, Result, Scope, VaeConfig,
    config::TinyBlocks,
    layers::{Conv, Upsampler, run},
    padding::Axis,
};

/// Latents are held within plus or minus this by a `tanh` before they are decoded.
const BOUND: f32 = 3.0;
/// What is given as log-variance, for there is none: the least of a posterior.
const NO_VARIANCE: f32 = super::LOGVAR.0;
/// A band has so many times the rows that it sees beyond itself.
const BAND: usize = 3;

/// `relu(x + conv(relu(conv(relu(conv(x))))))`.
#[derive(Clone, Debug)]
struct Block<P>([Conv<P>; 3]);

impl<P> Block<P> {
    fn new(mut scope: Scope<'_, P>, width: usize) -> Result<Self> {
        let mut conv = |n: usize| Conv::new(scope.sub(format_args!("conv.{n}")), width, width, 3);
        Ok(Self([conv(0)?.with(1, Activation::Relu), conv(2)?.with(1, Activation::Relu), conv(4)?]))
    }

    fn set_wrap(&mut self, wrap: CircularPadding) {
        self.0.iter_mut().for_each(|conv| conv.wrap = wrap);
    }

    fn forward<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor, checkpointing: bool) -> Computed<B::Tensor>
    where
        P: Clone + 'static,
    {
        let block = self.clone();
        run(b, checkpointing, std::slice::from_ref(x), move |b, inputs| {
            let [first, second, third] = &block.0;
            let y = second.forward(b, &first.forward(b, &inputs[0], None)?, None)?;
            b.activation(&third.forward(b, &y, Some(&inputs[0]))?, Activation::Relu)
        })
    }
}

/// Places in a sequence of layers, one after the other.
struct Places<'s, 'p, P> {
    scope: &'s mut Scope<'p, P>,
    next: usize,
}

impl<P> Places<'_, '_, P> {
    fn skip(&mut self) {
        self.next += 1;
    }

    fn next(&mut self) -> Scope<'_, P> {
        self.next += 1;
        self.scope.sub(format_args!("layers.{}", self.next - 1))
    }

    fn blocks(&mut self, count: usize, width: usize) -> Result<Vec<Block<P>>> {
        (0..count).map(|_| Block::new(self.next(), width)).collect()
    }
}

/// `factor · x + shift`.
fn affine<B: Backend>(b: &B, x: &B::Tensor, factor: f32, shift: f32) -> Computed<B::Tensor> {
    let [batch, .., channels] = op_shapes::picture("autoencoder", "x", b.shape(x))?;
    let shift = b.from_f32([batch, channels].into(), vec![shift; batch * channels])?;
    b.add_channels(&b.scale(x, factor)?, &shift)
}

/// Picture to latents: diffusers' `EncoderTiny`.
#[derive(Clone, Debug)]
pub(super) struct TinyEncoder<P> {
    /// What begins a resolution, and its blocks.
    levels: Vec<(Conv<P>, Vec<Block<P>>)>,
    conv_out: Conv<P>,
}

impl<P> TinyEncoder<P> {
    pub(super) fn new(config: &VaeConfig, tiny: &TinyBlocks, scope: &mut Scope<'_, P>) -> Result<Self> {
        let mut scope = scope.sub("encoder");
        let mut places = Places { scope: &mut scope, next: 0 };
        let mut levels = Vec::new();
        for (i, (&blocks, &width)) in tiny.encoder.iter().zip(&config.block_out_channels).enumerate() {
            let conv = match i {
                0 => Conv::new(places.next().unquantised(), config.in_channels, width, 3)?,
                _ => Conv::unbiased(places.next(), width, width, 3)?.with(2, Activation::None),
            };
            levels.push((conv, places.blocks(blocks, width)?));
        }
        let width = config.block_out_channels.last().copied().unwrap_or(0);
        let conv_out = Conv::new(places.next().unquantised(), width, config.latent_channels, 3)?;
        Ok(Self { levels, conv_out })
    }

    pub(super) fn set_wrap(&mut self, wrap: CircularPadding) {
        for (conv, blocks) in &mut self.levels {
            conv.wrap = wrap;
            blocks.iter_mut().for_each(|block| block.set_wrap(wrap));
        }
        self.conv_out.wrap = wrap;
    }

    /// Moments whose means are the latents, and whose variances are the least there are.
    pub(super) fn forward<B: Backend<Param = P>>(
        &self,
        b: &B,
        pixels: &B::Tensor,
        checkpointing: bool,
    ) -> Computed<B::Tensor>
    where
        P: Clone + 'static,
    {
        let mut x = affine(b, pixels, 0.5, 0.5)?;
        for (conv, blocks) in &self.levels {
            x = conv.forward(b, &x, None)?;
            for block in blocks {
                x = block.forward(b, &x, checkpointing)?;
            }
        }
        let latents = self.conv_out.forward(b, &x, None)?;
        let shape = b.shape(&latents);
        let logvar = b.from_f32(shape, vec![NO_VARIANCE; shape.count()])?;
        b.concat(&latents, &logvar)
    }
}

/// The blocks of a resolution, and what doubles the picture after them.
type Level<P> = (Vec<Block<P>>, Option<Upsampler<P>>);

/// Latents to picture: diffusers' `DecoderTiny`.
#[derive(Clone, Debug)]
pub(super) struct TinyDecoder<P> {
    conv_in: Conv<P>,
    levels: Vec<Level<P>>,
    conv_out: Conv<P>,
}

impl<P> TinyDecoder<P> {
    pub(super) fn new(config: &VaeConfig, tiny: &TinyBlocks, scope: &mut Scope<'_, P>) -> Result<Self> {
        let mut scope = scope.sub("decoder");
        let mut places = Places { scope: &mut scope, next: 0 };
        let width = tiny.decoder_channels.first().copied().unwrap_or(0);
        let conv_in = Conv::new(places.next().unquantised(), config.latent_channels, width, 3)?;
        // The activation.
        places.skip();
        let mut levels = Vec::new();
        for (i, &blocks) in tiny.decoder.iter().enumerate() {
            let blocks = places.blocks(blocks, width)?;
            let upsampler = match i + 1 < tiny.decoder.len() {
                true => {
                    places.skip();
                    Some(Upsampler::unbiased(places.next(), width)?)
                }
                false => None,
            };
            levels.push((blocks, upsampler));
        }
        let conv_out = Conv::new(places.next().unquantised(), width, config.out_channels, 3)?;
        Ok(Self { conv_in: conv_in.with(1, Activation::Relu), levels, conv_out })
    }

    pub(super) fn set_wrap(&mut self, wrap: CircularPadding) {
        self.conv_in.wrap = wrap;
        for (blocks, upsampler) in &mut self.levels {
            blocks.iter_mut().for_each(|block| block.set_wrap(wrap));
            upsampler.iter_mut().for_each(|upsampler| upsampler.wrap = wrap);
        }
        self.conv_out.wrap = wrap;
    }

    /// Everything but the last convolution.
    pub(super) fn last_features<B: Backend<Param = P>>(
        &self,
        b: &B,
        latents: &B::Tensor,
        checkpointing: bool,
    ) -> Computed<B::Tensor>
    where
        P: Clone + 'static,
    {
        // bound · tanh(x / bound), by tanh(y) = 2 sigmoid(2y) - 1.
        let sigmoid = b.activation(&b.scale(latents, 2.0 / BOUND)?, Activation::Sigmoid)?;
        let mut x = self.conv_in.forward(b, &affine(b, &sigmoid, 2.0 * BOUND, -BOUND)?, None)?;
        for (blocks, upsampler) in &self.levels {
            for block in blocks {
                x = block.forward(b, &x, checkpointing)?;
            }
            if let Some(upsampler) = upsampler {
                x = upsampler.forward(b, &x)?;
            }
        }
        Ok(x)
    }

    pub(super) fn picture<B: Backend<Param = P>>(&self, b: &B, features: &B::Tensor) -> Computed<B::Tensor> {
        affine(b, &self.conv_out.forward(b, features, None)?, 2.0, -1.0)
    }

    /// One picture in bands of rows, each decoded with as many rows around it as it sees.
    pub(super) fn forward_tiled<B: Backend<Param = P>>(&self, b: &B, latents: &B::Tensor) -> Computed<B::Tensor>
    where
        P: Clone + 'static,
    {
        let rows = Axis::Rows.extent(b, latents)?;
        let reach = reach(self.levels.iter().map(|(blocks, _)| blocks.len()));
        let band = BAND * reach;
        let (mut pixels, mut shape) = (Vec::new(), b.shape(latents));
        for start in (0..rows).step_by(band) {
            let end = rows.min(start + band);
            let (from, to) = (start.saturating_sub(reach), rows.min(end + reach));
            let part = Axis::Rows.part(b, latents, from, to - from)?;
            let decoded = self.picture(b, &self.last_features(b, &part, false)?)?;
            let [_, high, wide, channels] = op_shapes::picture("decode", "a band", b.shape(&decoded))?;
            let scale = high / (to - from);
            pixels.extend(b.to_f32(&Axis::Rows.part(b, &decoded, (start - from) * scale, (end - start) * scale)?)?);
            shape = [1, rows * scale, wide, channels].into();
        }
        b.from_f32(shape, pixels)
    }
}

/// How many rows of latents around a row its pixels are made from, of a decoder with so many blocks at each resolution.
fn reach(blocks: impl Iterator<Item = usize>) -> usize {
    // A convolution before the blocks of a resolution, three in each block, and the last.
    let (mut sum, mut scale) = (1.0, 1.0);
    for blocks in blocks {
        sum += (1 + 3 * blocks) as f64 / scale;
        scale *= 2.0;
    }
    sum.ceil() as usize + 1
}

impl TinyBlocks {
    /// Rows of latents that are decoded at a time, with those around them.
    pub(crate) fn band_rows(&self) -> usize {
        (BAND + 2) * reach(self.decoder.iter().copied())
    }
}
