//! The operations as data: what every backend runs, what a profile tells apart, and what memory is planned by.

use crate::{Activation, Attention, Conv2d, Error, Result, Shape, op_shapes};

/// One operation of [`Backend`](crate::Backend) with all arguments but the tensors and parameters, which
/// [`Backend::run`](crate::Backend::run) takes in the order that is given here.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Tensors `x` and perhaps `residual`, parameters `weight` and perhaps `bias`.
    Conv2d(Conv2d),
    /// Tensors `x` and `shift`, parameters `weight` and perhaps `bias`.
    ShiftedConv2d(Conv2d),
    /// Tensor `x`, parameters `weight` and perhaps `bias`.
    UpsampleConv2d,
    /// Tensors `x` and perhaps `residual`, parameters `weight` and perhaps `bias`.
    Linear(Activation),
    /// Tensor `x`, parameters `weight` and perhaps `bias`.
    LinearGeglu,
    /// Tensor `x`, parameters `weight` and perhaps `bias`.
    DepthwiseConv2d {
        /// Height and width of the kernel.
        kernel: [usize; 2],
        /// Stride and padding.
        options: Conv2d,
    },
    /// Tensors `q`, `k` and `v`.
    Attention(Attention),
    /// Tensor `x`, parameters `gamma` and `beta`.
    GroupNorm {
        /// How many groups.
        groups: usize,
        /// Added to the variance.
        eps: f32,
        /// The activation.
        activation: Activation,
    },
    /// Tensor `x`, parameters `gamma` and `beta`.
    LayerNorm {
        /// Added to the variance.
        eps: f32,
    },
    /// Tensor `x`.
    UnitRows {
        /// Added to the length.
        eps: f32,
    },
    /// Tensor `x`.
    Activation(Activation),
    /// Tensor `x`, parameter `slope`.
    PRelu,
    /// Tensor `x`.
    Geglu,
    /// Tensors `a` and `b`.
    Add,
    /// Tensors `a` and `b`.
    Sub,
    /// Tensors `a` and `b`.
    Mul,
    /// Tensor `x`.
    Scale(f32),
    /// Tensors `x` and `v`.
    AddChannels,
    /// Tensor `x`.
    Abs,
    /// Tensor `x`.
    Exp,
    /// Tensor `x`.
    Clamp {
        /// The least result.
        low: f32,
        /// The greatest result.
        high: f32,
    },
    /// Tensor `x`.
    Mean,
    /// Tensor `x`; the new shape.
    Reshape(Shape),
    /// Tensor `x`.
    Narrow {
        /// The first channel taken.
        start: usize,
        /// How many are taken.
        length: usize,
    },
    /// Tensors `a` and `b`.
    Concat,
    /// Tensor `x`.
    UpsampleNearest2x,
    /// Tensor `x`.
    MaxPool2x,
    /// Tensor `x`; pixels of a side that each becomes.
    PixelShuffle(usize),
    /// Tensor `x`; pixels of a side that become one.
    PixelUnshuffle(usize),
    /// Parameter `table`.
    Embedding {
        /// The rows to take.
        ids: Vec<u32>,
        /// Among how many sequences they are divided.
        batch: usize,
    },
}

