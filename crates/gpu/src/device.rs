use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use calotype_tensor::{BackendOptions, CancelToken, DType, Device, Error, Precision, Result, Threads};
use wgpu::{DeviceType, Features};

use crate::{
    Counts, Gpu, Tier,
    arena::{Pool, lock},
    cache::Cache,
    context::{Compiling, Context},
    heap,
    kernel::Matrices,
    tier::{asked, matrices, multiplies},
    wait::now,
};

/// Bytes of workgroup memory that the kernels take at most.
const WORKGROUP_BYTES: u32 = 25 << 10;
/// Threads of their workgroups.
const WORKGROUP_THREADS: u32 = 256;
/// Bytes of their parameters.
const IMMEDIATE_BYTES: u32 = 68;
/// Buffers that they are bound to.
const BINDINGS: u32 = 7;

/// What cooperative matrices take.
const MATRIX_FEATURES: Features = Features::SUBGROUP.union(Features::EXPERIMENTAL_COOPERATIVE_MATRIX);

/// How a [`GpuDevice`] is chosen and made.
#[derive(Clone, Debug, Default)]
pub struct GpuDeviceOptions {
    /// Its place in [`GpuDevice::adapters`]; the first that is a card when none.
    pub adapter: Option<usize>,
    /// Whether a driver that computes on the processor may be taken where no place is given.
    pub software: bool,
    /// How products are computed; the best that the device has when none, or what `CALOTYPE_GPU_TIER` says.
    pub tier: Option<Tier>,
    /// The threads that prepare its data.
    pub threads: Option<Threads>,
    /// The folder where compiled kernels are kept for the next time; none are kept when none.
    pub cache: Option<PathBuf>,
    /// Who is told that a kernel was compiled.
    pub watch: Option<WatchCompiling>,
    /// Whether it times what it computes, where the driver can.
    pub timestamps: bool,
    /// What tests let fail.
    pub faults: Faults,
}

/// A kernel was compiled, or taken from those that are kept.
#[derive(Clone, Copy, Debug)]
pub struct Compiled {
    /// How many there are now.
    pub kernels: usize,
    /// How long it took.
    pub took: Duration,
}

/// Who is told of each kernel that is compiled: it must be quick.
#[derive(Clone)]
pub struct WatchCompiling(Arc<dyn Fn(Compiled) + Send + Sync>);

impl WatchCompiling {
    /// Tells this function.
    pub fn new(watch: impl Fn(Compiled) + Send + Sync + 'static) -> Self {
        Self(Arc::new(watch))
    }

    pub(crate) fn tell(&self, compiled: Compiled) {
        (self.0)(compiled);
    }
}

impl fmt::Debug for WatchCompiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchCompiling")
    }
}

/// What tests let fail.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The memory that is asked for the nth time is not there.
    pub allocation: Option<usize>,
    /// The device is lost at the nth submission.
    pub submission: Option<usize>,
    /// Every place of a tensor is filled with what is not a number before an operation writes there.
    pub poison: bool,
    /// At most so many bytes are bound at a time.
    pub binding: Option<u64>,
    /// Nothing is computed, and no memory is taken: what is asked for is only counted. What is read is 0.
    pub idle: bool,
}

/// A graphics card, or what its driver says to be one.
#[derive(Clone, Debug)]
pub struct AdapterInfo {
    /// Its name.
    pub name: String,
    /// The name and version of the driver.
    pub driver: String,
    /// `vulkan` or `metal`.
    pub api: String,
    /// Whether it computes on the processor.
    pub software: bool,
    /// Whether it keeps elements in f16.
    pub f16: bool,
    /// The best tier that it says it has: it is checked when the adapter is opened.
    pub tier: Tier,
    /// Bytes of its own memory, where the driver says so.
    pub memory: Option<u64>,
    /// Bytes of it that this process may still take, where the driver says so (`VK_EXT_memory_budget`).
    pub free: Option<u64>,
    /// What it lacks, if it can't be used.
    pub lacks: Option<String>,
}

/// A graphics card, opened. Cloning shares it.
#[derive(Clone)]
pub struct GpuDevice {
    pub(crate) context: Arc<Context>,
    adapter: wgpu::Adapter,
    software: bool,
}

/// What a device has beside its tier.
struct Extras<'a> {
    cache: Option<&'a Path>,
    watch: Option<WatchCompiling>,
    timestamps: bool,
    faults: Faults,
}

