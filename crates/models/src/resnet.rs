use calotype_tensor::{Activation, Backend, Result as Computed};

use crate::{
    CircularPadding, Result, Scope,
    bands::{self, BandNorm},
    layers::{Conv, GroupNorm, Linear, run},
};

/// Sizes and norm of a residual block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResnetOptions {
    pub(crate) groups: usize,
    pub(crate) eps: f32,
    /// Width of the time embedding, if the block has one.
    pub(crate) time_width: Option<usize>,
}

/// A residual block (diffusers `ResnetBlock2D`):
/// `shortcut(x) + conv2(silu(norm2(conv1(silu(norm1(x))) + time_emb_proj(silu(temb)))))`.
#[derive(Clone, Debug)]
pub(crate) struct ResnetBlock<P> {
    norm1: GroupNorm<P>,
    conv1: Conv<P>,
    time_emb_proj: Option<Linear<P>>,
    norm2: GroupNorm<P>,
    conv2: Conv<P>,
    conv_shortcut: Option<Conv<P>>,
}

impl<P> ResnetBlock<P> {
    pub(crate) fn new(mut scope: Scope<'_, P>, inputs: usize, outputs: usize, options: ResnetOptions) -> Result<Self> {
        let ResnetOptions { groups, eps, time_width } = options;
        Ok(Self {
            norm1: GroupNorm::new(scope.sub("norm1"), inputs, groups, eps)?,
            conv1: Conv::new(scope.sub("conv1"), inputs, outputs, 3)?,
            time_emb_proj: time_width
                .map(|width| Linear::new(scope.sub("time_emb_proj").unquantised(), width, outputs))
                .transpose()?,
            norm2: GroupNorm::new(scope.sub("norm2"), outputs, groups, eps)?,
            conv2: Conv::new(scope.sub("conv2"), outputs, outputs, 3)?,
            conv_shortcut: (inputs != outputs)
                .then(|| Conv::new(scope.sub("conv_shortcut"), inputs, outputs, 1))
                .transpose()?,
        })
    }

    /// Where the picture's other edge takes the place of zeros.
    pub(crate) fn set_wrap(&mut self, wrap: CircularPadding) {
        self.conv1.wrap = wrap;
        self.conv2.wrap = wrap;
    }

    /// What a time embedding `silu(temb) (B, T)` adds to each pixel, `(B, O)`; none if the block takes no time.
    pub(crate) fn shift<B: Backend<Param = P>>(&self, b: &B, time: &B::Tensor) -> Computed<Option<B::Tensor>> {
        self.time_emb_proj.as_ref().map(|projection| projection.forward(b, time)).transpose()
    }

    /// `x (B, H, W, I)` to `(B, H, W, O)`. `shift` is that of [`Self::shift`].
    pub(crate) fn forward<B: Backend<Param = P>>(
        &self,
        b: &B,
        x: &B::Tensor,
        shift: Option<&B::Tensor>,
        checkpointing: bool,
    ) -> Computed<B::Tensor>
    where
        P: Clone + 'static,
    {
        let inputs: Vec<B::Tensor> = [x].into_iter().chain(shift).cloned().collect();
        let block = self.clone();
        run(b, checkpointing, &inputs, move |b, inputs| block.compute(b, &inputs[0], inputs.get(1)))
    }

    /// [`Self::forward`] of a picture in bands, without a shift. Takes the bands, so that their memory is free once read.
    pub(crate) fn forward_bands<B: Backend<Param = P>>(&self, b: &B, x: Vec<B::Tensor>) -> Computed<Vec<B::Tensor>> {
        let norm1 = BandNorm::new(b, &self.norm1, &x)?;
        let mut shortcuts = Vec::with_capacity(x.len());
        let normalised = x.into_iter().enumerate().map(|(i, x)| {
            let h = norm1.forward(b, i, &x, Activation::Silu);
            shortcuts.push(match &self.conv_shortcut {
                Some(shortcut) => shortcut.forward(b, &x, None)?,
                None => x,
            });
            h
        });
        let h = bands::convolve(b, &self.conv1, normalised, None)?;
        let norm2 = BandNorm::new(b, &self.norm2, &h)?;
        let normalised = h.into_iter().enumerate().map(|(i, h)| norm2.forward(b, i, &h, Activation::Silu));
        bands::convolve(b, &self.conv2, normalised, Some(shortcuts))
    }

    fn compute<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor, shift: Option<&B::Tensor>) -> Computed<B::Tensor> {
        let normalised = || self.norm1.forward(b, x, Activation::Silu);
        let mut h = match shift {
            Some(shift) => self.conv1.forward_shifted(b, normalised()?, shift)?,
            None => self.conv1.forward(b, &normalised()?, None)?,
        };
        h = self.norm2.forward(b, &h, Activation::Silu)?;
        match &self.conv_shortcut {
            Some(shortcut) => self.conv2.forward(b, &h, Some(&shortcut.forward(b, x, None)?)),
            None => self.conv2.forward(b, &h, Some(x)),
        }
    }
}