impl Op {
    /// The name of its method.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Conv2d(_) => "conv2d",
            Self::ShiftedConv2d(_) => "shifted_conv2d",
            Self::UpsampleConv2d => "upsample_conv2d",
            Self::Linear(_) => "linear",
            Self::LinearGeglu => "linear_geglu",
            Self::DepthwiseConv2d { .. } => "depthwise_conv2d",
            Self::Attention(_) => "attention",
            Self::GroupNorm { .. } => "group_norm",
            Self::LayerNorm { .. } => "layer_norm",
            Self::UnitRows { .. } => "unit_rows",
            Self::Activation(_) => "activation",
            Self::PRelu => "prelu",
            Self::Geglu => "geglu",
            Self::Add => "add",
            Self::Sub => "sub",
            Self::Mul => "mul",
            Self::Scale(_) => "scale",
            Self::AddChannels => "add_channels",
            Self::Abs => "abs",
            Self::Exp => "exp",
            Self::Clamp { .. } => "clamp",
            Self::Mean => "mean",
            Self::Reshape(_) => "reshape",
            Self::Narrow { .. } => "narrow",
            Self::Concat => "concat",
            Self::UpsampleNearest2x => "upsample_nearest_2x",
            Self::MaxPool2x => "max_pool_2x",
            Self::PixelShuffle(_) => "pixel_shuffle",
            Self::PixelUnshuffle(_) => "pixel_unshuffle",
            Self::Embedding { .. } => "embedding",
        }
    }

    /// The shape of the result, from those of the arguments.
    ///
    /// # Errors
    /// The arguments are not as many as the operation takes, or their shapes don't fit.
    pub fn shape(&self, tensors: &[Shape], params: &[Shape]) -> Result<Shape> {
        match (self, tensors, params) {
            (Self::Conv2d(options), &[x, ref residual @ ..], &[weight, ref bias @ ..]) => {
                let y = op_shapes::conv2d(x, weight, options)?;
                self.epilogue(y, y, residual, bias)
            }
            (Self::ShiftedConv2d(options), &[x, shift], &[weight, ref bias @ ..]) => {
                let y = op_shapes::shifted_conv2d(x, shift, weight, options)?;
                self.epilogue(y, y, &[], bias)
            }
            (Self::UpsampleConv2d, &[x], &[weight, ref bias @ ..]) => {
                let y = op_shapes::upsample_conv2d(x, weight)?;
                self.epilogue(y, y, &[], bias)
            }
            (Self::Linear(_), &[x, ref residual @ ..], &[weight, ref bias @ ..]) => {
                let y = op_shapes::linear(x, weight)?;
                self.epilogue(y, y, residual, bias)
            }
            (Self::LinearGeglu, &[x], &[weight, ref bias @ ..]) => {
                let product = op_shapes::linear(x, weight)?;
                self.epilogue(op_shapes::geglu(product)?, product, &[], bias)
            }
            (&Self::DepthwiseConv2d { kernel, ref options }, &[x], &[weight, ref bias @ ..]) => {
                let y = op_shapes::depthwise_conv2d(x, weight, kernel, options)?;
                self.epilogue(y, y, &[], bias)
            }
            (Self::Attention(options), &[q, k, v], []) => op_shapes::attention(q, k, v, options).map(|_| q),
            (&Self::GroupNorm { groups, activation, .. }, &[x], &[gamma, beta]) => {
                op_shapes::group_norm(x, gamma, beta, groups, activation).map(|_| x)
            }
            (Self::LayerNorm { .. }, &[x], &[gamma, beta]) => {
                op_shapes::vector("layer_norm", "gamma", x.last(), gamma)?;
                op_shapes::vector("layer_norm", "beta", x.last(), beta)?;
                Ok(x)
            }
            (Self::UnitRows { .. }, &[x], []) => Ok(x),
            (Self::Activation(_) | Self::Scale(_) | Self::Abs | Self::Exp | Self::Clamp { .. }, &[x], []) => Ok(x),
            (Self::PRelu, &[x], &[slope]) => op_shapes::vector("prelu", "slope", x.last(), slope).map(|()| x),
            (Self::Geglu, &[x], []) => op_shapes::geglu(x),
            (Self::Add | Self::Sub | Self::Mul, &[a, b], []) => op_shapes::same(self.name(), "b", a, b).map(|()| a),
            (Self::AddChannels, &[x, v], []) => op_shapes::add_channels(x, v).map(|_| x),
            (Self::Mean, [_], []) => Ok([1].into()),
            (&Self::Reshape(shape), &[x], []) => op_shapes::reshape(x, shape).map(|()| shape),
            (&Self::Narrow { start, length }, &[x], []) => op_shapes::narrow(x, start, length),
            (Self::Concat, &[a, b], []) => op_shapes::concat(a, b),
            (Self::UpsampleNearest2x, &[x], []) => op_shapes::upsample_nearest_2x(x),
            (Self::MaxPool2x, &[x], []) => op_shapes::max_pool_2x(x),
            (&Self::PixelShuffle(factor), &[x], []) => op_shapes::pixel_shuffle(x, factor),
            (&Self::PixelUnshuffle(factor), &[x], []) => op_shapes::pixel_unshuffle(x, factor),
            (Self::Embedding { ids, batch }, [], &[table]) => op_shapes::embedding(table, ids, *batch),
            _ => self.refuse(tensors.len(), params.len()),
        }
    }

    /// The result of a product of the shape `product`, once bias and residual fit.
    fn epilogue(&self, y: Shape, product: Shape, residual: &[Shape], bias: &[Shape]) -> Result<Shape> {
        match bias {
            [] => {}
            [bias] => op_shapes::vector(self.name(), "bias", product.last(), *bias)?,
            more => return self.refuse(1 + residual.len(), 1 + more.len()),
        }
        match residual {
            [] => Ok(y),
            [residual] => op_shapes::same(self.name(), "residual", y, *residual).map(|()| y),
            more => self.refuse(1 + more.len(), 1 + bias.len()),
        }
    }

    /// Refuses arguments that the operation does not take.
    ///
    /// # Errors
    /// Always.
    pub fn refuse<T>(&self, tensors: usize, params: usize) -> Result<T> {
        let message = format!("it does not take {tensors} tensors and {params} parameters");
        Err(Error::Invalid { op: self.name(), message })
    }

    /// Floating-point operations of one forward run with arguments of these shapes, a multiplication and an addition
    /// counted as two. A bias, a shift, an activation and a residual in a product's epilogue are not counted.
    ///
    /// For the operations that are bound by memory it is one per element of the arguments: for a lookup, of those taken.
    /// A change of shape is none.
    #[must_use]
    pub fn flops(&self, tensors: &[Shape], params: &[Shape]) -> f64 {
        let products = match (self, tensors, params) {
            (Self::Conv2d(options) | Self::ShiftedConv2d(options), &[x, ..], &[weight, ..]) => {
                let pixels = op_shapes::conv2d(x, weight, options).map_or(0, |y| y.rows());
                pixels as f64 * weight.count() as f64
            }
            (&Self::DepthwiseConv2d { kernel, ref options }, &[x], &[weight, ..]) => {
                let y = op_shapes::depthwise_conv2d(x, weight, kernel, options).map_or(0, |y| y.count());
                (y * kernel[0] * kernel[1]) as f64
            }
            // Four taps of nine: a pixel of the result sees as many of the small image.
            (Self::UpsampleConv2d, [x], [weight, ..]) => 4.0 * x.rows() as f64 * weight.count() as f64 * 4.0 / 9.0,
            (Self::Linear(_) | Self::LinearGeglu, [x, ..], [weight, ..]) => x.rows() as f64 * weight.count() as f64,
            (Self::Attention(options), &[q, k, v], _) => op_shapes::attention(q, k, v, options)
                .map_or(0.0, |n| 2.0 * (n.batch * n.queries * n.keys) as f64 * q.last() as f64),
            (Self::Embedding { ids, .. }, _, [table]) => return (ids.len() * table.last()) as f64,
            (Self::Reshape(_), ..) => return 0.0,
            _ => return tensors.iter().chain(params).map(|shape| shape.count() as f64).sum(),
        };
        2.0 * products
    }
}
