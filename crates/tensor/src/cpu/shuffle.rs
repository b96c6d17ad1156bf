//! Channels as pixels, and pixels as channels.

use super::{Cpu, Tensor};
use crate::{Result, Shape, op_shapes};

impl Cpu {
    pub(super) fn shuffle(&self, x: &Tensor, factor: usize, shape: Shape) -> Result<Tensor> {
        let [_, _, width, channels] = op_shapes::picture("pixel_shuffle", "y", shape)?;
        let (narrow, area) = (width / factor, factor * factor);
        self.make_rows(shape, |[scratch, _], pixel, y| {
            for (i, y) in y.chunks_exact_mut(channels).enumerate() {
                let (line, column) = ((pixel + i) / width, (pixel + i) % width);
                let x = x.rows(self.isa, line / factor * narrow + column / factor, 1, scratch);
                let place = line % factor * factor + column % factor;
                y.iter_mut().zip(x.chunks_exact(area)).for_each(|(y, x)| *y = x[place]);
            }
        })
    }

    pub(super) fn unshuffle(&self, x: &Tensor, factor: usize, shape: Shape) -> Result<Tensor> {
        let [_, _, width, channels] = op_shapes::picture("pixel_unshuffle", "y", shape)?;
        let (wide, area) = (width * factor, factor * factor);
        self.make_rows(shape, |[scratch, _], pixel, y| {
            for (i, y) in y.chunks_exact_mut(channels).enumerate() {
                let (line, column) = ((pixel + i) / width, (pixel + i) % width);
                for place in 0..area {
                    let from = (line * factor + place / factor) * wide + column * factor + place % factor;
                    let x = x.rows(self.isa, from, 1, scratch);
                    y.chunks_exact_mut(area).zip(x).for_each(|(y, &x)| y[place] = x);
                }
            }
        })
    }
}
