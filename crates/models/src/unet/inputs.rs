//! What a UNet takes at one evaluation.

use super::{Context, TimeEmbedding};

/// What a [`UNet`](super::UNet) takes at one evaluation, for a batch of B images.
#[derive(Clone, Copy, Debug)]
pub struct UNetInputs<'a, T> {
    /// `(B, H, W, C)`.
    pub latents: &'a T,
    /// That of B timesteps ([`UNet::time_embedding`](super::UNet::time_embedding)), with what is added to it.
    pub time: &'a TimeEmbedding<T>,
    /// That of B texts ([`UNet::prepare`](super::UNet::prepare)).
    pub context: &'a Context<T>,
    /// More input channels `(B, H, W, E)`, after those of the latents: an inpainting model's mask and masked image.
    pub extra_channels: Option<&'a T>,
    /// What another network adds to this one's features (ControlNet, Zhang et al. 2023).
    pub residuals: Option<&'a Residuals<T>>,
}

impl<'a, T> UNetInputs<'a, T> {
    /// Latents, timesteps and texts, and nothing else.
    pub const fn new(latents: &'a T, time: &'a TimeEmbedding<T>, context: &'a Context<T>) -> Self {
        Self { latents, time, context, extra_channels: None, residuals: None }
    }
}

/// What is added to the features of a UNet (diffusers' `down_block_additional_residuals` and `mid_block_additional_residual`).
#[derive(Clone, Debug)]
pub struct Residuals<T> {
    /// For each feature map that goes on to the way up, in the order of the way down, of its shape.
    pub down: Vec<T>,
    /// For the output of the middle block.
    pub mid: Option<T>,
}
