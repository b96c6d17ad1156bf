//! Layers with parameters: the op set's heavy operations, each with its weights and fixed options.

use calotype_tensor::{Activation, Backend, Conv2d, Error, Padding, ParamKind, Result as Computed, op_shapes};

use crate::{CircularPadding, Init, Result, Scope, upsample_odd::upsample_to};

/// How PyTorch begins the weights and biases of a convolution.
fn uniform(inputs: usize, kernel: usize) -> Init {
    Init::Uniform(((inputs * kernel * kernel) as f32).sqrt().recip())
}

/// A convolution, `weight` and perhaps `bias`.
#[derive(Clone, Debug)]
pub(crate) struct Conv<P> {
    weight: P,
    bias: Option<P>,
    options: Conv2d,
    /// Where the picture's other edge takes the place of zeros.
    pub(crate) wrap: CircularPadding,
}

impl<P> Conv<P> {
    /// A square kernel of an odd side that keeps the picture's size.
    pub(crate) fn new(mut scope: Scope<'_, P>, inputs: usize, outputs: usize, kernel: usize) -> Result<Self> {
        let unbiased = Self::unbiased(scope.here(), inputs, outputs, kernel)?;
        let bias = scope.param("bias", ParamKind::Vector, &[outputs], uniform(inputs, kernel))?;
        Ok(Self { bias: Some(bias), ..unbiased })
    }

    /// Without a bias.
    pub(crate) fn unbiased(mut scope: Scope<'_, P>, inputs: usize, outputs: usize, kernel: usize) -> Result<Self> {
        let shape = [outputs, inputs, kernel, kernel];
        Ok(Self {
            weight: scope.param("weight", ParamKind::Conv, &shape, uniform(inputs, kernel))?,
            bias: None,
            options: Conv2d::padded(kernel / 2),
            wrap: CircularPadding::default(),
        })
    }

    /// A 3×3 kernel that halves the picture.
    pub(crate) fn halving(scope: Scope<'_, P>, channels: usize, padding: Padding) -> Result<Self> {
        let options = Conv2d { stride: 2, padding, activation: Activation::None };
        Ok(Self { options, ..Self::new(scope, channels, channels, 3)? })
    }

    /// The same kernel at every `stride`th pixel, with an activation of its result.
    pub(crate) fn with(self, stride: usize, activation: Activation) -> Self {
        Self { options: Conv2d { stride, activation, ..self.options }, ..self }
    }

    /// `x (B, H, W, I)` to `(B, H', W', O)`, plus `residual`.
    pub(crate) fn forward<B: Backend<Param = P>>(
        &self,
        b: &B,
        x: &B::Tensor,
        residual: Option<&B::Tensor>,
    ) -> Computed<B::Tensor> {
        self.forward_padded(b, x, residual, self.options.padding)
    }

    /// [`Self::forward`] plus `shift (B, O)` at every pixel. Takes `x`, so that its memory is free once read.
    pub(crate) fn forward_shifted<B: Backend<Param = P>>(
        &self,
        b: &B,
        x: B::Tensor,
        shift: &B::Tensor,
    ) -> Computed<B::Tensor> {
        let (x, padding) = match self.wrap.any() && self.options.padding != Padding::default() {
            true => self.wrap.pad(b, &x, self.options.padding)?,
            false => (x, self.options.padding),
        };
        b.shifted_conv2d(x, &self.weight, self.bias.as_ref(), shift, Conv2d { padding, ..self.options })
    }

    /// [`Self::forward`] with zeros of `padding` around `x` instead of its own.
    pub(crate) fn forward_padded<B: Backend<Param = P>>(
        &self,
        b: &B,
        x: &B::Tensor,
        residual: Option<&B::Tensor>,
        padding: Padding,
    ) -> Computed<B::Tensor> {
        if self.wrap.any() && padding != Padding::default() {
            let (x, padding) = self.wrap.pad(b, x, padding)?;
            return b.conv2d(&x, &self.weight, self.bias.as_ref(), residual, Conv2d { padding, ..self.options });
        }
        b.conv2d(x, &self.weight, self.bias.as_ref(), residual, Conv2d { padding, ..self.options })
    }
}

