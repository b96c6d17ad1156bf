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

use calotype_tensor::{CancelToken, Device, cpu::CpuDevice};

pub use event::{Event, Stage};
pub use options::{PipelineOptions, auxiliary_precision, fastest_precision};
pub use output::{Image, Output};
use prompt::EncodedPrompts;
pub use run::{BoxDenoiser, BoxSolver, Run, RunOptions};

use crate::{
    Error, Keep, Model, Plan, Request, Result,
    adapters::{Library, LoadedAdapters},
    memory::{PassNeed, PassSize},
    networks::{Lease, Networks, OnDevice},
};

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
#[derive(Clone)]
pub struct Pipeline(Arc<Shared>);

struct Shared {
    model: Arc<Model>,
    options: PipelineOptions,
    networks: Box<dyn Networks>,
    /// The last prompts that were encoded.
    encoded: Mutex<Vec<EncodedPrompts>>,
    /// The files of adapters that are open.
    library: Mutex<Library>,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shared { model, options, networks, .. } = &*self.0;
        let (model, device) = (model.name(), networks.device());
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

    /// A pipeline on a device of any kind. Nothing is read before it is needed.
    pub fn new(device: impl Device, model: impl Into<Arc<Model>>, options: PipelineOptions) -> Self {
        let model = model.into();
        let networks = Box::new(OnDevice::new(device, Arc::clone(&model), options.clone()));
        let (encoded, library) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Shared { model, options, networks, encoded, library }))
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
        let networks = self.networks();
        if self.0.options.keep == Keep::All {
            networks.text_encoder(&adapters, &mut lease)?;
            networks.vae_decoder(&mut lease)?;
        }
        networks.unet(&adapters, &mut lease)?;
        Ok(())
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.0.model
    }

    /// The name of the device: `cpu (avx512-bf16)`.
    #[must_use]
    pub fn device_name(&self) -> String {
        self.networks().device()
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
        let Shared { model, options, networks, .. } = &*self.0;
        let mut plan = Plan::new(model, request, options)?;
        plan.find_need(&**networks)?;
        tracing::info!(
            model = model.name(),
            device = networks.device(),
            precision = options.precision.id(),
            steps = plan.steps(),
            latents = ?plan.latents_shape,
            bytes = self.needed(&plan),
            "planned"
        );
        match options.memory.check(self.needed(&plan)) {
            Err(error) => Err(self.what_fits(&plan, error)),
            Ok(()) => Ok(plan),
        }
    }

    /// What is said of a plan that is too large: the largest image of its form that is not.
    fn what_fits(&self, plan: &Plan, error: Error) -> Error {
        let Error::OutOfMemory { needed, free } = error else { return error };
        let multiple = self.0.model.size_multiple().max(1);
        let pass = plan.largest_pass();
        let part = |sixteenths: usize| {
            let side = |side: usize| side * sixteenths / 16 / multiple * multiple;
            let [width, height] = [pass.width, pass.height].map(side);
            let encoded = pass.encoded.map(|size| size.map(side));
            PassSize { batch: 1, width, height, encoded, ..pass }
        };
        let mut smaller = (1..=16).rev().map(part).filter(|pass| pass.width > 0 && pass.height > 0);
        let fits = |pass: &PassSize| {
            let need = self.networks().need(pass);
            need.is_ok_and(|need| self.0.options.memory.check(self.beside(plan, &[need])).is_ok())
        };
        match smaller.find(fits) {
            Some(PassSize { width, height, .. }) => Error::TooLarge { needed, free, width, height },
            None => error,
        }
    }

    /// [Plans](Self::plan) a request and [starts](Self::run) it.
    ///
    /// # Errors
    /// As those two.
    pub fn generate(&self, request: impl Into<Arc<Request>>) -> Result<Run> {
        self.run(self.plan(request)?)
    }

    /// Starts a run: reserves its memory and opens its adapters. Each turn of the run's iterator does a part of the work.
    ///
    /// # Errors
    /// The memory is no longer free, or an adapter can't be used.
    pub fn run(&self, plan: Plan) -> Result<Run> {
        self.run_with(plan, RunOptions::default())
    }

    /// [`Self::run`] that can be cancelled from outside, or whose denoiser is the caller's.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_with(&self, plan: Plan, options: RunOptions) -> Result<Run> {
        Run::new(self.clone(), plan, options)
    }

    /// Bytes that a run of a plan needs beside what is in memory already.
    fn needed(&self, plan: &Plan) -> u64 {
        self.beside(plan, plan.needs())
    }

    /// [`Self::needed`] of passes that need so much.
    fn beside(&self, plan: &Plan, needs: &[PassNeed]) -> u64 {
        let Shared { options, networks, .. } = &*self.0;
        let peak = |need: &PassNeed| need.peak(options.keep, networks.overhead());
        let peak = needs.iter().map(peak).max().unwrap_or(0);
        let resident = if networks.holds_unet() { plan.need_of(false).unet.weights } else { 0 };
        peak.saturating_sub(resident)
    }

    /// Reserves the memory of a run.
    fn lease(&self, plan: &Plan, cancel: CancelToken) -> Result<Lease> {
        Lease::new(&self.0.options.memory, self.needed(plan), cancel, plan.need_of(false))
    }

    /// For the use of one network outside of a run.
    fn no_lease(&self) -> Result<Lease> {
        Lease::of_one_network(&self.0.options.memory)
    }

    fn networks(&self) -> &dyn Networks {
        &*self.0.networks
    }
}
