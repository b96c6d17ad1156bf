//! The greatest of each 2×2 block.

use super::{Cpu, Tensor};
use crate::{Result, Shape, op_shapes};

impl Cpu {
    pub(super) fn pool(&self, x: &Tensor, shape: Shape) -> Result<Tensor> {
        let [_, height, width, channels] = op_shapes::picture("max_pool_2x", "x", x.shape())?;
        self.make_rows(shape, |[scratch, _], pixel, y| {
            for (i, y) in y.chunks_exact_mut(channels).enumerate() {
                let first = block(pixel + i, [height, width]);
                for (place, from) in [first, first + 1, first + width, first + width + 1].into_iter().enumerate() {
                    let x = x.rows(self.isa, from, 1, scratch);
                    if place == 0 {
                        y.copy_from_slice(x);
                    } else {
                        y.iter_mut().zip(x).for_each(|(y, &x)| *y = if x > *y { x } else { *y });
                    }
                }
            }
        })
    }

    pub(super) fn pool_backward(&self, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let op = "max_pool_2x_backward";
        op_shapes::same(op, "dy", op_shapes::max_pool_2x(x.shape())?, dy.shape())?;
        let [_, height, width, channels] = op_shapes::picture(op, "x", x.shape())?;
        let (h, w) = (height / 2, width / 2);
        let (values, dy) = (x.f32(op)?, dy.f32(op)?);
        let row = |pixel: usize| &values[pixel * channels..][..channels];
        self.make_rows(x.shape(), |_, pixel, dx| {
            for (i, dx) in dx.chunks_exact_mut(channels).enumerate() {
                let (line, column) = ((pixel + i) / width, (pixel + i) % width);
                let (image, line) = (line / height, line % height);
                dx.fill(0.0);
                if line / 2 >= h || column / 2 >= w {
                    continue;
                }
                let small = (image * h + line / 2) * w + column / 2;
                let first = block(small, [height, width]);
                let place = line % 2 * 2 + column % 2;
                let block = [first, first + 1, first + width, first + width + 1].map(row);
                for (c, (dx, dy)) in dx.iter_mut().zip(&dy[small * channels..]).enumerate() {
                    // The first of equal ones: those before must be less, those after no greater.
                    let own = block[place][c];
                    let before = block[..place].iter().all(|other| other[c] < own);
                    if before && block[place + 1..].iter().all(|other| other[c] <= own) {
                        *dx = *dy;
                    }
                }
            }
        })
    }
}

/// The first pixel of the block that becomes pixel `small`, of a picture of this height and width.
fn block(small: usize, [height, width]: [usize; 2]) -> usize {
    let (h, w) = (height / 2, width / 2);
    let (line, column) = (small / w, small % w);
    (line / h * height + line % h * 2) * width + column * 2
}
