//! The networks on a device of any kind: the only place of this crate where tensors are.

use std::sync::Arc;

use calotype_diffusion::{Latents, Predictor};
use calotype_models::{CircularPadding, ClipTextEncoder, UNet, UNetInputs, VaeDecoder, VaeEncoder, posterior};
use calotype_tensor::{Backend, BackendOptions, CancelToken, Device, Memory, Precision, Threads, op_shapes};

use super::{
    BoxPredictor, DecodeLatents, EncodeImage, EncodeText, GuidedPass, Keep, Lease, Networks, PredictNoise, finite,
    resident::{Resident, Slot},
};
use crate::{
    Model, PipelineOptions, Result,
    adapters::{Key, LoadedAdapters},
    cfg::CfgPredictor,
    error::NotFinite,
    memory::{NetworkNeed, PassNeed, PassSize, needs_bands},
    pipeline::auxiliary_precision,
};

/// A parameter on a device.
type ParamOf<D> = <<D as Device>::Backend as Backend>::Param;
type TextEncoderOn<D> = Resident<D, ClipTextEncoder<ParamOf<D>>>;
type UNetOn<D> = Resident<D, UNet<ParamOf<D>>>;
type VaeEncoderOn<D> = Resident<D, VaeEncoder<ParamOf<D>>>;
type VaeDecoderOn<D> = Resident<D, VaeDecoder<ParamOf<D>>>;

/// A decoder, and how it is used.
struct Decoder<D: Device> {
    resident: VaeDecoderOn<D>,
    model: Arc<Model>,
    precision: Precision,
    tiled: bool,
    /// Bytes of the largest tensor that the device takes.
    most: u64,
}

impl<D: Device> Decoder<D> {
    /// Whether latents `[B, h, w, C]` are decoded in bands.
    fn in_bands(&self, [batch, h, w, _]: [usize; 4]) -> bool {
        let needs = || needs_bands(&self.resident.backend, self.model.vae_config(), [h, w], self.most);
        self.tiled || (batch == 1 && needs())
    }
}

/// A model on a device, and those of its networks that are in memory.
pub(crate) struct OnDevice<D: Device> {
    device: D,
    model: Arc<Model>,
    options: PipelineOptions,
    text_encoder: Slot<D, ClipTextEncoder<ParamOf<D>>>,
    unet: Slot<D, UNet<ParamOf<D>>>,
    vae_encoder: Slot<D, VaeEncoder<ParamOf<D>>>,
    vae_decoder: Slot<D, VaeDecoder<ParamOf<D>>>,
}

impl<D: Device> OnDevice<D> {
    pub(crate) fn new(device: D, model: Arc<Model>, options: PipelineOptions) -> Self {
        let all = options.keep == Keep::All;
        Self {
            device,
            model,
            text_encoder: Slot::new(all),
            unet: Slot::new(options.keep != Keep::Nothing),
            vae_encoder: Slot::new(all),
            vae_decoder: Slot::new(all),
            options,
        }
    }

    /// A backend of its own for one network.
    fn backend(&self, precision: Precision, cancel: &CancelToken) -> Result<D::Backend> {
        let options = BackendOptions { cancel: cancel.clone(), ..BackendOptions::in_precision(precision) };
        Ok(self.device.backend(options)?)
    }

    /// What the text encoder computes in.
    fn auxiliary_precision(&self) -> Precision {
        auxiliary_precision(self.options.precision)
    }

    fn load_decoder(&self, precision: Precision, cancel: &CancelToken) -> Result<VaeDecoderOn<D>> {
        // What is too large for 16 bits must not pass for an image: it is decoded again.
        let options = BackendOptions { precision, cancel: cancel.clone(), shows_overflow: true };
        let backend = self.device.backend(options)?;
        Ok(Resident { network: self.model.vae().load_decoder(&backend)?, backend })
    }

    fn decoder(&self, resident: VaeDecoderOn<D>, precision: Precision) -> Box<dyn DecodeLatents> {
        let (model, most) = (Arc::clone(&self.model), self.device.largest_tensor());
        Box::new(Decoder { resident, model, precision, tiled: self.options.vae_tiling, most })
    }
}

