//! Graphics cards, as they are asked for.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use calotype::{
    CpuDevice, Device, Model, Pipeline, PipelineOptions, Precision, checkpoint::cache_folder, memory::MemoryBudget,
};
use calotype_gpu::{Compiled, GpuDevice, GpuDeviceOptions, WatchCompiling};
use calotype_tensor::BackendOptions;

use crate::{
    args::DeviceArg,
    failure::{Failure, line},
};

/// A card, and what it computes in.
pub(crate) struct Card {
    pub(crate) device: GpuDevice,
    pub(crate) precision: Precision,
}

/// What is asked of a card.
#[derive(Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) device: DeviceArg,
    pub(crate) precision: Option<Precision>,
    /// Whether it times what it computes.
    pub(crate) timestamps: bool,
}

impl Card {
    /// The card that is to be taken; none where it is the processor.
    pub(crate) fn open(wish: Wish, cpu: &CpuDevice) -> Result<Option<Self>, Failure> {
        let Wish { device: asked, precision, timestamps } = wish;
        let open = |adapter| {
            GpuDevice::new(GpuDeviceOptions {
                adapter,
                threads: Some(cpu.threads().clone()),
                cache: cache_folder().map(|folder| folder.join("gpu")),
                watch: Some(watch()),
                timestamps,
                ..Default::default()
            })
        };
        let device = match asked {
            DeviceArg::Cpu => return Ok(None),
            // What a card can't compute in is the processor's.
            DeviceArg::Auto if !matches!(precision, None | Some(Precision::F32 | Precision::F16)) => {
                return Ok(None);
            }
            DeviceArg::Auto => match open(None) {
                Ok(device) => device,
                Err(error) => {
                    if GpuDevice::adapters().iter().any(|adapter| !adapter.software) {
                        line("note", &format!("computing on the processor: {error}"));
                    }
                    return Ok(None);
                }
            },
            DeviceArg::Gpu(adapter) => open(adapter).map_err(calotype::Error::from)?,
        };
        let precision = precision.unwrap_or_else(|| device.fastest_precision());
        // Found out before anything is read.
        device.backend(BackendOptions::in_precision(precision)).map_err(calotype::Error::from)?;
        line("note", &format!("computing on {} in {precision}", device.name()));
        Ok(Some(Self { device, precision }))
    }

    /// What runs on it may take together: what its driver says is free, less a tenth, which is the desktop's; none where that is the
    /// processor's memory.
    pub(crate) fn memory(&self) -> Option<MemoryBudget> {
        let bytes = self.device.free_memory().or_else(|| self.device.memory());
        bytes.filter(|_| !self.device.is_software()).map(|bytes| MemoryBudget::with_limit(bytes / 10 * 9))
    }

    /// For a server, whose pipelines share it and its memory.
    pub(crate) fn for_engine(self, falls_back: bool) -> calotype_server::Card {
        let memory = self.memory();
        let Self { device, precision } = self;
        let make = move |model: Arc<Model>, options: PipelineOptions| {
            let memory = memory.clone().unwrap_or_else(|| options.memory.clone());
            Pipeline::new(device.clone(), model, PipelineOptions { precision, memory, ..options })
        };
        calotype_server::Card::new(make, falls_back)
    }
}

/// How long kernels are compiled before it is said, and between two times that it is.
const PATIENCE: Duration = Duration::from_secs(2);

/// Says from time to time that kernels are compiled.
fn watch() -> WatchCompiling {
    let told = Mutex::new((Duration::ZERO, None::<Instant>));
    WatchCompiling::new(move |Compiled { kernels, took }| {
        let mut told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (total, last) = &mut *told;
        *total += took;
        if *total >= PATIENCE && last.is_none_or(|last| last.elapsed() >= PATIENCE) {
            *last = Some(Instant::now());
            line("compiling", &format!("{kernels} kernels for this card so far; the next time they are there"));
        }
    })
}
