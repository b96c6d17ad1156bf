//! What the CPU backend takes of memory: the questions of [`Memory`], answered by the functions that the kernels themselves allocate by.

pub(super) mod buffer;

use crate::cpu::{Cpu, conv::winograd::Plan, gemm::operand::copied_words, memory::buffer::capacity, param::storage};
use crate::{Backend, Memory, Op, ParamRole, Precision, Result, Shape, op_shapes};

impl Memory for Cpu {
    fn tensor_bytes(&self, shape: Shape) -> usize {
        capacity(shape.count().saturating_mul(self.dtype().size()))
    }

    fn param_bytes(&self, role: ParamRole, shape: Shape) -> usize {
        storage(self, role, shape).bytes(role, shape)
    }

    fn workspace_bytes(&self, op: &Op, tensors: &[Shape], params: &[(ParamRole, Shape)]) -> usize {
        let format = params.first().and_then(|&(role, shape)| storage(self, role, shape).format());
        // Of what a weight is multiplied with.
        let operand =
            |x: Shape| format.map_or(0, |format| copied_words(x, self.dtype(), format.arithmetic) * size_of::<u32>());
        let buffers = match (op, tensors, params) {
            (Op::Conv2d(options), &[x, ..], &[(_, weight), ..]) => {
                let winograd = || {
                    let [kh, kw, channels, columns] = op_shapes::picture(op.name(), "weight", weight).ok()?;
                    let y = op_shapes::conv2d(x, weight, options).ok()?;
                    let plan = Plan::new(self, (format?.arithmetic, channels), [x, y], [kh, kw], *options)?;
                    Some(plan.kept_floats(plan.kept(self.isa, columns), self.isa, columns) * size_of::<f32>())
                };
                vec![winograd().unwrap_or_else(|| operand(x))]
            }
            // The convolution's result, and what it takes itself.
            (&Op::ShiftedConv2d(options), &[x, _], &[(_, weight), ..]) => {
                let y = op_shapes::conv2d(x, weight, &options).map_or(0, |y| self.tensor_bytes(y));
                vec![y, self.workspace_bytes(&Op::Conv2d(options), &[x], params)]
            }
            (Op::Linear(_) | Op::UpsampleConv2d, &[x, ..], _) => vec![operand(x)],
            (Op::LinearGeglu, &[x], &[(_, weight), ..]) => {
                let product = x.with_last(weight.last());
                let whole = !self.gates_in_product(product.with_last(product.last() / 2));
                vec![operand(x), if whole { product.count() * self.dtype().size() } else { 0 }]
            }
            (Op::Attention(options), &[q, k, v], _) => match op_shapes::attention(q, k, v, options) {
                Ok(extents) => self.attention_buffers(q, k, extents, options.heads),
                Err(_) => Vec::new(),
            },
            _ => Vec::new(),
        };
        buffers.into_iter().filter(|&bytes| bytes > 0).map(capacity).sum()
    }

    /// Narrow tensors that are joined stay where they are: who reads them next reads both.
    fn is_view(&self, op: &Op) -> bool {
        match op {
            Op::Reshape(_) => true,
            Op::Concat => self.precision != Precision::F32,
            _ => false,
        }
    }

    fn reserve(&self, bytes: usize) -> Result<()> {
        self.pool.reserve(bytes)
    }

    fn trim(&self) {
        self.pool.trim();
    }
}
