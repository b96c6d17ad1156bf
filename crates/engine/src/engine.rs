//! The engine: jobs in, images out.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use calotype::{CpuDevice, CpuDeviceOptions, Keep, Model, PipelineOptions, fastest_precision};
use calotype_publish::Publisher;
use calotype_queue::{Embedded, EmbeddedOptions, Queue, Results, wall_clock};

use crate::{
    Catalogue, EngineOptions, Error, Limits, Notice, Result, housekeeping,
    live::Live,
    loaded::{Key, Loaded},
    rates::Rates,
    shared::{Kept, Shared},
    worker,
};

/// Makes the images of jobs. Cloning shares it.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Engine {
    /// Opens the data folder. Jobs that were worked on when the process before died are queued again. Nothing is worked on before
    /// [`Self::start`]; `watch` is told what happens, and must not block.
    ///
    /// # Errors
    /// The folder can't be used or another process uses it, or the folders of models can't be read.
    pub fn open(options: EngineOptions, watch: impl Fn(&Notice) + Send + Sync + 'static) -> Result<Self> {
        let data = options.data;
        std::fs::create_dir_all(&data)
            .map_err(|error| Error::Folder { folder: data.clone(), problem: error.to_string() })?;
        let queue_options = EmbeddedOptions { max_queued: options.max_queued, clock: wall_clock() };
        let queue = Embedded::open(&data.join("queue.redb"), queue_options)?;
        let folder = |name: &str| Results::open(&data.join(name));
        let (results, held, inputs) = (folder("results")?, folder("held")?, folder("inputs")?);
        let device = CpuDeviceOptions { threads: options.threads, ..CpuDeviceOptions::default() };
        let precision = match options.precision {
            Some(precision) => precision,
            None => fastest_precision()?,
        };
        let pipelines = PipelineOptions { precision, keep: Keep::All, memory: options.memory, ..Default::default() };
        let last = queue.events(None, None, 0, usize::MAX)?.last().map_or(0, |event| event.seq);
        let shared = Shared {
            queue,
            catalogue: Catalogue::open(options.models)?,
            loaded: Loaded::new(CpuDevice::new(device).map_err(calotype::Error::from)?, options.card, pipelines),
            live: Live::default(),
            rates: Rates::default(),
            results,
            held,
            inputs,
            publisher: options.publisher,
            options: Kept {
                data,
                limits: options.limits,
                max_queued: options.max_queued,
                disk_floor: options.disk_floor,
                keep_results: options.keep_results,
                keep_held: options.keep_held,
            },
            watch: Box::new(watch),
            told: Mutex::new(last),
            submitting: Default::default(),
            is_draining: Default::default(),
            ticked: Default::default(),
            started: Instant::now(),
            news: Default::default(),
        };
        Ok(Self { shared: Arc::new(shared), threads: Arc::default() })
    }

    /// Begins to work.
    ///
    /// # Errors
    /// Threads can't be started.
    pub fn start(&self) -> Result<()> {
        housekeeping::remove_orphans(&self.shared)?;
        housekeeping::sweep(&self.shared)?;
        self.spawn("worker", worker::work)?;
        self.spawn("housekeeping", housekeeping::keep)
    }

    fn spawn(&self, name: &str, work: fn(&Shared)) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let started = thread::Builder::new().name(name.to_owned()).spawn(move || work(&shared));
        let thread = started.map_err(|error| Error::Internal(format!("no thread can be started: {error}")))?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    /// The number of the last event that was told.
    #[must_use]
    pub fn last_event(&self) -> u64 {
        self.shared.last_event()
    }

    /// The models and adapters that there are.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.shared.catalogue
    }

    /// A model; no weights are read.
    ///
    /// # Errors
    /// There is none of this id, or its files can't be read.
    pub fn model(&self, id: &str, vae: Option<&str>) -> Result<Arc<Model>> {
        let key = Key { model: id.to_owned(), vae: vae.map(str::to_owned) };
        self.shared.loaded.model(&self.shared.catalogue, &key)
    }

    /// Looks for models again, and opens those anew that are asked for.
    ///
    /// # Errors
    /// A folder can't be read.
    pub fn refresh(&self) -> Result<()> {
        self.shared.catalogue.refresh()?;
        self.shared.loaded.forget_all();
        Ok(())
    }

    /// Frees the memory of all models, as far as no job uses them.
    pub fn unload(&self) {
        self.shared.loaded.drop_but(None);
    }

    /// The ids of the models in memory.
    #[must_use]
    pub fn loaded(&self) -> Vec<String> {
        self.shared.loaded.ids()
    }

    /// What every image goes through on its way out.
    #[must_use]
    pub fn publisher(&self) -> &Publisher {
        &self.shared.publisher
    }

    /// The most that a request may ask for.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.shared.options.limits
    }

    /// The device: `cpu (avx512-bf16)`.
    ///
    /// # Errors
    /// The default model can't be opened.
    pub fn device_name(&self) -> Result<String> {
        let model = self.model(&self.catalogue().default_model(), None)?;
        let loaded = &self.shared.loaded;
        Ok(loaded.make(model, loaded.options().clone()).device_name())
    }

    /// The folder of everything that is kept.
    #[must_use]
    pub fn data(&self) -> &std::path::Path {
        &self.shared.options.data
    }

    /// Whether the worker was seen in the last minute, or has a job whose steps take longer.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        const LONGEST: Duration = Duration::from_secs(60);
        self.shared.since_tick() < LONGEST || !self.shared.live.leases().is_empty()
    }

    /// Why no jobs can be taken, if so.
    ///
    /// # Errors
    /// The disk is nearly full, the queue can't be read, or the engine is going.
    pub fn check_ready(&self) -> Result<()> {
        if self.shared.is_draining() {
            return Err(Error::Draining);
        }
        self.shared.check_disk()?;
        self.shared.queue.counts()?;
        Ok(())
    }

    /// Takes no more jobs, lets the one that is worked on end if it is nearly done, else gives it back to the queue, and waits
    /// until the worker has ended or `limit` is over. Whether it has ended.
    pub fn drain(&self, limit: Duration) -> bool {
        const NEARLY: Duration = Duration::from_secs(10);
        let begin = Instant::now();
        self.shared.go();
        self.shared.live.stop_all_but_the_last(NEARLY.min(limit / 2));
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        while threads.iter().any(|thread| !thread.is_finished()) {
            if begin.elapsed() >= limit {
                return false;
            }
            if begin.elapsed() >= NEARLY.min(limit / 2) {
                self.shared.live.stop_all_but_the_last(Duration::ZERO);
            }
            thread::sleep(Duration::from_millis(10));
        }
        threads.drain(..).for_each(|thread| drop(thread.join()));
        true
    }
}
