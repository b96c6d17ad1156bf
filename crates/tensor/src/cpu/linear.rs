use super::{
    Cpu, Param, Tensor,
    gemm::{Epilogue, Rows, gather_multiply, gather_outer},
};
use crate::{Activation, Result, Shape, infer};

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
        Ok(Epilogue { bias: bias.map(|b| b.plain(op)).transpose()?, activation, residual: residual.map(Tensor::data) })
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
        let weight = weight.weight("linear")?;
        Ok(self.make(shape, |y| {
            gather_multiply(&self.threads, &weight.packed, &Rows, x.data(), y, epilogue);
        }))
    }

    pub(super) fn multiply_backward_input(&self, dy: &Tensor, weight: &Param) -> Result<Tensor> {
        let op = "linear_backward_input";
        infer::param(crate::ParamKind::Linear, weight.shape())?;
        let [inputs, columns] = [weight.shape()[0], weight.shape()[1]];
        infer::same(op, "dy", dy.shape().with_last(columns), dy.shape())?;
        let weight = weight.weight(op)?;
        Ok(self.make(dy.shape().with_last(inputs), |dx| {
            gather_multiply(&self.threads, weight.transposed(self), &Rows, dy.data(), dx, Epilogue::default());
        }))
    }

    pub(super) fn multiply_backward_weight(&self, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let (inputs, columns) = (x.shape().last(), dy.shape().last());
        infer::same("linear_backward_weight", "dy", x.shape().with_last(columns), dy.shape())?;
        Ok(self.make([inputs, columns].into(), |dw| {
            gather_outer(self.isa, &self.threads, [inputs, columns], &Rows, x.data(), dy.data(), dw);
        }))
    }
}
