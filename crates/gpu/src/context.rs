//! A device of wgpu with what all backends on it share: the recorder, the pipelines, and the first fault.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, TryRecvError},
    },
    time::{Duration, Instant},
};

use calotype_tensor::{CancelToken, Error, Result, Threads};
use wgpu::PollType;

use crate::{
    arena::lock,
    cache::Cache,
    device::{Compiled, Faults, WatchCompiling},
    kernel::{Kernel, Matrices},
    pipeline::{Pipeline, compile},
    recorder::Recorder,
    wait::now,
};

/// How long the pauses are between two looks at the device: longer ones after the first.
const PAUSES: [Duration; 2] = [Duration::from_micros(20), Duration::from_micros(200)];
/// How many are short.
const SHORT: usize = 50;

/// What all backends on a device share.
pub(crate) struct Context {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) limits: wgpu::Limits,
    /// For people, and in errors.
    pub(crate) name: String,
    /// Whether elements can be kept in f16.
    pub(crate) f16: bool,
    /// The cooperative matrices that products in f16 are computed by, if it has any.
    pub(crate) matrices: Option<Matrices>,
    pub(crate) threads: Threads,
    faults: Faults,
    pub(crate) recorder: Mutex<Recorder>,
    /// What is bound where an operation has no parameter.
    pub(crate) nothing: wgpu::Buffer,
    pipelines: Mutex<HashMap<Kernel, Arc<Pipeline>>>,
    /// Those of a driver on disk, and who is told what is compiled.
    compiling: Compiling,
    /// The first thing that went wrong beside an operation: then nothing that is on the device can be trusted.
    fault: Arc<OnceLock<String>>,
    allocations: AtomicUsize,
    /// Whether faults happen: not while the device is opened and checked.
    armed: AtomicBool,
}

/// How kernels are compiled.
#[derive(Default)]
pub(crate) struct Compiling {
    pub(crate) cache: Option<Cache>,
    pub(crate) watch: Option<WatchCompiling>,
}

impl Context {
    pub(crate) fn new(
        (device, queue): (wgpu::Device, wgpu::Queue),
        name: String,
        f16: bool,
        matrices: Option<Matrices>,
        threads: Threads,
        faults: Faults,
        compiling: Compiling,
    ) -> Result<Arc<Self>> {
        let fault = Arc::<OnceLock<String>>::default();
        let first = fault.clone();
        device.on_uncaptured_error(Arc::new(move |error| {
            // The first is told.
            let _ = first.set(error.to_string());
        }));
        let first = fault.clone();
        device.set_device_lost_callback(move |_, message| {
            let _ = first.set(format!("the device was lost: {message}"));
        });
        let nothing = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 256,
            usage: wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        });
        let mut limits = device.limits();
        if let Some(most) = faults.binding {
            limits.max_storage_buffer_binding_size = limits.max_storage_buffer_binding_size.min(most);
        }
        let context = Self {
            limits,
            device,
            queue,
            name,
            f16,
            matrices,
            threads,
            faults,
            recorder: Mutex::default(),
            nothing,
            pipelines: Mutex::default(),
            compiling,
            fault,
            allocations: AtomicUsize::new(0),
            armed: AtomicBool::new(false),
        };
        context.check()?;
        Ok(Arc::new(context))
    }

    pub(crate) fn error(&self, message: impl Into<String>) -> Error {
        // Drivers' messages have many lines.
        let message: String = message.into();
        let words: Vec<&str> = message.split_whitespace().collect();
        Error::Device { device: self.name.clone(), message: words.join(" ") }
    }

    /// Lets faults happen from now on, and counts from here.
    pub(crate) fn arm(&self) {
        self.allocations.store(0, Ordering::Relaxed);
        lock(&self.recorder).count_anew();
        self.armed.store(true, Ordering::Relaxed);
    }

    /// The faults that tests ask for.
    pub(crate) fn faults(&self) -> Faults {
        if self.armed.load(Ordering::Relaxed) { self.faults } else { Faults::default() }
    }

    /// Goes on, or tells what has gone wrong.
    pub(crate) fn check(&self) -> Result<()> {
        self.fault.get().map_or(Ok(()), |fault| Err(self.error(fault)))
    }

    /// A buffer; memory that is not there is an error.
    pub(crate) fn buffer(&self, size: usize, usage: wgpu::BufferUsages, mapped: bool) -> Result<wgpu::Buffer> {
        self.check()?;
        if self.faults().idle {
            return Ok(self.nothing.clone());
        }
        let none = Error::OutOfMemory { needed: size };
        if self.faults().allocation == Some(self.allocations.fetch_add(1, Ordering::Relaxed))
            || size as u64 > self.limits.max_buffer_size
        {
            return Err(none);
        }
        let scopes = [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::Internal];
        let [memory, validation, internal] = scopes.map(|filter| self.device.push_error_scope(filter));
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: size as u64,
            usage,
            mapped_at_creation: mapped,
        });
        let other = [now(internal.pop()).flatten(), now(validation.pop()).flatten()];
        if now(memory.pop()).flatten().is_some() {
            return Err(none);
        }
        match other.into_iter().flatten().next() {
            Some(error) => Err(self.error(error.to_string())),
            None => Ok(buffer),
        }
    }

    /// How many buffers were made so far.
    pub(crate) fn allocations(&self) -> usize {
        self.allocations.load(Ordering::Relaxed)
    }

    /// The pipeline of a kernel, compiled when it is first asked for.
    pub(crate) fn pipeline(&self, kernel: Kernel) -> Result<Arc<Pipeline>> {
        let mut pipelines = lock(&self.pipelines);
        if let Some(pipeline) = pipelines.get(&kernel) {
            return Ok(pipeline.clone());
        }
        let Compiling { cache, watch } = &self.compiling;
        let start = Instant::now();
        let compiled = compile(&self.device, kernel, cache.as_ref().map(|cache| &cache.cache));
        let pipeline = Arc::new(compiled.map_err(|error| self.error(error))?);
        pipelines.insert(kernel, pipeline.clone());
        if let Some(cache) = cache {
            cache.compiled();
        }
        if let Some(watch) = watch {
            watch.tell(Compiled { kernels: pipelines.len(), took: start.elapsed() });
        }
        Ok(pipeline)
    }

    /// Keeps what was compiled for the next time.
    pub(crate) fn keep_compiled(&self) {
        if let Some(cache) = &self.compiling.cache {
            cache.save();
        }
    }

    /// Waits until the device answers, or a token is cancelled.
    ///
    /// It looks again and again, as a wait of wgpu with a time limit panics where another thread submits meanwhile.
    pub(crate) fn wait<T>(&self, answer: &Receiver<T>, cancel: &CancelToken) -> Result<T> {
        for look in 0.. {
            cancel.check()?;
            if look > 0 {
                std::thread::sleep(PAUSES[usize::from(look > SHORT)]);
            }
            // Whatever it says, the answer or a fault comes.
            let _ = self.device.poll(PollType::Poll);
            match answer.try_recv() {
                Ok(answer) => return Ok(answer),
                Err(TryRecvError::Empty) => self.check()?,
                Err(TryRecvError::Disconnected) => {
                    self.check()?;
                    break;
                }
            }
        }
        Err(self.error("the device does not answer"))
    }
}
