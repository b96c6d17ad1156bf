//! Networks for super-resolution: a picture to one that is some whole times as large.

mod compact;
mod config;
mod hat;
mod rrdb;
mod span;
mod swinir;
mod window;

use calotype_tensor::{Backend, Result as Computed, op_shapes};

pub use compact::CompactConfig;
pub use config::{UpscalerConfig, UpscalerFile};
pub use hat::HatConfig;
pub use rrdb::RrdbConfig;
pub use span::SpanConfig;
pub use swinir::{SwinIrConfig, SwinUpsampler};

use crate::padding::Axis;
use {compact::Compact, hat::Hat, rrdb::RrdbNet, span::Span, swinir::SwinIr};

/// Rows of the features that are turned into pixels at a time.
const BAND_ROWS: usize = 16;

/// A network that enlarges pictures. What it makes of them is in two parts, since the second takes most of the memory and sees few
/// pixels around each: `features` at the picture's own size, and `picture` from these.
#[derive(Clone, Debug)]
pub struct Upscaler<P> {
    config: UpscalerConfig,
    network: Network<P>,
}

#[derive(Clone, Debug)]
enum Network<P> {
    Rrdb(RrdbNet<P>),
    Compact(Compact<P>),
    Span(Span<P>),
    SwinIr(SwinIr<P>),
    Hat(Hat<P>),
}

impl<P> Upscaler<P> {
    /// What it was made from.
    pub fn config(&self) -> &UpscalerConfig {
        &self.config
    }

    fn features<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        match &self.network {
            Network::Rrdb(network) => network.features(b, x),
            Network::Compact(network) => network.features(b, x),
            Network::Span(network) => network.features(b, x),
            Network::SwinIr(network) => network.features(b, x),
            Network::Hat(network) => network.features(b, x),
        }
    }

    fn picture<B: Backend<Param = P>>(&self, b: &B, features: &B::Tensor) -> Computed<B::Tensor> {
        match &self.network {
            Network::Rrdb(network) => network.picture(b, features),
            Network::Compact(network) => network.picture(b, features),
            Network::Span(network) => network.picture(b, features),
            Network::SwinIr(network) => network.picture(b, features),
            Network::Hat(network) => network.picture(b, features),
        }
    }

    /// How many rows of the features around a row its pixels are made from.
    fn band_context(&self) -> usize {
        match &self.network {
            Network::Rrdb(network) => network.band_context(),
            Network::Compact(_) => 0,
            Network::Span(_) => 1,
            Network::SwinIr(network) => network.band_context(),
            Network::Hat(network) => network.band_context(),
        }
    }

    /// Pictures `(B, H, W, colours)` in 0..1 to `(B, s·H, s·W, outputs)`, not clamped. Sides that are no multiple of what the network
    /// asks for go on by reflection, and what comes of that is cut off.
    ///
    /// # Errors
    /// The pictures have other channels.
    pub fn forward<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        let [_, h, w, _] = op_shapes::picture("upscale", "x", b.shape(x))?;
        let y = self.picture(b, &self.features(b, &self.padded(b, x)?)?)?;
        cut(b, &y, [h, w].map(|side| side * self.config.scale()))
    }

    /// [`Self::forward`] of one picture, the numbers on the host. The larger sizes are computed in bands of rows, with the same
    /// result up to rounding in much less memory.
    ///
    /// # Errors
    /// As there, or there are several pictures.
    pub fn upscale<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<Vec<f32>> {
        let [batch, h, w, channels] = op_shapes::picture("upscale", "x", b.shape(x))?;
        op_shapes::same("upscale", "x", [1, h, w, channels].into(), [batch, h, w, channels].into())?;
        let features = self.features(b, &self.padded(b, x)?)?;
        let (scale, context) = (self.config.scale(), self.band_context());
        let rows = Axis::Rows.extent(b, &features)?;
        let mut pixels = Vec::with_capacity(h * w * scale * scale * self.config.outputs());
        for start in (0..rows).step_by(BAND_ROWS) {
            let end = rows.min(start + BAND_ROWS);
            let (from, to) = (start.saturating_sub(context), rows.min(end + context));
            let band = self.picture(b, &Axis::Rows.part(b, &features, from, to - from)?)?;
            // Pixels of a row of the features.
            let each = Axis::Rows.extent(b, &band)? / (to - from);
            let own = Axis::Rows.part(b, &band, (start - from) * each, (end - start) * each)?;
            // Rows that padding has added.
            let left = (h * scale).saturating_sub(start * each).min((end - start) * each);
            if left > 0 {
                pixels.extend(b.to_f32(&cut(b, &own, [left, w * scale])?)?);
            }
        }
        Ok(pixels)
    }

    /// The picture with sides that are multiples of what the network asks for, by reflection to the right and below.
    fn padded<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        let mut x = x.clone();
        for axis in [Axis::Rows, Axis::Columns] {
            let extent = axis.extent(b, &x)?;
            for n in 0..extent.next_multiple_of(self.config.multiple()) - extent {
                // What is too small for a reflection goes on by its first line.
                let line = axis.part(b, &x, (extent - 1).saturating_sub(n + 1), 1)?;
                x = axis.join(b, &x, &line)?;
            }
        }
        Ok(x)
    }
}

/// The first rows and columns of a picture.
fn cut<B: Backend>(b: &B, x: &B::Tensor, [height, width]: [usize; 2]) -> Computed<B::Tensor> {
    let mut x = x.clone();
    for (axis, length) in [(Axis::Rows, height), (Axis::Columns, width)] {
        if axis.extent(b, &x)? > length {
            x = axis.part(b, &x, 0, length)?;
        }
    }
    Ok(x)
}
