use super::{
    Cpu, Param, Tensor,
    gemm::{Epilogue, Rows},
    gemm_backward::gather_outer,
};
use crate::{Activation, Backend, Result, Shape, infer};

impl Cpu {
    /// Checks what is to be done with a product of the given shape.
    pub(super) fn epilogue<'a>(
        &self,
        op: &'static str,
        shape: Shape,
        columns: usize,
        bias: Option<&'a Param>,
        residual: Option<&'a Tensor>,
        activation: Activation,
    ) -> Result<Epilogue<'a>> {
        if let Some(bias) = bias {
            infer::vector(op, "bias", columns, bias.shape())?;
        }
        if let Some(residual) = residual {
            infer::same(op, "residual", shape, residual.shape())?;
        }
        let bias = bias.map(|b| b.vector(op)).transpose()?;
        Ok(Epilogue { bias, activation, residual: residual.map(Tensor::elements), gated: false })
    }

    pub(super) fn multiply(
        &self,
        x: &Tensor,
        weight: &Param,
        bias: Option<&Param>,
        residual: Option<&Tensor>,
        activation: Activation,
    ) -> Result<Tensor> {
        let shape = infer::linear(x.shape(), weight.shape())?;
        let epilogue = self.epilogue("linear", shape, shape.last(), bias, residual, activation)?;
        let weight = &weight.weight("linear")?.packed;
        let x = self.operands(x, weight.format.arithmetic);
        Ok(self.make(shape, |y| self.gather_multiply(weight, &Rows, &x, shape.rows(), y.share(), epilogue)))
    }

    /// [`Backend::linear_geglu`](crate::Backend::linear_geglu) in one product, where whole panels are gates.
    pub(super) fn multiply_gated(&self, x: &Tensor, weight: &Param, bias: Option<&Param>) -> Result<Tensor> {
        let op = "linear_geglu";
        let product = infer::linear(x.shape(), weight.shape())?;
        let shape = infer::geglu(product)?;
        if !shape.last().is_multiple_of(self.isa.panel()) {
            return self.geglu(&self.multiply(x, weight, bias, None, Activation::None)?);
        }
        let epilogue = self.epilogue(op, shape, product.last(), bias, None, Activation::None)?;
        let epilogue = Epilogue { gated: true, ..epilogue };
        let weight = &weight.weight(op)?.packed;
        let x = self.operands(x, weight.format.arithmetic);
        Ok(self.make(shape, |y| self.gather_multiply(weight, &Rows, &x, shape.rows(), y.share(), epilogue)))
    }

    pub(super) fn multiply_backward_input(&self, dy: &Tensor, weight: &Param) -> Result<Tensor> {
        let op = "linear_backward_input";
        infer::param(crate::ParamKind::Linear, weight.shape())?;
        let [inputs, columns] = [weight.shape()[0], weight.shape()[1]];
        infer::same(op, "dy", dy.shape().with_last(columns), dy.shape())?;
        let shape = dy.shape().with_last(inputs);
        let weight = weight.weight(op)?.transposed(self, op)?;
        let dy = self.operands(dy, weight.format.arithmetic);
        Ok(self.make(shape, |dx| {
            self.gather_multiply(weight, &Rows, &dy, shape.rows(), dx.share(), Epilogue::default());
        }))
    }

    pub(super) fn multiply_backward_weight(&self, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let (inputs, columns) = (x.shape().last(), dy.shape().last());
        let op = "linear_backward_weight";
        infer::same(op, "dy", x.shape().with_last(columns), dy.shape())?;
        let (x, dy) = (x.f32(op)?, dy.f32(op)?);
        Ok(self.make_f32([inputs, columns].into(), |dw| {
            gather_outer(self.isa, &self.threads, [inputs, columns], &Rows, x, dy, dw);
        }))
    }
}
