//! What the networks of a run need of memory, found by running them on a backend that computes nothing.

use calotype_models::{ModelConfig, Random, TextConfig, UNetConfig, UNetInputs, VaeConfig};
use calotype_tensor::{Backend, BackendOptions, Device, Memory, MemoryPlan};
use calotype_text::MAX_LENGTH;

use crate::{Keep, Model, PipelineOptions, Result, pipeline::auxiliary_precision};

/// The bytes that a network takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetworkNeed {
    /// Its parameters.
    pub weights: u64,
    /// Its tensors, at their most: what [`Memory::reserve`](calotype_tensor::Memory::reserve) takes at once.
    pub arena: u64,
}

impl NetworkNeed {
    fn of<B: Memory + Clone>(plan: &MemoryPlan<B>) -> Self {
        Self { weights: plan.param_bytes() as u64, arena: plan.arena_bytes() as u64 }
    }

    /// All of it.
    #[must_use]
    pub fn total(self) -> u64 {
        self.weights.saturating_add(self.arena)
    }

    /// Of a text encoder, for a prompt and a negative prompt of one chunk.
    fn text_encoder<B: Memory + Clone>(b: &B, config: &TextConfig) -> Result<Self> {
        let plan = MemoryPlan::new(b);
        let network = config.init(&plan, &mut Random { seed: 0 })?;
        network.forward(&plan, &vec![0; 2 * MAX_LENGTH], 2)?;
        Ok(Self::of(&plan))
    }

    /// Of a UNet with guidance, for latents of `[B, h, w]` and contexts of so many rows.
    ///
    /// # Errors
    /// The network can't be made, or not for that size.
    pub fn unet<B: Memory + Clone>(
        b: &B,
        config: &UNetConfig,
        [batch, h, w]: [usize; 3],
        context_length: usize,
    ) -> Result<Self> {
        let plan = MemoryPlan::new(b);
        let network = config.init(&plan, &mut Random { seed: 0 })?;
        let context = plan.tensor([2 * batch, context_length, config.cross_attention_dim.get(0)].into());
        let context = network.prepare(&plan, &context)?;
        let time = network.time_embedding(&plan, &vec![0.0; 2 * batch], None)?;
        network.forward(
            &plan,
            &UNetInputs::new(&plan.tensor([2 * batch, h, w, config.in_channels].into()), &time, &context),
        )?;
        Ok(Self::of(&plan))
    }

    /// Of a decoder, for latents of one image `[h, w]`.
    ///
    /// # Errors
    /// The network can't be made, or not for that size.
    pub fn decoder<B: Memory + Clone>(b: &B, config: &VaeConfig, [h, w]: [usize; 2]) -> Result<Self> {
        let plan = MemoryPlan::new(b);
        let network = config.init_decoder(&plan, &mut Random { seed: 0 })?;
        network.forward(&plan, &plan.tensor([1, h, w, config.latent_channels].into()), false)?;
        Ok(Self::of(&plan))
    }

    /// Of an encoder, for the image of latents `[h, w]`.
    fn encoder<B: Memory + Clone>(b: &B, config: &VaeConfig, [h, w]: [usize; 2]) -> Result<Self> {
        let plan = MemoryPlan::new(b);
        let network = config.init_encoder(&plan, &mut Random { seed: 0 })?;
        let downscale = config.downscale();
        let image = plan.tensor([1, h * downscale, w * downscale, config.in_channels].into());
        network.forward(&plan, &image, false)?;
        Ok(Self::of(&plan))
    }

    /// Of a decoder that works in bands: the last block begins at full size with the channels of the one before it, and the
    /// output of a convolution takes the place of the input.
    ///
    /// # Errors
    /// The network can't be made, or not for that size.
    pub fn tiled_decoder<B: Memory + Clone>(b: &B, config: &VaeConfig, [h, w]: [usize; 2]) -> Result<Self> {
        if let Some(rows) = config.band_rows() {
            let band = Self::decoder(b, config, [h.min(rows), w])?;
            let pixels = h.saturating_mul(w).saturating_mul(config.downscale() * config.downscale());
            let picture = pixels.saturating_mul(config.out_channels * b.dtype().size()) as u64;
            return Ok(Self { arena: band.arena.saturating_add(picture), ..band });
        }
        let plan = MemoryPlan::new(b);
        config.init_decoder(&plan, &mut Random { seed: 0 })?;
        let pixels = h.saturating_mul(w).saturating_mul(config.downscale() * config.downscale());
        let channels: usize = config.block_out_channels.iter().take(2).sum();
        let arena = pixels.saturating_mul(channels * b.dtype().size()) as u64;
        Ok(Self { weights: plan.param_bytes() as u64, arena })
    }
}

/// Whether a decoder of latents `[h, w]` has a tensor of more bytes than a device takes: it then works in bands, of which each is small.
pub(crate) fn needs_bands<B: Backend>(b: &B, config: &VaeConfig, [h, w]: [usize; 2], most: u64) -> bool {
    let pixels = h.saturating_mul(w).saturating_mul(config.downscale() * config.downscale());
    // The last block begins at full size with the channels of the one before it.
    let channels = config.decoder_channels().iter().take(2).max().copied().unwrap_or(0);
    pixels.saturating_mul(channels * b.dtype().size()) as u64 > most
}

