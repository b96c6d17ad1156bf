//! The engine: jobs in, images out.

use std::{
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use calotype::{
    CpuDevice, CpuDeviceOptions, Keep, Model, Pipeline, PipelineOptions, Plan, Request, fastest_precision,
    memory::MemoryBudget,
};
use calotype_image::{Limits as ImageLimits, decode_rgba};
use calotype_publish::Publisher;
use calotype_queue::{
    Counts, Decision, Embedded, EmbeddedOptions, Event, Job, JobId, List, NewJob, Once, Queue, ResultFile, Results,
    State, Submitted, wall_clock,
};

use crate::{
    Catalogue, Error, Limits, Notice, Order, Preview, Progress, Result, housekeeping,
    live::Live,
    loaded::{Key, Loaded},
    notice::Watch,
    order::open_images,
    rates::Rates,
    worker,
};

/// Most events that are told at once.
const EVENTS: usize = 1000;

/// How an [`Engine`] works.
pub struct EngineOptions {
    /// The folder of everything that it keeps: the queue, results, input images.
    pub data: PathBuf,
    /// Folders of models and adapters.
    pub models: Vec<PathBuf>,
    /// What every image goes through on its way out.
    pub publisher: Publisher,
    /// The most that a request may ask for.
    pub limits: Limits,
    /// At most so many jobs wait.
    pub max_queued: u64,
    /// Bytes of the disk that are left free: below it no jobs are taken.
    pub disk_floor: u64,
    /// How long jobs and their results are kept after they are over.
    pub keep_results: Duration,
    /// How long held images wait for a person.
    pub keep_held: Duration,
    /// Threads that compute; all of the machine if 0.
    pub threads: usize,
    /// The number type; the fastest if none is given.
    pub precision: Option<calotype::Precision>,
    /// The memory of all jobs.
    pub memory: MemoryBudget,
}

impl EngineOptions {
    /// The usual ones, with what is kept in `data`.
    #[must_use]
    pub fn new(data: PathBuf, publisher: Publisher) -> Self {
        Self {
            data,
            models: Vec::new(),
            publisher,
            limits: Limits::default(),
            max_queued: 1000,
            disk_floor: 1 << 30,
            keep_results: Duration::from_secs(30 * 24 * 3600),
            keep_held: Duration::from_secs(30 * 24 * 3600),
            threads: 0,
            precision: None,
            memory: MemoryBudget::system(),
        }
    }
}

/// A job that is to be taken in.
#[derive(Clone, Debug)]
pub struct Submission {
    /// What is to be made.
    pub order: Order,
    /// Whose it is: the id of a key.
    pub owner: String,
    /// Of an owner's jobs those with more come first.
    pub priority: i32,
    /// After how long nobody wants it any more.
    pub expires: Option<Duration>,
    /// At most so many of the owner's jobs wait.
    pub max_queued: Option<u64>,
    /// At most so many of the owner's jobs are worked on at once.
    pub max_running: Option<u64>,
    /// An idempotency key, and the SHA-256 of the body that it came with.
    pub once: Option<(String, [u8; 32])>,
}

impl Submission {
    /// One of an owner without anything special.
    #[must_use]
    pub fn new(order: Order, owner: impl Into<String>) -> Self {
        let owner = owner.into();
        Self { order, owner, priority: 0, expires: None, max_queued: None, max_running: None, once: None }
    }
}

/// What an order comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preparation {
    /// Width and height of the images.
    pub size: [usize; 2],
    /// Pixels times steps of all images.
    pub pixel_steps: f64,
    /// Seconds that it will take, if that is known.
    pub estimate_s: Option<f64>,
    /// Tokens of the prompt.
    pub tokens: usize,
    /// Runs of the text encoder that the prompts take.
    pub chunks: usize,
}

/// An input image that was taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// By which orders refer to it.
    pub sha256: String,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
}

/// How long an idempotency key is known.
const ONCE: Duration = Duration::from_secs(24 * 3600);

/// Makes the images of jobs. Cloning shares it.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

