//! What a UNet makes of timesteps and texts before it sees latents.

use std::slice::Iter;

use calotype_tensor::{Error, Result};

/// What a UNet makes of timesteps: of every residual block `time_emb_proj(silu(temb)) (B, C)`.
#[derive(Clone, Debug)]
pub struct TimeEmbedding<T> {
    /// In the order of the forward pass.
    pub(super) shifts: Vec<T>,
    pub(super) batch: usize,
}

/// What a UNet makes of texts: the keys and values of every attention to them.
#[derive(Clone, Debug)]
pub struct Context<T> {
    /// Of every transformer, in the order of the forward pass: for each of its layers the keys, then the values, `(B, L, C)`.
    pub(super) keys_values: Vec<Vec<T>>,
}

impl<T> Context<T> {
    /// All keys and values.
    pub fn tensors(&self) -> impl Iterator<Item = &T> {
        self.keys_values.iter().flatten()
    }
}

/// Hands each block its part, in the order of the forward pass.
pub(super) struct Conditioning<'a, T> {
    shifts: Iter<'a, T>,
    keys_values: Iter<'a, Vec<T>>,
}

impl<'a, T> Conditioning<'a, T> {
    pub(super) fn new(time: &'a TimeEmbedding<T>, context: &'a Context<T>) -> Self {
        Self { shifts: time.shifts.iter(), keys_values: context.keys_values.iter() }
    }

    /// Of the next residual block.
    pub(super) fn shift(&mut self) -> Result<&'a T> {
        self.shifts.next().ok_or_else(|| of_another_unet("time embedding"))
    }

    /// Of the next transformer.
    pub(super) fn keys_values(&mut self) -> Result<&'a [T]> {
        self.keys_values.next().map(Vec::as_slice).ok_or_else(|| of_another_unet("context"))
    }
}

fn of_another_unet(what: &str) -> Error {
    let message = format!("the {what} is of a UNet with fewer blocks, expected it from the UNet that it is given to");
    Error::Invalid { op: "unet", message }
}