/// Nearest upsampling and a 3×3 convolution of the doubled picture, `weight` and perhaps `bias`.
#[derive(Clone, Debug)]
pub(crate) struct Upsampler<P> {
    weight: P,
    bias: Option<P>,
    /// Where the picture's other edge takes the place of zeros.
    pub(crate) wrap: CircularPadding,
}

impl<P> Upsampler<P> {
    pub(crate) fn new(mut scope: Scope<'_, P>, channels: usize) -> Result<Self> {
        let unbiased = Self::unbiased(scope.here(), channels)?;
        let bias = scope.param("bias", ParamKind::Vector, &[channels], uniform(channels, 3))?;
        Ok(Self { bias: Some(bias), ..unbiased })
    }

    pub(crate) fn unbiased(mut scope: Scope<'_, P>, channels: usize) -> Result<Self> {
        let kind = ParamKind::UpsampledConv;
        let weight = scope.param("weight", kind, &[channels, channels, 3, 3], uniform(channels, 3))?;
        Ok(Self { weight, bias: None, wrap: CircularPadding::default() })
    }

    /// `x (B, H, W, C)` to `(B, 2H, 2W, C)`.
    pub(crate) fn forward<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        let upsample = |x: &B::Tensor| b.upsample_conv2d(x, &self.weight, self.bias.as_ref());
        if self.wrap.any() { self.wrap.upsample(b, x, upsample) } else { upsample(x) }
    }

    /// `x (B, h, w, C)` to `(B, H, W, C)`, where `H` is `2h` or one less, and `W` likewise; one less not where it wraps.
    pub(crate) fn forward_to<B: Backend<Param = P>>(
        &self,
        b: &B,
        x: &B::Tensor,
        size: [usize; 2],
    ) -> Computed<B::Tensor> {
        let [_, h, w, _] = op_shapes::picture("upsample", "x", b.shape(x))?;
        match size {
            [height, width] if height == 2 * h && width == 2 * w => self.forward(b, x),
            _ if self.wrap.any() => Err(Error::Invalid {
                op: "upsample",
                message: "a seamless picture needs even sizes at every resolution".into(),
            }),
            _ => upsample_to(b, x, size, |x, biased| {
                b.upsample_conv2d(x, &self.weight, self.bias.as_ref().filter(|_| biased))
            }),
        }
    }
}

/// A linear map, `weight` and perhaps `bias`.
#[derive(Clone, Debug)]
pub(crate) struct Linear<P> {
    weight: P,
    bias: Option<P>,
}

impl<P> Linear<P> {
    /// With a bias.
    pub(crate) fn new(mut scope: Scope<'_, P>, inputs: usize, outputs: usize) -> Result<Self> {
        let init = Init::Uniform((inputs as f32).sqrt().recip());
        let weight = scope.param("weight", ParamKind::Linear, &[outputs, inputs], init)?;
        Ok(Self { weight, bias: Some(scope.param("bias", ParamKind::Vector, &[outputs], init)?) })
    }

    /// Without a bias.
    pub(crate) fn unbiased(mut scope: Scope<'_, P>, inputs: usize, outputs: usize) -> Result<Self> {
        let init = Init::Uniform((inputs as f32).sqrt().recip());
        Ok(Self { weight: scope.param("weight", ParamKind::Linear, &[outputs, inputs], init)?, bias: None })
    }

    /// With a bias; starts normal with `deviation` and bias 0.
    pub(crate) fn normal(mut scope: Scope<'_, P>, inputs: usize, outputs: usize, deviation: f32) -> Result<Self> {
        let weight = scope.param("weight", ParamKind::Linear, &[outputs, inputs], Init::Normal(deviation))?;
        Ok(Self { weight, bias: Some(scope.param("bias", ParamKind::Vector, &[outputs], Init::Zeros)?) })
    }

    /// `x (rows, I)` to `(rows, O)`.
    pub(crate) fn forward<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        self.forward_with(b, x, None, Activation::None)
    }

    /// Those of three maps without bias.
    pub(crate) fn forward_three<B: Backend<Param = P>>(
        maps: [&Self; 3],
        b: &B,
        x: &B::Tensor,
    ) -> Computed<[B::Tensor; 3]> {
        b.linear_three(x, maps.map(|map| &map.weight))
    }

    /// GEGLU of `forward(x)`: `x (rows, I)` to `(rows, O/2)`.
    pub(crate) fn forward_geglu<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        b.linear_geglu(x, &self.weight, self.bias.as_ref())
    }

    /// `activation(forward(x)) + residual`.
    pub(crate) fn forward_with<B: Backend<Param = P>>(
        &self,
        b: &B,
        x: &B::Tensor,
        residual: Option<&B::Tensor>,
        activation: Activation,
    ) -> Computed<B::Tensor> {
        b.linear(x, &self.weight, self.bias.as_ref(), residual, activation)
    }
}