pub(crate) struct Shared {
    pub(crate) queue: Embedded,
    pub(crate) catalogue: Catalogue,
    pub(crate) loaded: Loaded,
    pub(crate) live: Live,
    pub(crate) rates: Rates,
    pub(crate) results: Results,
    /// Images that wait for a person, apart from those that may be seen.
    pub(crate) held: Results,
    pub(crate) inputs: Results,
    pub(crate) publisher: Publisher,
    pub(crate) options: Kept,
    watch: Watch,
    /// The last event that was told.
    told: Mutex<u64>,
    /// Held for reading while a job is taken in, so that its input images stay.
    pub(crate) submitting: RwLock<()>,
    is_draining: AtomicBool,
    /// When the worker was seen last, in milliseconds since `started`.
    ticked: AtomicU64,
    started: Instant,
    news: (Mutex<()>, Condvar),
}

/// What is still needed of the options.
pub(crate) struct Kept {
    pub(crate) data: PathBuf,
    limits: Limits,
    max_queued: u64,
    disk_floor: u64,
    pub(crate) keep_results: Duration,
    pub(crate) keep_held: Duration,
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
            loaded: Loaded::new(CpuDevice::new(device).map_err(calotype::Error::from)?, pipelines),
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
            submitting: RwLock::new(()),
            is_draining: AtomicBool::new(false),
            ticked: AtomicU64::new(0),
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

    /// Checks what an order asks for, as far as it can be known before it is made.
    ///
    /// # Errors
    /// The request can't be met by the model, is larger than the limits, is refused by a rule, or its images are not there.
    pub fn prepare(&self, order: &Order) -> Result<Preparation> {
        let Shared { catalogue, loaded, publisher, options, rates, .. } = &*self.shared;
        options.limits.check_numbers(&order.request)?;
        let mut request = order.request.clone();
        catalogue.place_adapters(&mut request)?;
        open_images(&mut request, |sha256| self.shared.input(sha256))?;
        let key = Key { model: order.model.clone(), vae: order.vae.clone() };
        let model = loaded.model(catalogue, &key)?;
        publisher.check_prompts(&request, &order.asked.origin(None))?;
        let plan = Plan::new(&model, request.clone(), loaded.options())?;
        let size = plan.final_size();
        publisher.check_size(size)?;
        let (tokens, chunks) = plan.prompt_length(&model)?;
        options.limits.check(&request, size)?;
        // What does not fit into the memory of an idle machine never will.
        if loaded.is_alone(&key) && self.shared.live.leases().is_empty() {
            Pipeline::new(
                loaded.device().clone(),
                model,
                PipelineOptions { keep: Keep::Nothing, ..loaded.options().clone() },
            )
            .plan(request)?;
        }
        let pixel_steps = order.pixel_steps(size);
        let estimate_s = rates.estimate(&order.model, pixel_steps);
        Ok(Preparation { size, pixel_steps, estimate_s, tokens, chunks })
    }

    /// Seconds that an order will take, if one of its model was done before.
    #[must_use]
    pub fn estimate(&self, order: &Order) -> Option<f64> {
        let Request { width, height, .. } = order.request;
        let default = || self.model(&order.model, None).map_or([0; 2], |model| model.default_size().into());
        let [wide, high] = match (width, height) {
            (Some(width), Some(height)) => [width, height],
            _ => default(),
        };
        let size = [width.unwrap_or(wide), height.unwrap_or(high)];
        self.shared.rates.estimate(&order.model, order.pixel_steps(size))
    }

