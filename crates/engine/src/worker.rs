//! The worker: takes the job whose turn it is, makes its images, and says what came of it.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use calotype::{CancelToken, Event, Output, Pipeline, Plan, Request, Run, RunOptions, Stage, Warning};
use calotype_image::{FileFormat, encode};
use calotype_publish::{InputFile, blurred};
use calotype_queue::{Job, JobError, Lease, Outcome, Queue, Worker};

use crate::{
    Error, Notice, Order, Result,
    live::{LiveJob, Preview},
    loaded::Key,
    order::open_images,
    publication::Publication,
    shared::Shared,
};

/// How long a worker waits for news when there is nothing to do.
const IDLE: Duration = Duration::from_secs(1);
/// Progress is told at most this often, and previews are made half as often.
const TELL: Duration = Duration::from_millis(250);
const PREVIEW: Duration = Duration::from_millis(500);
/// The quality of previews: they are as small as latents.
const PREVIEW_QUALITY: u8 = 90;
/// The name of the worker in the process that has the queue.
const NAME: &str = "local";

/// Works until the engine is told to end.
pub(crate) fn work(shared: &Shared) {
    let mut resting = Duration::ZERO;
    while !shared.is_draining() {
        shared.tick();
        let worker = Worker { loaded: shared.loaded.ids(), ..Worker::new(NAME) };
        match shared.queue.claim(&worker) {
            Ok(Some(job)) => {
                resting = Duration::ZERO;
                shared.tell_events();
                do_job(shared, &job);
                shared.tell_events();
            }
            Ok(None) => shared.wait_for_work(IDLE),
            Err(error) => {
                // The disk may be full for a while. Each failure waits longer than the last.
                resting = (resting * 2).clamp(Duration::from_millis(100), Duration::from_secs(10));
                tracing::error!(%error, "no job can be taken");
                thread::sleep(resting);
            }
        }
    }
}

/// Does a job and says what came of it; whatever happens on the way, the worker goes on.
fn do_job(shared: &Shared, job: &Job) {
    let lease = job.lease();
    let cancel = shared.live.begin(lease);
    let waited = job.since.saturating_sub(job.submitted);
    shared.tell(&Notice::Took { stage: "wait", time: Duration::from_millis(waited) });
    let work = || Attempt { shared, job, cancel }.make();
    let outcome = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(Error::Calotype(error))) if error.is_cancelled() => Outcome::Stopped,
        Ok(Err(Error::Queue(error))) => {
            // The lease is over, or the disk fails: there is nobody to tell.
            tracing::warn!(job = %job.id, %error, "what was made is not taken");
            shared.live.end(job.id);
            return;
        }
        Ok(Err(error)) => {
            tracing::info!(job = %job.id, %error, "a job failed");
            let message = if error.code() == "internal" { hidden(&error) } else { error.to_string() };
            Outcome::Failed(JobError { code: error.code().to_owned(), message })
        }
        Err(panic) => {
            tracing::error!(job = %job.id, panic = said(&*panic), "a job ended in a panic");
            // What it left behind in memory is not to be trusted.
            shared.loaded.forget_all();
            let message = "a fault of this program: its log says more".to_owned();
            Outcome::Failed(JobError { code: "internal".to_owned(), message })
        }
    };
    if let Err(error) = finish(shared, lease, outcome) {
        tracing::warn!(job = %job.id, %error, "what came of a job is not taken");
    }
    shared.live.end(job.id);
}

/// Says what came of a job, again if the disk fails for a moment.
fn finish(shared: &Shared, lease: Lease, outcome: Outcome) -> calotype_queue::Result<Job> {
    const TRIES: u32 = 5;
    for attempt in 1.. {
        match shared.queue.finish(lease, outcome.clone()) {
            Err(error @ calotype_queue::Error::Storage(_)) if attempt < TRIES => {
                tracing::warn!(job = %lease.job, %error, "the queue's storage fails: trying again");
                thread::sleep(Duration::from_millis(100 << attempt));
            }
            done => return done,
        }
    }
    Err(calotype_queue::Error::Closed)
}

/// What people are told of an error whose text may have paths in it.
fn hidden(error: &Error) -> String {
    match error {
        Error::Calotype(error) if error.is_not_found() => "a file of the model is gone".to_owned(),
        _ => "it failed on this machine: the server's log says more".to_owned(),
    }
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// What came of a run.
struct Made {
    output: Output,
    warnings: Vec<Warning>,
    size: [usize; 2],
    took: Duration,
}

/// One attempt at a job.
struct Attempt<'a> {
    shared: &'a Shared,
    job: &'a Job,
    cancel: CancelToken,
}