impl<D: Device> Networks for OnDevice<D> {
    fn device(&self) -> String {
        self.device.name()
    }

    fn overhead(&self) -> u64 {
        self.device.overhead()
    }

    fn need(&self, pass: &PassSize) -> Result<PassNeed> {
        PassNeed::new(&self.device, &self.model, pass, &self.options)
    }

    fn holds_unet(&self) -> bool {
        self.unet.holds(&Key::default())
    }

    fn text_encoder(&self, adapters: &LoadedAdapters, lease: &mut Lease) -> Result<Box<dyn EncodeText>> {
        let Lease { cancel, reservation, need } = lease;
        let weights = || reservation.split(need.text_encoder.weights);
        let text_encoder: TextEncoderOn<D> = self.text_encoder.get(adapters.text_key(), cancel, weights, || {
            let backend = self.backend(self.auxiliary_precision(), cancel)?;
            Ok(Resident { network: adapters.load_text_encoder(&self.model, &backend)?, backend })
        })?;
        Ok(Box::new(text_encoder))
    }

    fn unet(&self, adapters: &LoadedAdapters, lease: &mut Lease) -> Result<Box<dyn PredictNoise>> {
        let Lease { cancel, reservation, need } = lease;
        let weights = || reservation.split(need.unet.weights);
        let mut unet: UNetOn<D> = self.unet.get(adapters.unet_key(), cancel, weights, || {
            let backend = self.backend(self.options.precision, cancel)?;
            Ok(Resident { network: adapters.load_unet(&self.model, &backend)?, backend })
        })?;
        adapters.set_hypernetworks(&unet.backend, &mut unet.network)?;
        Ok(Box::new(unet))
    }

    fn vae_encoder(&self, lease: &mut Lease) -> Result<Box<dyn EncodeImage>> {
        let Lease { cancel, reservation, need } = lease;
        let weights = || reservation.split(need.encoder.map_or(0, |need| need.weights));
        let encoder: VaeEncoderOn<D> = self.vae_encoder.get(Key::default(), cancel, weights, || {
            let backend = self.backend(self.options.effective_vae_precision(), cancel)?;
            Ok(Resident { network: self.model.vae().load_encoder(&backend)?, backend })
        })?;
        Ok(Box::new(encoder))
    }

    fn vae_decoder(&self, lease: &mut Lease) -> Result<Box<dyn DecodeLatents>> {
        let Lease { cancel, reservation, need } = lease;
        let weights = || reservation.split(need.decoder.weights);
        let precision = self.options.effective_vae_precision();
        let load = || self.load_decoder(precision, cancel);
        Ok(self.decoder(self.vae_decoder.get(Key::default(), cancel, weights, load)?, precision))
    }

    fn vae_decoder_f32(&self, lease: &Lease) -> Result<Box<dyn DecodeLatents>> {
        Ok(self.decoder(self.load_decoder(Precision::F32, &lease.cancel)?, Precision::F32))
    }
}

impl<D: Device> EncodeText for TextEncoderOn<D> {
    fn encode(&self, ids: &[u32], batch: usize, clip_skip: usize) -> Result<Vec<f32>> {
        let Resident { backend, network } = self;
        let context = backend.threads().enter(|| {
            let context = network.forward_skipping(backend, ids, batch, clip_skip.saturating_sub(1))?;
            backend.to_f32(&context)
        })?;
        finite(context, NotFinite::TextEncoder)
    }
}

impl<D: Device> PredictNoise for UNetOn<D> {
    fn guided(self: Box<Self>, pass: GuidedPass) -> Result<BoxPredictor> {
        let Resident { backend, mut network } = *self;
        let GuidedPass { conditioning, guidance_scale, shape, extra_channels, wrap, windows, arena } = pass;
        network.set_wrap(windows.as_ref().map_or(wrap, |windows| windows.own_wrap(wrap)));
        backend.reserve(usize::try_from(arena).unwrap_or(usize::MAX))?;
        let threads = backend.threads().clone();
        let mut predictor = CfgPredictor::with_conditioning(backend, network, conditioning, guidance_scale, shape)?;
        if let Some(windows) = windows {
            predictor = predictor.with_windows(windows);
        }
        if let Some(extra) = extra_channels {
            predictor = predictor.with_extra_channels(extra, 1 + shape[3])?;
        }
        Ok(Box::new(OnThreads { threads, predictor }))
    }

