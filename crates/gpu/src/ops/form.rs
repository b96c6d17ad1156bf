//! Operations that only move elements.

use calotype_tensor::{Result, Shape, op_shapes};

use super::{lanes, words};
use crate::{Gpu, Param, Tensor, kernel::Program};

/// What is moved of each row, and where to; in elements.
struct Move {
    rows: usize,
    width: usize,
    /// Elements of a row, and where the part begins.
    from: [usize; 2],
    to: [usize; 2],
    /// Pixels of a line after nearest upsampling, or 0.
    line: usize,
}

impl Gpu {
    fn moved(&self, op: &'static str, y: &Tensor, x: &Tensor, part: &Move) -> Result<()> {
        let &Move { rows, width, from, to, line } = part;
        let lanes = lanes(&[width, from[0], from[1], to[0], to[1]]);
        let units = [width, from[0], from[1], to[0], to[1]].map(|elements| elements / lanes);
        let rest = [&words(op, units)?[..], &words(op, [line])?].concat();
        self.launch_each(op, Program::Move, [rows * width, lanes], &[Some(y.span()), Some(x.span())], &rest)
    }

    pub(crate) fn take_channels(&self, x: &Tensor, start: usize, shape: Shape) -> Result<Tensor> {
        let y = self.tensor(shape)?;
        let width = shape.last();
        let part = Move { rows: shape.rows(), width, from: [x.shape.last(), start], to: [width, 0], line: 0 };
        self.moved("narrow", &y, x, &part)?;
        Ok(y)
    }

    pub(crate) fn join(&self, a: &Tensor, b: &Tensor, shape: Shape) -> Result<Tensor> {
        let y = self.tensor(shape)?;
        let [left, right] = [a.shape.last(), b.shape.last()];
        let lanes = lanes(&[left, right]);
        let rest = words("concat", [left / lanes, right / lanes])?;
        let spans = [Some(y.span()), Some(a.span()), Some(b.span())];
        self.launch_each("concat", Program::Concat, [shape.count(), lanes], &spans, &rest)?;
        Ok(y)
    }

    pub(crate) fn double_pixels(&self, x: &Tensor, shape: Shape) -> Result<Tensor> {
        let y = self.tensor(shape)?;
        let [_, _, line, width] = op_shapes::picture("upsample_nearest_2x", "y", shape)?;
        let part = Move { rows: shape.rows(), width, from: [width, 0], to: [width, 0], line };
        self.moved("upsample_nearest_2x", &y, x, &part)?;
        Ok(y)
    }

    pub(crate) fn pool(&self, x: &Tensor, shape: Shape) -> Result<Tensor> {
        let op = "max_pool_2x";
        let [_, height, width, channels] = op_shapes::picture(op, "x", x.shape)?;
        let lanes = lanes(&[channels]);
        let y = self.tensor(shape)?;
        let rest = words(op, [channels / lanes, width, height])?;
        self.launch_each(op, Program::Pool, [shape.count(), lanes], &[Some(y.span()), Some(x.span())], &rest)?;
        Ok(y)
    }

    /// Channels as pixels, or the inverse of that.
    pub(crate) fn shuffle(
        &self,
        op: &'static str,
        x: &Tensor,
        factor: usize,
        inverse: bool,
        shape: Shape,
    ) -> Result<Tensor> {
        let [_, _, width, channels] = op_shapes::picture(op, "y", shape)?;
        let y = self.tensor(shape)?;
        let rest = [&words(op, [channels, width, factor])?[..], &[inverse.into()]].concat();
        self.launch_each(op, Program::Shuffle, [shape.count(), 1], &[Some(y.span()), Some(x.span())], &rest)?;
        Ok(y)
    }

    pub(crate) fn look_up(&self, table: &Param, ids: &[u32], shape: Shape) -> Result<Tensor> {
        let op = "embedding";
        let table = table.table(op)?;
        let workspace = self.place(4 * ids.len())?;
        let y = self.tensor(shape)?;
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        self.context.upload(&bytes, workspace.span(0, bytes.len()))?;
        let lanes = lanes(&[shape.last()]);
        let spans = [Some(y.span()), Some(workspace.span(0, bytes.len())), Some(table)];
        let rest = words(op, [shape.last() / lanes])?;
        self.launch_each(op, Program::Embedding, [shape.count(), lanes], &spans, &rest)?;
        Ok(y)
    }
}