/// All adapters: cards first, drivers on the processor last.
fn adapters() -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL;
    descriptor.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(descriptor);
    let mut adapters = now(instance.enumerate_adapters(wgpu::Backends::all())).unwrap_or_default();
    adapters.sort_by_key(|adapter| match adapter.get_info().device_type {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    });
    adapters
}

/// What an adapter lacks that the kernels need.
fn lacks(adapter: &wgpu::Adapter) -> Option<String> {
    let limits = adapter.limits();
    if !adapter.features().contains(Features::IMMEDIATES) {
        return Some("push constants".into());
    }
    let needs = [
        ("bytes of push constants", limits.max_immediate_size, IMMEDIATE_BYTES),
        ("bytes of workgroup memory", limits.max_compute_workgroup_storage_size, WORKGROUP_BYTES),
        ("threads of a workgroup", limits.max_compute_invocations_per_workgroup, WORKGROUP_THREADS),
        ("storage buffers", limits.max_storage_buffers_per_shader_stage, BINDINGS),
    ];
    let short = needs.iter().find(|(_, has, needed)| has < needed);
    short.map(|(what, has, needed)| format!("{needed} {what} (it has {has})"))
}

/// The cooperative matrices of an adapter that the kernels can use.
fn matrices_of(adapter: &wgpu::Adapter) -> Option<Matrices> {
    let has = adapter.features().contains(Features::SHADER_F16 | MATRIX_FEATURES);
    let info = adapter.get_info();
    let subgroups = [info.subgroup_min_size, info.subgroup_max_size];
    let bytes = adapter.limits().max_compute_workgroup_storage_size;
    if has { matrices(&adapter.cooperative_matrix_properties(), subgroups, bytes) } else { None }
}

fn describe(adapter: &wgpu::Adapter) -> AdapterInfo {
    let info = adapter.get_info();
    let heap = heap::largest(adapter);
    AdapterInfo {
        name: info.name,
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        api: info.backend.to_str().to_owned(),
        software: info.device_type == DeviceType::Cpu,
        f16: adapter.features().contains(Features::SHADER_F16),
        tier: if matrices_of(adapter).is_some() { Tier::Khr } else { Tier::Plain },
        memory: heap.map(|heap| heap.size),
        free: heap.and_then(|heap| heap.free),
        lacks: lacks(adapter),
    }
}

fn no_device(message: String) -> Error {
    Error::Device { device: "gpu".into(), message }
}

impl GpuDevice {
    /// What there is, cards first.
    #[must_use]
    pub fn adapters() -> Vec<AdapterInfo> {
        adapters().iter().map(describe).collect()
    }

    /// Opens one.
    ///
    /// # Errors
    /// There is none, it lacks something, or its driver refuses.
    pub fn new(options: GpuDeviceOptions) -> Result<Self> {
        let GpuDeviceOptions { adapter, software, tier, threads, cache, watch, timestamps, faults } = options;
        let asked = tier.map_or_else(asked, |tier| Ok(Some(tier)))?;
        let adapters = adapters();
        let chosen = match adapter {
            Some(index) => adapters.get(index).ok_or_else(|| {
                no_device(format!(
                    "there is no adapter {index}, only {}; `calotype devices` lists them",
                    adapters.len()
                ))
            })?,
            None => {
                let fits = |a: &&wgpu::Adapter| {
                    lacks(a).is_none() && (software || a.get_info().device_type != DeviceType::Cpu)
                };
                adapters.iter().find(fits).ok_or_else(|| {
                    no_device("no card with a Vulkan or Metal driver was found: install the card's driver".into())
                })?
            }
        };
        let info = describe(chosen);
        if let Some(lacks) = info.lacks {
            return Err(no_device(format!("{} lacks {lacks}: update its driver, or take another device", info.name)));
        }
        let threads = match threads {
            Some(threads) => threads,
            None => Threads::new(0)?,
        };
        let open = |tier: Tier| {
            let extras = Extras { cache: cache.as_deref(), watch: watch.clone(), timestamps, faults };
            Self::open(chosen, tier, &threads, extras)
        };
        match (asked, info.tier) {
            (Some(Tier::Khr), Tier::Plain) => {
                Err(no_device(format!("{} has no cooperative matrices of f16: take the tier plain", info.name)))
            }
            (Some(tier), _) => open(tier),
            // One that is wrong or fails is not taken, whatever the driver says.
            (None, Tier::Khr) => open(Tier::Khr).or_else(|_| open(Tier::Plain)),
            (None, tier) => open(tier),
        }
    }

