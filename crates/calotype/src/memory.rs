//! What a run needs of memory and what the machine has: found before it starts, so that a picture far too large is refused and not
//! killed, and so that all tensors of a network are parts of one arena.

use std::fs;

use calotype_models::{ModelConfig, Random, UNetConfig, VaeConfig};
use calotype_tensor::cpu::{Cpu, Sizes};
use calotype_text::MAX_LENGTH;

use crate::{Error, Keep, PipelineOptions, Result};

const GIB: u64 = 1 << 30;
/// What each thread may hold for itself, sums and transformed tiles, and the program besides.
const BESIDE: u64 = 64 << 20;

/// The bytes that a network takes.
#[derive(Clone, Copy)]
struct Need {
    weights: usize,
    /// Its tensors, at their most.
    arena: usize,
}

impl Need {
    fn of(sizes: &Sizes) -> Self {
        Self { weights: sizes.parameters(), arena: sizes.arena() }
    }

    /// Of a UNet with guidance on `cpu`, for latents of `[B, h, w]` and contexts of so many rows.
    fn unet(cpu: &Cpu, config: &UNetConfig, shape: [usize; 3], context_length: usize) -> Result<Self> {
        let sizes = Sizes::new(cpu);
        let network = config.init(&sizes, &mut Random { seed: 0 })?;
        let [batch, h, w] = shape;
        let context = sizes.tensor([2 * batch, context_length, config.cross_attention_dim.get(0)].into());
        let context = network.prepare(&sizes, &context)?;
        let time = network.time_embedding(&sizes, &vec![0.0; 2 * batch])?;
        network.forward(&sizes, &sizes.tensor([2 * batch, h, w, config.in_channels].into()), &time, &context)?;
        Ok(Self::of(&sizes))
    }

    /// Of a decoder on `cpu`, for latents of one picture `[h, w]`.
    fn decoder(cpu: &Cpu, config: &VaeConfig, [h, w]: [usize; 2]) -> Result<Self> {
        let sizes = Sizes::new(cpu);
        let network = config.init_decoder(&sizes, &mut Random { seed: 0 })?;
        network.forward(&sizes, &sizes.tensor([1, h, w, config.latent_channels].into()), false)?;
        Ok(Self::of(&sizes))
    }

    /// Of an encoder on `cpu`, for the picture of latents `[h, w]`.
    fn encoder(cpu: &Cpu, config: &VaeConfig, [h, w]: [usize; 2]) -> Result<Self> {
        let sizes = Sizes::new(cpu);
        let network = config.init_encoder(&sizes, &mut Random { seed: 0 })?;
        let downscale = config.downscale();
        let picture = sizes.tensor([1, h * downscale, w * downscale, config.in_channels].into());
        network.forward(&sizes, &picture, false)?;
        Ok(Self::of(&sizes))
    }

    /// The same in bands: the last block begins at full size with the channels of the one before it, and the output of
    /// a convolution takes the place of the input.
    fn banded_decoder(cpu: &Cpu, config: &VaeConfig, [h, w]: [usize; 2]) -> Result<Self> {
        let sizes = Sizes::new(cpu);
        config.init_decoder(&sizes, &mut Random { seed: 0 })?;
        let pixels = h.saturating_mul(w).saturating_mul(config.downscale() * config.downscale());
        let channels: usize = config.block_out_channels.iter().take(2).sum();
        let arena = pixels.saturating_mul(channels * cpu.precision().activations().size());
        Ok(Self { weights: sizes.parameters(), arena })
    }
}

/// One pass of a run, as far as memory goes.
pub(crate) struct PassSize {
    pub(crate) batch: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Rows of its longest context.
    pub(crate) context_length: usize,
    /// Width and height of the picture that the VAE's encoder sees, if it is needed.
    pub(crate) encoded: Option<[usize; 2]>,
}

