//! From a plan to images: a model, the networks of it that are in memory, and the runs that use them.

mod decode;
mod event;
mod hires;
mod init;
mod networks;
mod options;
mod output;
mod prompt;
mod run;
mod start;

use std::sync::{Arc, Mutex, OnceLock};

use calotype_models::{ClipTextEncoder, UNet, VaeDecoder, VaeEncoder};
use calotype_tensor::{Backend, BackendOptions, CancelToken, Device, Precision, cpu::CpuDevice};

pub use event::{Event, Stage};
pub use options::{PipelineOptions, auxiliary_precision, fastest_precision};
pub use output::{Image, Output};
use prompt::EncodedPrompts;
pub use run::{BoxDenoiser, Run, RunOptions};

use crate::{
    Keep, Model, Plan, Request, Result,
    adapters::{Key, Library, LoadedAdapters},
    memory::{PassNeed, Reservation},
    resident::{Resident, Slot},
};

/// A parameter on a device.
pub(crate) type ParamOf<D> = <<D as Device>::Backend as Backend>::Param;
type TextEncoderOf<D> = Resident<D, ClipTextEncoder<ParamOf<D>>>;
type UNetOf<D> = Resident<D, UNet<ParamOf<D>>>;
type VaeEncoderOf<D> = Resident<D, VaeEncoder<ParamOf<D>>>;
type VaeDecoderOf<D> = Resident<D, VaeDecoder<ParamOf<D>>>;

/// A model on a device, and those of its networks that are in memory. Cloning shares them, and runs may go on in several
/// threads at once.
///
/// ```no_run
/// use calotype::{Event, Model, Pipeline, PipelineOptions, Request};
///
/// # fn main() -> calotype::Result<()> {
/// let pipeline = Pipeline::load(Model::open("path/to/sd15")?, PipelineOptions::default())?;
/// let plan = pipeline.plan(Request::new("a lighthouse at dawn"))?;
/// let mut run = pipeline.run(plan)?;
/// for event in &mut run {
///     if let Event::Step(step) = event? {
///         println!("step {} of {}", step.index + 1, step.total);
///     }
/// }
/// run.finish()?.images[0].save_png("lighthouse.png")?;
/// # Ok(())
/// # }
/// ```
#[doc(alias = "StableDiffusionPipeline")]
pub struct Pipeline<D: Device = CpuDevice>(Arc<Shared<D>>);

struct Shared<D: Device> {
    model: Arc<Model>,
    device: D,
    options: PipelineOptions,
    text_encoder: Slot<D, ClipTextEncoder<ParamOf<D>>>,
    unet: Slot<D, UNet<ParamOf<D>>>,
    vae_encoder: Slot<D, VaeEncoder<ParamOf<D>>>,
    vae_decoder: Slot<D, VaeDecoder<ParamOf<D>>>,
    /// The last prompts that were encoded.
    encoded: Mutex<Option<EncodedPrompts>>,
    /// The files of adapters that are open.
    library: Mutex<Library>,
}

/// What a run holds while it uses the networks of a pipeline.
struct Lease {
    cancel: CancelToken,
    reservation: Reservation,
    need: PassNeed,
}

impl<D: Device> Clone for Pipeline<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: Device> std::fmt::Debug for Pipeline<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shared { model, device, options, .. } = &*self.0;
        let (model, device) = (model.name(), device.name());
        f.debug_struct("Pipeline").field("model", &model).field("device", &device).field("options", options).finish()
    }
}

impl Pipeline {
    /// A pipeline on the processor, whose threads all pipelines of the program share that are made so. For another device,
    /// or other threads, see [`Pipeline::new`].
    ///
    /// Nothing is read before it is needed; [`Pipeline::preload`] reads the weights at once.
    ///
    /// # Errors
    /// Threads can't be started.
    #[doc(alias = "from_pretrained")]
    pub fn load(model: impl Into<Arc<Model>>, options: PipelineOptions) -> Result<Self> {
        static PROCESSOR: OnceLock<CpuDevice> = OnceLock::new();
        let device = match PROCESSOR.get() {
            Some(device) => device.clone(),
            None => {
                let device = CpuDevice::new(Default::default())?;
                PROCESSOR.get_or_init(|| device).clone()
            }
        };
        Ok(Self::new(device, model, options))
    }
}

impl<D: Device> Pipeline<D> {
    /// A pipeline on a device. Nothing is read before it is needed.
    pub fn new(device: D, model: impl Into<Arc<Model>>, options: PipelineOptions) -> Self {
        let all = options.keep == Keep::All;
        Self(Arc::new(Shared {
            model: model.into(),
            device,
            text_encoder: Slot::new(all),
            unet: Slot::new(options.keep != Keep::Nothing),
            vae_encoder: Slot::new(all),
            vae_decoder: Slot::new(all),
            encoded: Mutex::new(None),
            library: Mutex::default(),
            options,
        }))
    }