    fn predict(&self, latents: &Latents, timestep: f64, context: &[f32]) -> Result<Latents> {
        let Resident { backend, network } = self;
        let batch = latents.batch();
        let width = network.config().cross_attention_dim.get(0);
        let length = context.len() / (batch * width).max(1);
        let context = backend.from_f32([batch, length, width].into(), context.to_vec())?;
        let time = network.time_embedding(backend, &vec![timestep as f32; batch], None)?;
        let context = network.prepare(backend, &context)?;
        let x = upload(backend, latents)?;
        download(backend, &network.forward(backend, &UNetInputs::new(&x, &time, &context))?, NotFinite::Latents)
    }
}

/// A predictor that works on the device's threads, see [`Threads::enter`].
struct OnThreads<P> {
    threads: Threads,
    predictor: P,
}

impl<P: Predictor<Error: Send> + Send> Predictor for OnThreads<P> {
    type Error = P::Error;

    fn predict(&mut self, x: &Latents, timestep: f64) -> Result<Latents, P::Error> {
        self.threads.enter(|| self.predictor.predict(x, timestep))
    }

    fn predict_with_uncond(&mut self, x: &Latents, timestep: f64) -> Result<[Latents; 2], P::Error> {
        self.threads.enter(|| self.predictor.predict_with_uncond(x, timestep))
    }

    fn predict_each(&mut self, x: &Latents, timesteps: &[f64]) -> Result<Latents, P::Error> {
        self.threads.enter(|| self.predictor.predict_each(x, timesteps))
    }
}

impl<D: Device> EncodeImage for VaeEncoderOn<D> {
    fn encode(&self, images: &Latents, wrap: CircularPadding) -> Result<Latents> {
        let Resident { backend, mut network } = self.clone();
        network.set_wrap(wrap);
        backend.threads().enter(|| {
            let moments = network.forward(&backend, &upload(&backend, images)?, false)?;
            let (mean, logvar) = posterior(&backend, &moments)?;
            download(&backend, &backend.concat(&mean, &logvar)?, NotFinite::VaeEncoder)
        })
    }
}

impl<D: Device> DecodeLatents for Decoder<D> {
    fn precision(&self) -> Precision {
        self.precision
    }

    /// Bands have no arena: what they need is joined from parts outside of it.
    fn reserve(&mut self, size: [usize; 2]) -> Result<()> {
        if !self.in_bands([1, size[0], size[1], 0]) {
            let backend = &self.resident.backend;
            let need = NetworkNeed::decoder(backend, self.model.vae_config(), size)?;
            backend.reserve(usize::try_from(need.arena).unwrap_or(usize::MAX))?;
        }
        Ok(())
    }

    fn decode(&self, latents: &Latents, wrap: CircularPadding) -> Result<Latents> {
        let Resident { backend, mut network } = self.resident.clone();
        network.set_wrap(wrap);
        backend.threads().enter(|| {
            let x = upload(&backend, latents)?;
            // Bands know no other edge.
            let decoded = match self.in_bands(latents.shape()) && !wrap.any() {
                true => network.forward_tiled(&backend, &x)?,
                false => network.forward(&backend, &x, false)?,
            };
            download(&backend, &decoded, NotFinite::VaeDecoder)
        })
    }
}

fn upload<B: Backend>(backend: &B, latents: &Latents) -> Result<B::Tensor> {
    Ok(backend.from_f32(latents.shape().into(), latents.data().to_vec())?)
}

fn download<B: Backend>(backend: &B, x: &B::Tensor, network: NotFinite) -> Result<Latents> {
    let shape = op_shapes::picture("pipeline", "the output", backend.shape(x))?;
    Ok(Latents::new(shape, finite(backend.to_f32(x)?, network)?)?)
}
