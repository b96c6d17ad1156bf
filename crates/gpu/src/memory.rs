//! What the backend takes of memory: the questions of [`Memory`], answered by the functions that operations take it by.

use calotype_tensor::{DType, Memory, Op, ParamKind, ParamRole, Result, Shape};

use crate::{Gpu, arena::capacity, ops::product::gates_apart, param};

impl Memory for Gpu {
    fn tensor_bytes(&self, shape: Shape) -> usize {
        capacity(shape.count().saturating_mul(self.dtype.size()))
    }

    fn param_bytes(&self, role: ParamRole, shape: Shape) -> usize {
        capacity(param::bytes(role.kind, shape, self.dtype))
    }

    fn workspace_bytes(&self, op: &Op, tensors: &[Shape], params: &[(ParamRole, Shape)]) -> usize {
        match (op, tensors, params) {
            (&Op::GroupNorm { groups, .. }, &[x], _) => match self.group_norm_workspace(x, groups) {
                0 => 0,
                bytes => capacity(bytes),
            },
            (Op::LinearGeglu, &[x], &[(_, weight), ..]) if gates_apart(weight.last() / 2) => {
                self.tensor_bytes(x.with_last(weight.last()))
            }
            (Op::UpsampleConv2d, &[x], &[(role, _), ..]) if role.kind != ParamKind::UpsampledConv => {
                capacity(4 * x.count() * self.dtype.size())
            }
            (Op::Embedding { ids, .. }, ..) => capacity(ids.len() * DType::F32.size()),
            _ => 0,
        }
    }

    fn reserve(&self, bytes: usize) -> Result<()> {
        if bytes == 0 { Ok(()) } else { self.tensors.reserve(bytes) }
    }

    fn trim(&self) {
        self.tensors.trim();
        self.params.trim();
    }
}