/// A group norm.
#[derive(Clone, Debug)]
pub(crate) struct GroupNorm<P> {
    gamma: P,
    beta: P,
    pub(crate) groups: usize,
    pub(crate) eps: f32,
}

impl<P> GroupNorm<P> {
    pub(crate) fn new(scope: Scope<'_, P>, channels: usize, groups: usize, eps: f32) -> Result<Self> {
        let (gamma, beta) = gain_and_offset(scope, channels)?;
        Ok(Self { gamma, beta, groups, eps })
    }

    /// `activation(norm(x))`, `x (B, H, W, C)`.
    pub(crate) fn forward<B: Backend<Param = P>>(
        &self,
        b: &B,
        x: &B::Tensor,
        activation: Activation,
    ) -> Computed<B::Tensor> {
        b.group_norm(x, &self.gamma, &self.beta, self.groups, self.eps, activation)
    }

    /// The values of gamma and beta, `(C)` each, in the backend's precision: two pixels of 1 and -1, which have mean 0
    /// and variance 1, become `β ± γ / √(1 + eps)`.
    pub(crate) fn gain_and_offset<B: Backend<Param = P>>(&self, b: &B) -> Computed<(Vec<f32>, Vec<f32>)> {
        let channels = b.param_shape(&self.gamma).count();
        let pixels = [vec![1.0; channels], vec![-1.0; channels]].concat();
        let x = b.from_f32([1, 2, 1, channels].into(), pixels)?;
        let y = b.to_f32(&self.forward(b, &x, Activation::None)?)?;
        let (above, below) = y.split_at(channels);
        let root = (1.0 + self.eps).sqrt();
        Ok(above.iter().zip(below).map(|(a, b)| ((a - b) / 2.0 * root, (a + b) / 2.0)).unzip())
    }

    /// The same norm with other values of gamma and beta, `(C)` each. For inference: on a tape they are new parameters.
    pub(crate) fn with_gain_and_offset<B: Backend<Param = P>>(
        &self,
        b: &B,
        gamma: Vec<f32>,
        beta: Vec<f32>,
    ) -> Computed<Self> {
        let vector = |values: Vec<f32>| b.param("", ParamKind::Vector, [values.len()].into(), &values);
        Ok(Self { gamma: vector(gamma)?, beta: vector(beta)?, groups: self.groups, eps: self.eps })
    }
}

/// A layer norm.
#[derive(Clone, Debug)]
pub(crate) struct LayerNorm<P> {
    gamma: P,
    beta: P,
    eps: f32,
}

impl<P> LayerNorm<P> {
    pub(crate) fn new(scope: Scope<'_, P>, channels: usize, eps: f32) -> Result<Self> {
        let (gamma, beta) = gain_and_offset(scope, channels)?;
        Ok(Self { gamma, beta, eps })
    }

    /// `x (rows, C)`.
    pub(crate) fn forward<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        b.layer_norm(x, &self.gamma, &self.beta, self.eps)
    }
}

fn gain_and_offset<P>(mut scope: Scope<'_, P>, channels: usize) -> Result<(P, P)> {
    let gamma = scope.param("weight", ParamKind::Vector, &[channels], Init::Ones)?;
    Ok((gamma, scope.param("bias", ParamKind::Vector, &[channels], Init::Zeros)?))
}

/// Runs `block`, through [`Backend::checkpoint`] if `checkpointing`.
pub(crate) fn run<B: Backend>(
    b: &B,
    checkpointing: bool,
    inputs: &[B::Tensor],
    block: impl Fn(&B, &[B::Tensor]) -> Computed<B::Tensor> + 'static,
) -> Computed<B::Tensor> {
    if checkpointing { b.checkpoint(inputs, block) } else { block(b, inputs) }
}