/// The arena that the UNet takes for a pass.
///
/// # Errors
/// The networks that are in memory at a time don't fit into what is free.
pub(crate) fn check(unet: &UNetConfig, vae: &VaeConfig, pass: &PassSize, options: PipelineOptions) -> Result<usize> {
    let &PassSize { batch, width, height, context_length, encoded } = pass;
    let latents = |[width, height]: [usize; 2]| [height, width].map(|side| side / vae.downscale());
    let [h, w] = latents([width, height]);
    // Nothing is computed here.
    let planning = PipelineOptions { threads: 1, ..options };
    let cpu = planning.backend()?;
    let denoiser = Need::unet(&cpu, unet, [batch, h, w], context_length)?;
    let Some(free) = available() else { return Ok(denoiser.arena) };
    let beside = planning.auxiliary_backend()?;
    let decoder = if options.vae_tiling {
        Need::banded_decoder(&beside, vae, [h, w])
    } else {
        Need::decoder(&beside, vae, [h, w])
    }?;
    let total = |need: Need| (need.weights as u64).saturating_add(need.arena as u64);
    let coder = match encoded {
        Some(size) => total(decoder).max(total(Need::encoder(&beside, vae, latents(size))?)),
        None => total(decoder),
    };
    let most = match options.keep {
        Keep::Nothing => total(denoiser).max(coder),
        Keep::UNet | Keep::All => total(denoiser).saturating_add(coder),
    };
    let needed = most.saturating_add(BESIDE.saturating_mul(options.thread_count() as u64));
    if needed <= free {
        return Ok(denoiser.arena);
    }
    let (texts, hint) = match context_length {
        ..=MAX_LENGTH => (String::new(), ""),
        longer => (format!(" and a prompt of {} chunks", longer / MAX_LENGTH), ", the prompt shorter"),
    };
    Err(Error::Request(format!(
        "{batch} x {width} x {height} pixels{texts} need about {} GiB of memory, {} GiB are free: make the picture or the batch smaller{hint}",
        needed.div_ceil(GIB),
        free / GIB
    )))
}

/// Takes an arena for the predictions of a UNet on `cpu`, for latents of `[B, h, w]` and texts of one chunk.
pub(crate) fn reserve_unet(cpu: &Cpu, config: &UNetConfig, shape: [usize; 3]) -> Result<()> {
    cpu.reserve(Need::unet(cpu, config, shape, MAX_LENGTH)?.arena);
    Ok(())
}

/// Takes an arena for a decoder on `cpu`, for latents of one picture `[h, w]`. Bands have none: what they need is joined from
/// parts outside of it.
pub(crate) fn reserve_decoder(cpu: &Cpu, config: &VaeConfig, size: [usize; 2], tiling: bool) -> Result<()> {
    if !tiling {
        cpu.reserve(Need::decoder(cpu, config, size)?.arena);
    }
    Ok(())
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

    /// Hand-counted: 859,520,964 parameters in two bytes, and the skips of the first block alone.
    #[test]
    fn the_need_of_stable_diffusion_is_found_without_it() {
        use calotype_tensor::{Precision, cpu::CpuOptions};
        let cpu = Cpu::with_options(CpuOptions { precision: Precision::BF16, ..CpuOptions::default() }).unwrap();
        let need = Need::unet(&cpu, &UNetConfig::sd15(), [1, 64, 64], MAX_LENGTH).unwrap();
        assert!((1_719_000_000..1_850_000_000).contains(&need.weights), "{} bytes of weights", need.weights);
        let skips = 3 * 2 * 64 * 64 * 320 * 2;
        assert!((4 * skips..20 * skips).contains(&need.arena), "an arena of {} bytes", need.arena);
        let wide = Need::unet(&cpu, &UNetConfig::sd15(), [1, 64, 128], MAX_LENGTH).unwrap();
        assert!(wide.arena > need.arena * 9 / 5 && wide.weights == need.weights);
        // Keys and values of nine more chunks, for two texts, in all 16 layers.
        let long = Need::unet(&cpu, &UNetConfig::sd15(), [1, 64, 64], 10 * MAX_LENGTH).unwrap();
        assert!(long.arena >= need.arena + 9 * MAX_LENGTH * 2 * 2 * 12_480 * 2, "{} bytes", long.arena);
        let whole = Need::decoder(&cpu, &VaeConfig::sd15(), [64, 64]).unwrap();
        let banded = Need::banded_decoder(&cpu, &VaeConfig::sd15(), [128, 128]).unwrap();
        assert!(banded.arena < 4 * whole.arena, "{} and {} bytes", banded.arena, whole.arena);
    }
}