    /// Opens an adapter in a tier, and checks that it computes.
    fn open(adapter: &wgpu::Adapter, tier: Tier, threads: &Threads, extras: Extras) -> Result<Self> {
        let Extras { cache: folder, watch, timestamps, faults } = extras;
        let info = describe(adapter);
        let matrices = if tier == Tier::Khr { matrices_of(adapter) } else { None };
        let mut features = Features::IMMEDIATES;
        features.set(Features::SHADER_F16, info.f16);
        features.set(MATRIX_FEATURES, matrices.is_some());
        let keeps = folder.filter(|_| adapter.features().contains(Features::PIPELINE_CACHE));
        features.set(Features::PIPELINE_CACHE, keeps.is_some());
        let times = timestamps && adapter.features().contains(Features::TIMESTAMP_QUERY);
        features.set(Features::TIMESTAMP_QUERY, times);
        let experimental_features = match matrices {
            // SAFETY: of the experimental features only cooperative matrices are used. What their kernels load and store lies in
            // workgroup memory of the size that they declare, and each device is checked on a product before it is used.
            Some(_) => unsafe { wgpu::ExperimentalFeatures::enabled() },
            None => wgpu::ExperimentalFeatures::disabled(),
        };
        let opened = now(adapter.request_device(&wgpu::DeviceDescriptor {
            required_features: features,
            required_limits: adapter.limits(),
            experimental_features,
            ..Default::default()
        }));
        let opened = match opened {
            Some(Ok(opened)) => opened,
            Some(Err(error)) => return Err(no_device(format!("{} can't be opened: {error}", info.name))),
            None => return Err(no_device(format!("{} does not answer", info.name))),
        };
        let name = format!("gpu ({}, {}, {tier})", info.name, info.api);
        let cache = keeps.map(|folder| Cache::open(&opened.0, &adapter.get_info(), folder));
        let compiling = Compiling { cache, watch };
        let context = Context::new(opened, name, info.f16, matrices, threads.clone(), faults, compiling)?;
        if times {
            context.start_timing()?;
        }
        let device = Self { context, adapter: adapter.clone(), software: info.software };
        multiplies(&device)?;
        device.context.arm();
        Ok(device)
    }

    /// Bytes of its own memory, where the driver says so.
    #[must_use]
    pub fn memory(&self) -> Option<u64> {
        heap::largest(&self.adapter).map(|heap| heap.size)
    }

    /// Bytes of it that this process may still take, where the driver says so: other programs take memory too.
    #[must_use]
    pub fn free_memory(&self) -> Option<u64> {
        heap::largest(&self.adapter).and_then(|heap| heap.free)
    }

    /// Whether it computes on the processor.
    #[must_use]
    pub fn is_software(&self) -> bool {
        self.software
    }

    /// How products are computed.
    #[must_use]
    pub fn tier(&self) -> Tier {
        if self.context.matrices.is_some() { Tier::Khr } else { Tier::Plain }
    }

    /// How many buffers were made so far: what [`Faults::allocation`] counts.
    #[must_use]
    pub fn allocations(&self) -> usize {
        self.context.allocations()
    }

    /// What it was asked for so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        lock(&self.context.recorder).counts.clone()
    }

    /// How many submissions there were so far: what [`Faults::submission`] counts.
    #[must_use]
    pub fn submissions(&self) -> usize {
        self.context.submissions()
    }
}

impl Device for GpuDevice {
    type Backend = Gpu;

    fn name(&self) -> String {
        self.context.name.clone()
    }

    fn backend(&self, options: BackendOptions) -> Result<Gpu> {
        let BackendOptions { precision, cancel, shows_overflow } = options;
        let dtype = match precision {
            Precision::F32 => DType::F32,
            Precision::F16 if self.context.f16 => DType::F16,
            Precision::F16 => return Err(self.context.error("it has no f16: take f32")),
            other => return Err(self.context.error(format!("it does not compute in {other}: take f16 or f32"))),
        };
        let pool = || Arc::new(Pool::new(&self.context));
        let clamps = !shows_overflow;
        Ok(Gpu { context: self.context.clone(), dtype, clamps, cancel, tensors: pool(), params: pool() })
    }

    fn with_cancel(backend: &Gpu, cancel: CancelToken) -> Gpu {
        Gpu { cancel, ..backend.clone() }
    }

    fn fastest_precision(&self) -> Precision {
        if self.context.f16 { Precision::F16 } else { Precision::F32 }
    }

    fn largest_tensor(&self) -> u64 {
        self.context.limits.max_storage_buffer_binding_size
    }

    /// Kernels, staging and what the driver keeps.
    fn overhead(&self) -> u64 {
        256 << 20
    }

    fn threads(&self) -> &Threads {
        &self.context.threads
    }
}