impl Attempt<'_> {
    fn make(self) -> Result<Outcome> {
        let Self { shared, job, .. } = self;
        let order = Order::of_job(job)?;
        shared.queue.start(job.lease())?;
        shared.tell_events();
        let mut request = order.request.clone();
        shared.catalogue.place_adapters(&mut request)?;
        let files = open_images(&mut request, |sha256| shared.input(sha256))?;
        let inputs: Vec<InputFile<'_>> = files.iter().map(|bytes| InputFile { name: "input", bytes }).collect();
        let origin = order.asked.origin(Some(job.id));
        let mut warnings: Vec<String> = Vec::new();
        let note = shared.publisher.check_init(&request, &origin)?;
        warnings.extend(note.map(|note| note.to_string()));

        let key = Key { model: order.model.clone(), vae: order.vae.clone() };
        let request = Arc::new(request);
        let made = match self.images(&key, &request) {
            Err(Error::Calotype(error)) if error.is_of_device() && shared.loaded.give_up_card() => {
                tracing::error!(job = %job.id, %error, "the card failed: computing on the processor");
                warnings.push("made on the processor, since the graphics card failed".to_owned());
                self.images(&key, &request)
            }
            made => made,
        };
        let Made { output, warnings: said, size, took } = made?;
        shared.rates.learn(&key.model, order.pixel_steps(size), took);
        self.cancel.check().map_err(calotype::Error::from)?;

        shared.queue.check(job.lease())?;
        shared.tell_events();
        self.stage("checking the images");
        warnings.extend(said.iter().map(ToString::to_string));
        let publication = Publication { shared, order: &order, origin, inputs: &inputs, cancel: &self.cancel };
        let made = publication.publish(output, &mut warnings)?;
        shared.tell(&Notice::Images { count: order.request.batch_size, pixel_steps: order.pixel_steps(size) });
        Ok(made)
    }

    /// The images of a request.
    fn images(&self, key: &Key, request: &Arc<Request>) -> Result<Made> {
        let mut run = self.start(key, request)?;
        let size = run.plan().final_size();
        let begin = Instant::now();
        self.watch(&mut run)?;
        let warnings = run.warnings().to_vec();
        Ok(Made { output: run.finish()?, warnings, size, took: begin.elapsed() })
    }

    /// Starts a run, freeing memory for it where it takes that.
    fn start(&self, key: &Key, request: &Arc<Request>) -> Result<Run> {
        let Self { shared, cancel, .. } = self;
        let run = |pipeline: &Pipeline| -> calotype::Result<Run> {
            let plan: Plan = pipeline.plan(Arc::clone(request))?;
            pipeline.run_with(plan, RunOptions { cancel: cancel.clone(), ..RunOptions::default() })
        };
        let (loaded, catalogue) = (&shared.loaded, &shared.catalogue);
        let pipeline = loaded.pipeline(catalogue, key)?;
        let mut started = run(&pipeline);
        if started.as_ref().is_err_and(calotype::Error::is_out_of_memory) && loaded.drop_but(Some(key)) {
            started = run(&pipeline);
        }
        if started.as_ref().is_err_and(calotype::Error::is_out_of_memory) {
            drop(pipeline);
            started = run(&loaded.without_keeping(catalogue, key)?);
        }
        Ok(started?)
    }

    /// Does the work of a run, and tells how far it is.
    fn watch(&self, run: &mut Run) -> Result<()> {
        let shared = self.shared;
        let (mut began, mut last_preview, mut steps_began) = (Instant::now(), None::<Instant>, Instant::now());
        let mut stage = None;
        while let Some(event) = run.next() {
            let event = event?;
            match event {
                Event::Stage(new) => {
                    self.took(stage.replace(new), began);
                    began = Instant::now();
                    if new == Stage::Denoising {
                        steps_began = began;
                    }
                    self.stage(&new.to_string());
                }
                Event::Step(step) => {
                    shared.tell(&Notice::Took { stage: "step", time: began.elapsed() });
                    began = Instant::now();
                    let preview = match last_preview {
                        Some(last) if last.elapsed() < PREVIEW => None,
                        _ => self.preview(run),
                    };
                    if preview.is_some() {
                        last_preview = Some(Instant::now());
                    }
                    let (done, total) = (step.index + 1, step.total.max(step.index + 1));
                    let each = steps_began.elapsed().as_secs_f64() / done as f64;
                    // The first has a preview, and the last is news in any case.
                    self.update(done == 1 || done == total, |live| {
                        live.progress.step = done;
                        live.progress.steps = total;
                        live.progress.fraction = 0.95 * done as f64 / total as f64;
                        live.progress.eta_s = Some(each * (total - done) as f64);
                        if let Some(jpeg) = preview {
                            let version = live.preview.as_ref().map_or(1, |preview| preview.version + 1);
                            live.preview = Some(Preview { version, jpeg });
                            live.progress.preview = Some(version);
                        }
                    });
                }
                _ => {}
            }
        }
        self.took(stage, began);
        Ok(())
    }

    /// How long a stage took. Of the steps each is told by itself.
    fn took(&self, stage: Option<Stage>, began: Instant) {
        let stage = match stage {
            Some(Stage::Loading(_)) => "load",
            Some(Stage::EncodingPrompt) => "text",
            Some(Stage::EncodingImage) => "image",
            Some(Stage::Decoding) => "decode",
            _ => return,
        };
        self.shared.tell(&Notice::Took { stage, time: began.elapsed() });
    }

    fn stage(&self, stage: &str) {
        self.update(true, |live| stage.clone_into(&mut live.progress.stage));
    }

    /// Changes what is known of the job, and tells it if it is time, or at once.
    fn update(&self, at_once: bool, change: impl FnOnce(&mut LiveJob)) {
        let often = if at_once { Duration::ZERO } else { TELL };
        if let Some(progress) = self.shared.live.update(self.job.id, often, change) {
            self.shared.tell(&Notice::Progress { job: self.job.id, owner: self.job.owner.clone(), progress });
        }
    }

    /// A small JPEG of the first image of the batch. Where a policy hides images it shows no more than a blurred one does.
    fn preview(&self, run: &Run) -> Option<Arc<Vec<u8>>> {
        let image = run.preview().into_iter().next()?;
        let image = if self.shared.publisher.hides_images() { blurred(&image) } else { image };
        encode(&image, FileFormat::Jpeg, PREVIEW_QUALITY, &[]).ok().map(Arc::new)
    }
}
