//! Group norm by statistics of slices of the pixels, and norms of rows.

use calotype_tensor::{Activation, Result, Shape, op_shapes};

use super::{Run, activation_code, lanes, words};
use crate::{Gpu, Param, Tensor, arena::capacity, kernel::Program};

/// Elements of a group that one workgroup normalises, at most. None of it depends on the batch.
const WHOLE: usize = 1 << 17;
/// Pixels of a slice, at least; slices of an image, at most.
const SLICE: usize = 64;
const SLICES: usize = 256;

/// How the statistics of a group norm are found: none of it depends on the batch.
pub(crate) struct Slices {
    /// Pixels of a slice.
    slice: usize,
    slices: usize,
    /// Bytes of their statistics, and of those of the groups if they are others.
    bytes: [usize; 2],
}

impl Slices {
    pub(crate) fn new(batch: usize, pixels: usize, groups: usize) -> Self {
        let slice = pixels.div_ceil((pixels / SLICE).clamp(1, SLICES));
        let slices = pixels.div_ceil(slice);
        let merged = batch * groups * 8;
        Self { slice, slices, bytes: [merged * slices, if slices > 1 { merged } else { 0 }] }
    }

    /// What the statistics take.
    pub(crate) fn workspace(&self) -> usize {
        capacity(self.bytes[0]) + self.bytes[1]
    }
}

impl Gpu {
    pub(crate) fn normalise_groups(
        &self,
        x: &Tensor,
        gamma: &Param,
        beta: &Param,
        groups: usize,
        eps: f32,
        activation: Activation,
    ) -> Result<Tensor> {
        let op = "group_norm";
        let [batch, pixels, channels] =
            op_shapes::group_norm(x.shape, gamma.shape(), beta.shape(), groups, activation)?;
        let per_group = channels / groups;
        if pixels.saturating_mul(per_group) <= WHOLE {
            return self.normalise_small_groups(x, [gamma, beta], [pixels, groups], eps, activation);
        }
        let plan = Slices::new(batch, pixels, groups);
        let workspace = self.place(plan.workspace())?;
        let y = self.tensor(x.shape)?;
        let partial = workspace.span(0, plan.bytes[0]);

        let block_groups = (256 / per_group).clamp(1, groups);
        let extents = [pixels, channels, groups, per_group, block_groups, plan.slice, plan.slices];
        self.launch(Run {
            program: Program::GroupStats,
            wide: false,
            spans: &[Some(partial), Some(x.span())],
            words: &words(op, extents)?,
            grid: [plan.slices, groups.div_ceil(block_groups), batch],
        })?;
        let mut stats = partial;
        if plan.slices > 1 {
            stats = workspace.span(capacity(plan.bytes[0]), plan.bytes[1]);
            self.launch(Run {
                program: Program::GroupMerge,
                wide: false,
                spans: &[Some(stats), Some(partial)],
                words: &words(op, [pixels, per_group, plan.slice, plan.slices])?,
                grid: [batch * groups, 1, 1],
            })?;
        }
        let lanes = lanes(&[channels]);
        let extents = words(op, [pixels * channels, channels, groups, per_group])?;
        let numbers = [((pixels * per_group) as f32).to_bits(), eps.to_bits(), activation_code(activation)];
        let affine = [gamma.vector(op)?, beta.vector(op)?];
        let spans = [Some(y.span()), Some(x.span()), Some(stats), Some(affine[0]), Some(affine[1])];
        let rest = [&extents[..], &numbers].concat();
        self.launch_each(op, Program::GroupApply, [x.shape.count(), lanes], &spans, &rest)?;
        Ok(y)
    }

    /// In one run, a workgroup for each group.
    fn normalise_small_groups(
        &self,
        x: &Tensor,
        [gamma, beta]: [&Param; 2],
        [pixels, groups]: [usize; 2],
        eps: f32,
        activation: Activation,
    ) -> Result<Tensor> {
        let op = "group_norm";
        let channels = x.shape.last();
        let per_group = channels / groups;
        let lanes = lanes(&[per_group]);
        let y = self.tensor(x.shape)?;
        let affine = [gamma.vector(op)?, beta.vector(op)?];
        let numbers = [((pixels * per_group) as f32).to_bits(), eps.to_bits(), activation_code(activation)];
        let extents = words(op, [pixels, channels / lanes, per_group / lanes, groups])?;
        self.launch(Run {
            program: Program::GroupNorm,
            wide: lanes == 4,
            spans: &[Some(y.span()), Some(x.span()), Some(affine[0]), Some(affine[1])],
            words: &[&extents[..], &numbers].concat(),
            grid: [x.shape.count() / (pixels * channels) * groups, 1, 1],
        })?;
        Ok(y)
    }

    /// Layer norm, or without gain and offset rows divided by their length.
    pub(crate) fn normalise_rows(&self, x: &Tensor, affine: Option<[&&Param; 2]>, eps: f32) -> Result<Tensor> {
        let op = if affine.is_some() { "layer_norm" } else { "unit_rows" };
        let width = x.shape.last();
        let lanes = lanes(&[width]);
        let affine = affine.map(|[gamma, beta]| Ok([gamma.vector(op)?, beta.vector(op)?])).transpose()?;
        let y = self.tensor(x.shape)?;
        let [rows, units] = words(op, [x.shape.rows(), width / lanes])?;
        self.launch(Run {
            program: Program::RowNorm,
            wide: lanes == 4,
            spans: &[Some(y.span()), Some(x.span()), affine.map(|[gamma, _]| gamma), affine.map(|[_, beta]| beta)],
            words: &[rows, units, (width as f32).to_bits(), eps.to_bits(), affine.is_none().into()],
            grid: self.blocks(x.shape.rows()),
        })?;
        Ok(y)
    }

    /// What the statistics of a group norm of `x` take.
    pub(crate) fn group_norm_workspace(&self, x: Shape, groups: usize) -> usize {
        op_shapes::picture("group_norm", "x", x).map_or(0, |[batch, height, width, channels]| {
            let pixels = height * width;
            match pixels.saturating_mul(channels / groups.max(1)) <= WHOLE {
                true => 0,
                false => Slices::new(batch, pixels, groups).workspace(),
            }
        })
    }
}