/// One pass of a run, as far as memory goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PassSize {
    pub(crate) batch: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Rows of its longest context.
    pub(crate) context_length: usize,
    /// Width and height of the image that the VAE's encoder sees, if it is needed.
    pub(crate) encoded: Option<[usize; 2]>,
    /// What the UNet sees at once, `[B, h, w]`, where it sees parts of the latents.
    pub(crate) windows: Option<[[usize; 3]; 2]>,
}

/// What the networks of one pass need.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PassNeed {
    pub(crate) text_encoder: NetworkNeed,
    pub(crate) unet: NetworkNeed,
    pub(crate) decoder: NetworkNeed,
    pub(crate) encoder: Option<NetworkNeed>,
}

impl PassNeed {
    /// Of a pass of `model` on `device`.
    ///
    /// # Errors
    /// The networks can't make images of that size.
    pub(crate) fn new<D: Device>(
        device: &D,
        model: &Model,
        pass: &PassSize,
        options: &PipelineOptions,
    ) -> Result<Self> {
        let vae = model.vae_config();
        let latents = |[width, height]: [usize; 2]| [height, width].map(|side| side / vae.downscale());
        let [h, w] = latents([pass.width, pass.height]);
        let main = device.backend(BackendOptions::in_precision(options.precision))?;
        let auxiliary = device.backend(BackendOptions::in_precision(auxiliary_precision(options.precision)))?;
        let of_vae = device.backend(BackendOptions::in_precision(options.effective_vae_precision()))?;
        let in_bands = options.vae_tiling || needs_bands(&of_vae, vae, [h, w], device.largest_tensor());
        let decoder = if in_bands { NetworkNeed::tiled_decoder } else { NetworkNeed::decoder };
        Ok(Self {
            text_encoder: NetworkNeed::text_encoder(&auxiliary, model.text_config())?,
            unet: match pass.windows {
                None => NetworkNeed::unet(&main, model.unet_config(), [pass.batch, h, w], pass.context_length)?,
                Some([windows, region]) => {
                    let need = |shape| NetworkNeed::unet(&main, model.unet_config(), shape, pass.context_length);
                    let first = need(windows)?;
                    let of_region = if region == windows { first } else { need(region)? };
                    NetworkNeed { arena: first.arena.max(of_region.arena), ..first }
                }
            },
            decoder: decoder(&of_vae, vae, [h, w])?,
            encoder: pass.encoded.map(|size| NetworkNeed::encoder(&of_vae, vae, latents(size))).transpose()?,
        })
    }

    /// The most that is in memory at a time, where `keep` says what stays there; `overhead` is the device's.
    pub(crate) fn peak(&self, keep: Keep, overhead: u64) -> u64 {
        let vae = self.decoder.total().max(self.encoder.map_or(0, NetworkNeed::total));
        let others = vae.max(self.text_encoder.total());
        let most = match keep {
            Keep::Nothing => self.unet.total().max(others),
            Keep::UNet | Keep::All => self.unet.total().saturating_add(others),
        };
        most.saturating_add(overhead)
    }
}

#[cfg(test)]
mod tests {
    use calotype_tensor::{Precision, cpu::CpuDevice};

    use super::*;

    /// Hand-counted: 859,520,964 parameters in two bytes, and the skips of the first block alone.
    #[test]
    fn the_need_of_stable_diffusion_is_found_without_it() {
        let device = CpuDevice::new(Default::default()).unwrap();
        let cpu = device.backend(BackendOptions::in_precision(Precision::BF16)).unwrap();
        let need = NetworkNeed::unet(&cpu, &UNetConfig::sd15(), [1, 64, 64], MAX_LENGTH).unwrap();
        assert!((1_719_000_000..1_850_000_000).contains(&need.weights), "{} bytes of weights", need.weights);
        let skips = 3 * 2 * 64 * 64 * 320 * 2;
        assert!((4 * skips..20 * skips).contains(&need.arena), "an arena of {} bytes", need.arena);
        let wide = NetworkNeed::unet(&cpu, &UNetConfig::sd15(), [1, 64, 128], MAX_LENGTH).unwrap();
        assert!(wide.arena > need.arena * 9 / 5 && wide.weights == need.weights);
        // Keys and values of nine more chunks, for two texts, in all 16 layers.
        let long = NetworkNeed::unet(&cpu, &UNetConfig::sd15(), [1, 64, 64], 10 * MAX_LENGTH).unwrap();
        assert!(long.arena >= need.arena + 9 * MAX_LENGTH as u64 * 2 * 2 * 12_480 * 2, "{} bytes", long.arena);
        let whole = NetworkNeed::decoder(&cpu, &VaeConfig::sd15(), [64, 64]).unwrap();
        let banded = NetworkNeed::tiled_decoder(&cpu, &VaeConfig::sd15(), [128, 128]).unwrap();
        assert!(banded.arena < 4 * whole.arena, "{} and {} bytes", banded.arena, whole.arena);
    }
}