    /// The number of the last event that was told.
    #[must_use]
    pub fn last_event(&self) -> u64 {
        *self.shared.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses what can't be taken in now, before anything is worked out.
    ///
    /// # Errors
    /// The queue is full, or the engine is going.
    pub fn check_room(&self, submission: &Submission) -> Result<()> {
        if self.shared.is_draining() {
            return Err(Error::Draining);
        }
        let limit = self.shared.options.max_queued;
        // What was sent before has its place all the same.
        if submission.once.is_none() && self.shared.queue.counts()?.queued >= limit {
            return Err(calotype_queue::Error::Full { limit, of_owner: false }.into());
        }
        Ok(())
    }

    /// Takes a job in: it is on the disk when this returns.
    ///
    /// # Errors
    /// As [`Self::prepare`]; or the queue or the disk is full, or the engine is going.
    pub fn submit(&self, submission: Submission) -> Result<Submitted> {
        let shared = &*self.shared;
        if shared.is_draining() {
            return Err(Error::Draining);
        }
        shared.check_disk()?;
        let _inputs_stay = shared.submitting.read().unwrap_or_else(PoisonError::into_inner);
        self.prepare(&submission.order)?;
        let Submission { order, owner, priority, expires, max_queued, max_running, once } = submission;
        let now = wall_clock()();
        let after = |time: Duration| now.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let job = NewJob {
            owner,
            priority,
            model: order.model.clone(),
            request: order.to_json()?,
            not_after: expires.map(after),
            max_queued,
            max_running,
            once: once.map(|(key, body)| Once { key, body, expires: after(ONCE) }),
        };
        let submitted = shared.queue.submit(job)?;
        shared.tell_events();
        shared.wake();
        Ok(submitted)
    }

    /// A job.
    ///
    /// # Errors
    /// The queue can't be read.
    pub fn job(&self, id: JobId) -> Result<Option<Job>> {
        Ok(self.shared.queue.get(id)?)
    }

    /// Jobs, the newest first.
    ///
    /// # Errors
    /// The queue can't be read.
    pub fn list(&self, list: &List) -> Result<Vec<Job>> {
        Ok(self.shared.queue.list(list)?)
    }

    /// How many jobs there are.
    ///
    /// # Errors
    /// The queue can't be read.
    pub fn counts(&self) -> Result<Counts> {
        Ok(self.shared.queue.counts()?)
    }

    /// The jobs that wait, in the order of their turns.
    ///
    /// # Errors
    /// The queue can't be read.
    pub fn waiting(&self) -> Result<Vec<JobId>> {
        Ok(self.shared.queue.waiting()?)
    }

    /// Changes after event `after`.
    ///
    /// # Errors
    /// The queue can't be read.
    pub fn events(&self, of: Option<&str>, job: Option<JobId>, after: u64, most: usize) -> Result<Vec<Event>> {
        Ok(self.shared.queue.events(of, job, after, most)?)
    }

    /// Ends a job, at once if it is worked on.
    ///
    /// # Errors
    /// There is no such job, or it is over.
    pub fn cancel(&self, id: JobId) -> Result<Job> {
        let job = self.shared.queue.cancel(id)?;
        self.shared.live.cancel(id);
        self.shared.tell_events();
        Ok(job)
    }

    /// Queues a job once more that failed, was cancelled or expired.
    ///
    /// # Errors
    /// There is no such job, it is in another state, or too many wait.
    pub fn retry(&self, id: JobId) -> Result<Job> {
        let job = self.shared.queue.retry(id)?;
        self.shared.tell_events();
        self.shared.wake();
        Ok(job)
    }

    /// Moves a job that waits.
    ///
    /// # Errors
    /// There is no such job, or it does not wait.
    pub fn prioritise(&self, id: JobId, priority: i32) -> Result<Job> {
        Ok(self.shared.queue.prioritise(id, priority)?)
    }

    /// Forgets a job that is over, and removes its results.
    ///
    /// # Errors
    /// There is no such job, or it is not over.
    pub fn forget(&self, id: JobId) -> Result<()> {
        for sha256 in self.shared.queue.forget(id)? {
            self.shared.results.remove(&sha256)?;
        }
        Ok(())
    }

    /// What a person says of a job that is held. The lines of the audit log come first.
    ///
    /// # Errors
    /// There is no such job, it is not held, or what was decided can't be written down.
    pub fn decide(&self, id: JobId, decision: Decision) -> Result<Job> {
        housekeeping::decide(&self.shared, id, decision)
    }

    /// How far a job is, if it is worked on.
    #[must_use]
    pub fn progress(&self, id: JobId) -> Option<Progress> {
        self.shared.live.progress(id)
    }

    /// Where a job is going, if it is worked on.
    #[must_use]
    pub fn preview(&self, id: JobId) -> Option<Preview> {
        self.shared.live.preview(id)
    }

    /// Keeps an image that orders may then refer to.
    ///
    /// # Errors
    /// It is no image, or too large, or the disk is full.
    pub fn put_input(&self, bytes: &[u8]) -> Result<Input> {
        self.shared.check_disk()?;
        let image = decode_rgba(bytes, &ImageLimits::default()).map_err(calotype::Error::from)?;
        let sha256 = self.shared.inputs.put(bytes)?;
        Ok(Input { sha256, width: image.width(), height: image.height() })
    }

    /// The bytes of an input image.
    ///
    /// # Errors
    /// It is not there.
    pub fn input(&self, sha256: &str) -> Result<Vec<u8>> {
        self.shared.input(sha256)
    }

    /// A result of a job that has succeeded.
    ///
    /// # Errors
    /// There is none of this number, or its file is gone or was changed.
    pub fn result(&self, job: &Job, number: usize) -> Result<(ResultFile, Vec<u8>)> {
        let found = job.results.iter().find(|result| result.about["n"] == number);
        let found = found.filter(|_| job.state == State::Succeeded).ok_or(Error::NoResult { job: job.id, number })?;
        Ok((found.clone(), self.shared.results.get(&found.sha256)?))
    }

    /// A result of a job that is held, for who decides: blurred, or as it is.
    ///
    /// # Errors
    /// The job is not held, or there is none of this number.
    pub fn held(&self, job: &Job, number: usize, is_blurred: bool) -> Result<(ResultFile, Vec<u8>)> {
        let none = || Error::NoResult { job: job.id, number };
        let found = job.results.iter().find(|result| result.about["n"] == number);
        let found = found.filter(|_| job.state == State::Held).ok_or_else(none)?;
        let blurred = found.about["blurred"].as_str();
        match (is_blurred, blurred) {
            (true, Some(sha256)) => {
                let media_type = "image/jpeg".to_owned();
                Ok((ResultFile { media_type, ..found.clone() }, self.shared.held.get(sha256)?))
            }
            _ => Ok((found.clone(), self.shared.held_original(found)?)),
        }
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
        Ok(Pipeline::new(loaded.device().clone(), model, loaded.options().clone()).device_name())
    }

    /// The folder of everything that is kept.
    #[must_use]
    pub fn data(&self) -> &std::path::Path {
        &self.shared.options.data
    }

    /// Whether the worker was seen in the last minute, or has a job whose steps take longer.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        const LONGEST: u64 = 60_000;
        let now = self.shared.now();
        now.saturating_sub(self.shared.ticked.load(Ordering::Relaxed)) < LONGEST
            || !self.shared.live.leases().is_empty()
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
        self.shared.is_draining.store(true, Ordering::SeqCst);
        self.shared.wake();
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

impl Shared {
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::SeqCst)
    }

