//! What a run needs of memory and what the machine has, so that a picture far too large is refused and not killed.

use std::fs;

use calotype_models::{UNetConfig, VaeConfig};

use crate::{Error, Result};

/// Channels held at once at the UNet's highest resolution, in multiples of its first block's (skips, GEGLU and their
/// successors: 8,000 in Stable Diffusion v1).
const UNET_WIDTHS: u64 = 25;
const F32: u64 = 4;
const GIB: u64 = 1 << 30;

/// Refuses a size whose activations alone don't fit into the free memory.
pub(crate) fn check(
    unet: &UNetConfig,
    vae: &VaeConfig,
    batch: usize,
    [width, height]: [usize; 2],
    vae_tiling: bool,
) -> Result<()> {
    let needed = activations(unet, vae, batch as u64, (width * height) as u64, vae_tiling);
    match available() {
        Some(free) if needed > free => Err(Error::Request(format!(
            "{batch} x {width} x {height} pixels need about {} GiB of memory, {} GiB are free: make the picture or the batch smaller",
            needed.div_ceil(GIB),
            free / GIB
        ))),
        _ => Ok(()),
    }
}

/// About how many bytes the largest of a run's networks needs beside its weights. Pictures are decoded one by one.
fn activations(unet: &UNetConfig, vae: &VaeConfig, batch: u64, pixels: u64, vae_tiling: bool) -> u64 {
    let channels = |n: usize| vae.block_out_channels.get(n).or(vae.block_out_channels.last()).map_or(0, |&c| c as u64);
    // The decoder's last block begins at full size with the channels of the one before it: input and output of a
    // convolution. In bands the output takes the place of the input.
    let pictures = if vae_tiling { 1 } else { 2 };
    let decoder = pixels * pictures * (channels(0) + channels(1)) * F32;
    let area = pixels / (vae.downscale() * vae.downscale()).max(1) as u64;
    let first = unet.block_out_channels.first().map_or(0, |&c| c as u64);
    let denoiser = 2 * batch * area * UNET_WIDTHS * first * F32;
    decoder.max(denoiser)
}

/// Bytes that a program could still take, where the system says so (Linux).
fn available() -> Option<u64> {
    field(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// The most memory this process ever held, in bytes, where the system says so (Linux).
#[must_use]
pub fn peak_memory() -> Option<u64> {
    field(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// The value of a line such as `VmHWM:   1234 kB`, in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_bytes() {
        let text = "VmPeak:\t  9 kB\nVmHWM:\t    1234 kB\nVmRSS:\t x kB\n";
        assert_eq!(field(text, "VmHWM:"), Some(1234 * 1024));
        assert_eq!(field(text, "VmRSS:"), None);
        assert_eq!(field(text, "MemAvailable:"), None);
    }
}
