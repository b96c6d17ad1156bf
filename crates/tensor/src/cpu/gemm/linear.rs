use crate::cpu::{
    Cpu, Param, Tensor,
    gemm::{Epilogue, Rows, outer::gather_outer},
};
use crate::{Activation, Result, Shape, backend::linear_then_geglu, op_shapes};

impl<'a> Epilogue<'a> {
    /// What `op` does with its product.
    pub(in crate::cpu) fn new(
        op: &'static str,
        bias: Option<&'a Param>,
        residual: Option<&'a Tensor>,
        activation: Activation,
    ) -> Result<Self> {
        let bias = bias.map(|bias| bias.vector(op)).transpose()?;
        let residual = residual.map(Tensor::elements).transpose()?;
        Ok(Self { bias, activation, residual, gated: false })
    }
}

impl Cpu {
    pub(in crate::cpu) fn multiply(
        &self,
        x: &Tensor,
        weight: &Param,
        bias: Option<&Param>,
        residual: Option<&Tensor>,
        activation: Activation,
        shape: Shape,
    ) -> Result<Tensor> {
        let epilogue = Epilogue::new("linear", bias, residual, activation)?;
        let weight = &weight.weight("linear")?.packed;
        let x = self.operands(x, weight.format.arithmetic)?;
        self.make(shape, |y| self.gather_multiply(weight, &Rows, &x, shape.rows(), y.share(), epilogue))
    }

    /// [`Backend::linear_geglu`](crate::Backend::linear_geglu) in one product, where whole panels are gates.
    pub(in crate::cpu) fn multiply_gated(
        &self,
        x: &Tensor,
        weight: &Param,
        bias: Option<&Param>,
        shape: Shape,
    ) -> Result<Tensor> {
        if !self.gates_in_product(shape) {
            return linear_then_geglu(self, x, weight, bias);
        }
        let op = "linear_geglu";
        let epilogue = Epilogue { gated: true, ..Epilogue::new(op, bias, None, Activation::None)? };
        let weight = &weight.weight(op)?.packed;
        let x = self.operands(x, weight.format.arithmetic)?;
        self.make(shape, |y| self.gather_multiply(weight, &Rows, &x, shape.rows(), y.share(), epilogue))
    }

    /// Whether a gated product with a result of this shape is one: its gates begin with a panel.
    pub(in crate::cpu) fn gates_in_product(&self, shape: Shape) -> bool {
        shape.last().is_multiple_of(self.isa.panel())
    }

    pub(in crate::cpu) fn multiply_backward_input(&self, dy: &Tensor, weight: &Param) -> Result<Tensor> {
        let op = "linear_backward_input";
        op_shapes::param(crate::ParamKind::Linear, weight.shape())?;
        let [inputs, columns] = [weight.shape()[0], weight.shape()[1]];
        op_shapes::same(op, "dy", dy.shape().with_last(columns), dy.shape())?;
        let shape = dy.shape().with_last(inputs);
        let weight = weight.weight(op)?.transposed(self, op)?;
        let dy = self.operands(dy, weight.format.arithmetic)?;
        self.make(shape, |dx| self.gather_multiply(weight, &Rows, &dy, shape.rows(), dx.share(), Epilogue::default()))
    }

    pub(in crate::cpu) fn multiply_backward_weight(&self, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let (inputs, columns) = (x.shape().last(), dy.shape().last());
        let op = "linear_backward_weight";
        op_shapes::same(op, "dy", x.shape().with_last(columns), dy.shape())?;
        self.make_f32([inputs, columns].into(), |dw| gather_outer(self, op, &Rows, [x, dy], dw))
    }
}