    pub(crate) fn tell(&self, notice: &Notice) {
        (self.watch)(notice);
    }

    /// Tells the events that were not told yet.
    pub(crate) fn tell_events(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match self.queue.events(None, None, *told, EVENTS) {
                Ok(events) => {
                    let is_last = events.len() < EVENTS;
                    for event in events {
                        *told = event.seq;
                        self.tell(&Notice::Event(event));
                    }
                    if is_last {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "events can't be read");
                    return;
                }
            }
        }
    }

    /// The worker is alive.
    pub(crate) fn tick(&self) {
        self.ticked.store(self.now(), Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn wake(&self) {
        drop(self.news.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.news.1.notify_all();
    }

    pub(crate) fn wait_for_work(&self, most: Duration) {
        let guard = self.news.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What came while nobody waited is found by the next claim.
        drop(self.news.1.wait_timeout(guard, most));
    }

    pub(crate) fn input(&self, sha256: &str) -> Result<Vec<u8>> {
        let none = |_| Error::NoInput { sha256: sha256.chars().take(64).collect() };
        self.inputs.get(sha256).map_err(none)
    }

    /// The file of a held result; one that the policy let through lies with the others.
    pub(crate) fn held_original(&self, result: &ResultFile) -> Result<Vec<u8>> {
        let folder = if result.about["blurred"].is_string() { &self.held } else { &self.results };
        Ok(folder.get(&result.sha256)?)
    }

    fn check_disk(&self) -> Result<()> {
        let Kept { data, disk_floor, .. } = &self.options;
        let free = fs4::available_space(data)
            .map_err(|error| Error::Folder { folder: data.clone(), problem: error.to_string() })?;
        if free < *disk_floor {
            return Err(Error::DiskFull { free_mb: free >> 20, floor_mb: disk_floor >> 20 });
        }
        Ok(())
    }
}

/// A seed that nobody else gets: 32 bits, as other programs' seeds are.
///
/// # Errors
/// The system has no random numbers.
pub fn random_seed() -> Result<u64> {
    let number = getrandom::u32().map_err(|error| Error::Internal(format!("no random numbers: {error}")))?;
    Ok(u64::from(number))
}