    /// Reads the networks that the options say to keep in memory, but for those of adapters.
    ///
    /// # Errors
    /// A file can't be read, or there is not enough memory.
    pub fn preload(&self) -> Result<()> {
        if self.0.options.keep == Keep::Nothing {
            return Ok(());
        }
        let plan = self.plan(Request::default())?;
        let (adapters, mut lease) = (LoadedAdapters::default(), self.lease(&plan, CancelToken::new())?);
        if self.0.options.keep == Keep::All {
            self.text_encoder(&adapters, &mut lease)?;
            self.vae_decoder(&mut lease)?;
        }
        self.unet(&adapters, &mut lease)?;
        Ok(())
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.0.model
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &D {
        &self.0.device
    }

    /// How it computes.
    #[must_use]
    pub fn options(&self) -> &PipelineOptions {
        &self.0.options
    }

    /// Checks a request and finds what a run of it takes, before weights are read and anything is computed.
    ///
    /// # Errors
    /// As [`Plan::new`]; or it needs more memory than is free ([`Error::OutOfMemory`](crate::Error::OutOfMemory)).
    pub fn plan(&self, request: impl Into<Arc<Request>>) -> Result<Plan> {
        let Shared { model, device, options, .. } = &*self.0;
        let mut plan = Plan::new(model, request, options)?;
        plan.find_need(device, model, options)?;
        tracing::info!(
            model = model.name(),
            device = device.name(),
            precision = options.precision.id(),
            steps = plan.steps(),
            latents = ?plan.latents_shape,
            bytes = self.needed(&plan),
            "planned"
        );
        options.memory.check(self.needed(&plan))?;
        Ok(plan)
    }

    /// [Plans](Self::plan) a request and [starts](Self::run) it.
    ///
    /// # Errors
    /// As those two.
    pub fn generate(&self, request: impl Into<Arc<Request>>) -> Result<Run<D>> {
        self.run(self.plan(request)?)
    }

    /// Starts a run: reserves its memory and opens its adapters. Each turn of the run's iterator does a part of the work.
    ///
    /// # Errors
    /// The memory is no longer free, or an adapter can't be used.
    pub fn run(&self, plan: Plan) -> Result<Run<D>> {
        self.run_with(plan, RunOptions::default())
    }

    /// [`Self::run`] that can be cancelled from outside, or whose denoiser is the caller's.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_with(&self, plan: Plan, options: RunOptions) -> Result<Run<D>> {
        Run::new(self.clone(), plan, options)
    }

    /// Bytes that a run of a plan needs beside what is in memory already.
    fn needed(&self, plan: &Plan) -> u64 {
        let Shared { device, options, unet, .. } = &*self.0;
        let peak = |need: &PassNeed| need.peak(options.keep, device.threads().count());
        let peak = plan.needs().iter().map(peak).max().unwrap_or(0);
        let resident = if unet.holds(&Key::default()) { plan.need_of(false).unet.weights } else { 0 };
        peak.saturating_sub(resident)
    }

    /// Reserves the memory of a run.
    fn lease(&self, plan: &Plan, cancel: CancelToken) -> Result<Lease> {
        let reservation = self.0.options.memory.reserve(self.needed(plan))?;
        Ok(Lease { cancel, reservation, need: plan.need_of(false) })
    }

    /// For the use of one network outside of a run.
    fn no_lease(&self) -> Result<Lease> {
        let (cancel, need) = (CancelToken::new(), PassNeed::default());
        Ok(Lease { cancel, reservation: self.0.options.memory.reserve(0)?, need })
    }

    /// A backend of its own for one network.
    fn backend(&self, precision: Precision, cancel: &CancelToken) -> Result<D::Backend> {
        Ok(self.0.device.backend(BackendOptions { precision, cancel: cancel.clone() })?)
    }

    /// What the networks beside the UNet compute in.
    fn auxiliary_precision(&self) -> Precision {
        auxiliary_precision(self.0.options.precision)
    }

    fn text_encoder(&self, adapters: &LoadedAdapters, lease: &mut Lease) -> Result<TextEncoderOf<D>> {
        let Lease { cancel, reservation, need } = lease;
        self.0.text_encoder.get(
            adapters.text_key(),
            cancel,
            || reservation.split(need.text_encoder.weights),
            || {
                let backend = self.backend(self.auxiliary_precision(), cancel)?;
                Ok(Resident { network: adapters.load_text_encoder(&self.0.model, &backend)?, backend })
            },
        )
    }

    fn unet(&self, adapters: &LoadedAdapters, lease: &mut Lease) -> Result<UNetOf<D>> {
        let Lease { cancel, reservation, need } = lease;
        let weights = || reservation.split(need.unet.weights);
        let mut unet = self.0.unet.get(adapters.unet_key(), cancel, weights, || {
            let backend = self.backend(self.0.options.precision, cancel)?;
            Ok(Resident { network: adapters.load_unet(&self.0.model, &backend)?, backend })
        })?;
        adapters.set_hypernetworks(&unet.backend, &mut unet.network)?;
        Ok(unet)
    }

    fn vae_encoder(&self, lease: &mut Lease) -> Result<VaeEncoderOf<D>> {
        let Lease { cancel, reservation, need } = lease;
        let weights = || reservation.split(need.encoder.map_or(0, |need| need.weights));
        self.0.vae_encoder.get(Key::default(), cancel, weights, || {
            let backend = self.backend(self.auxiliary_precision(), cancel)?;
            Ok(Resident { network: self.0.model.vae().load_encoder(&backend)?, backend })
        })
    }

    fn vae_decoder(&self, lease: &mut Lease) -> Result<VaeDecoderOf<D>> {
        let Lease { cancel, reservation, need } = lease;
        let weights = || reservation.split(need.decoder.weights);
        let load = || self.decoder_in(self.auxiliary_precision(), cancel);
        self.0.vae_decoder.get(Key::default(), cancel, weights, load)
    }

    fn decoder_in(&self, precision: Precision, cancel: &CancelToken) -> Result<VaeDecoderOf<D>> {
        let backend = self.backend(precision, cancel)?;
        Ok(Resident { network: self.0.model.vae().load_decoder(&backend)?, backend })
    }
}
