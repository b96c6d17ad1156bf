//! The commands that make pictures.

use std::{
    path::Path,
    sync::mpsc::{self, Sender},
    thread,
    time::Instant,
};

use calotype::{
    AdapterMetadata, Keep, Latents, Metadata, Model, Pipeline, PipelineOptions, Plan, Request, RgbImage, Run,
};
use serde_json::{Map, Value, json};

use crate::{
    args::GenerateArgs,
    failure::{Failure, line},
    interrupt, model,
    output::{self, Output},
    progress, stdout,
    timings::Timings,
};

/// More pictures than anybody waits for; the sum of seeds stays far from overflow.
const MAX_BATCHES: usize = 1_000_000;

pub(crate) fn run(args: &GenerateArgs, process_start: Instant) -> Result<(), Failure> {
    interrupt::exit_at_once()?;
    let model = model::open(&args.model)?;
    let start = args.noise.latents.as_deref().map(Latents::open).transpose()?;
    let job = Job::new(args, &model, start)?;
    let mut output = Output::new(args.output.output.as_deref(), job.batch_size * args.picture.batch_count)?;
    if let Some(file) = &args.output.save_latents {
        output::make_parent(file)?;
    }
    thread::scope(|scope| {
        // Beside the run, so that nobody waits for it, but after the first step, which somebody does wait for.
        let (stepped, wait) = mpsc::channel();
        let model = &model;
        scope.spawn(move || wait.recv().is_ok().then(|| model.hash().map(drop)));
        job.run(&mut output, process_start, stepped)
    })
}

/// All batches of one call.
struct Job<'a> {
    args: &'a GenerateArgs,
    model: &'a Model,
    /// Starting noise of all pictures.
    start: Option<Latents>,
    batch_size: usize,
    options: PipelineOptions,
    plan: Plan,
}

impl<'a> Job<'a> {
    /// Checks everything that can be wrong before the work begins.
    fn new(args: &'a GenerateArgs, model: &'a Model, start: Option<Latents>) -> Result<Self, Failure> {
        if !(1..=MAX_BATCHES).contains(&args.picture.batch_count) {
            let (got, option) = (args.picture.batch_count, "--batch-count");
            return Err(Failure::usage(format!("{option} {got} is out of range: give 1 to {MAX_BATCHES}")));
        }
        let given = start.as_ref().map(|start| start.shape()[0]);
        let batch_size = args.picture.batch_size.or(given.map(|all| all / args.picture.batch_count)).unwrap_or(1);
        if let Some(given) = given.filter(|&given| Some(given) != batch_size.checked_mul(args.picture.batch_count)) {
            let asked =
                format!("--batch-size times --batch-count asks for {batch_size} x {}", args.picture.batch_count);
            return Err(Failure::usage(format!("--latents has {given} pictures, but {asked}: make them equal")));
        }
        let first = request(args, start.as_ref(), batch_size, 0);
        let compute = &args.compute;
        let options = PipelineOptions {
            threads: compute.threads.unwrap_or(0),
            precision: compute.precision.resolve()?,
            convolution: compute.convolution.into(),
            // Several batches use the same UNet; after the steps of a single one its memory is the decoder's.
            keep: if args.picture.batch_count > 1 { Keep::UNet } else { Keep::Nothing },
            vae_tiling: compute.vae_tiling,
        };
        Ok(Self { args, model, plan: model.check(&first, options)?, start, batch_size, options })
    }

    /// Tells `stepped` of every step.
    fn run(&self, output: &mut Output, process_start: Instant, stepped: Sender<()>) -> Result<(), Failure> {
        let quiet = self.args.output.quiet;
        let pipeline = Pipeline::load(self.model, self.options)?;
        let mut finished = Vec::new();
        for batch in 0..self.args.picture.batch_count {
            let begin = Instant::now();
            let request = request(self.args, self.start.as_ref(), self.batch_size, batch);
            let mut timings = Timings::new(process_start);
            let loading =
                progress::spinner(quiet, &format!("loading {} in {}", self.model.name(), self.options.precision));
            let mut run = pipeline.run(&request)?;
            loading.finish_and_clear();
            let warnings: Vec<String> = run.warnings().iter().map(ToString::to_string).collect();
            if batch == 0 {
                warnings.iter().for_each(|warning| line("warning", warning));
            }
            self.step(&mut run, batch, &mut timings, &stepped)?;
            let adapters = run.adapters()?;
            let decoding = progress::spinner(quiet, "decoding");
            let decoding_begins = Instant::now();
            let pictures = run.finish()?;
            timings.decoded(decoding_begins);
            decoding.finish_and_clear();
            let said = json!({
                "seconds": begin.elapsed().as_secs_f64() / self.batch_size as f64,
                "timings": timings.json(),
                "warnings": warnings,
            });
            self.write(&request, &pictures.images, &adapters, output, batch, &said)?;
            finished.extend(self.args.output.save_latents.as_ref().map(|_| pictures.latents));
        }
        if let Some(file) = &self.args.output.save_latents {
            let _guard = interrupt::writing();
            Latents::concat(&finished)?.save(file)?;
        }
        Ok(())
    }

    /// Takes all steps of a run.
    fn step(
        &self,
        run: &mut Run<'_>,
        batch: usize,
        timings: &mut Timings,
        stepped: &Sender<()>,
    ) -> Result<(), Failure> {
        let bar = progress::steps(self.args.output.quiet, self.plan.steps());
        if self.args.picture.batch_count > 1 {
            bar.set_message(format!("{} of {} ", batch + 1, self.args.picture.batch_count));
        }
        let mut begin = Instant::now();
        for step in run {
            timings.step(begin);
            // Whoever waits for the first may be gone by the next.
            stepped.send(()).ok();
            let step = step?;
            // Not always as many as were asked for, and of some samplers only an estimate.
            bar.set_length(step.total as u64);
            bar.set_position(step.index as u64 + 1);
            begin = Instant::now();
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Writes the pictures of a batch and says so; `said` is what `--json` prints of the batch.
    fn write(
        &self,
        request: &Request,
        pictures: &[RgbImage],
        adapters: &[AdapterMetadata],
        output: &mut Output,
        batch: usize,
        said: &Value,
    ) -> Result<(), Failure> {
        for (index, picture) in pictures.iter().enumerate() {
            let mut metadata = Metadata::new(self.model, request, &self.plan, self.options.precision, index)?;
            metadata.adapters = adapters.to_vec();
            if let (Some(latents), Some(file)) = (&mut metadata.latents, &self.args.noise.latents) {
                latents.file = file.display().to_string();
                latents.index += batch * self.batch_size;
            }
            let path = output.write(&metadata.encode_png(picture)?)?;
            if self.args.output.json {
                stdout::print(&object(&path, said, &metadata).to_string())?;
            } else if !self.args.output.quiet {
                stdout::print(&path.display().to_string())?;
            }
        }
        Ok(())
    }
}

/// The request of one batch.
fn request(args: &GenerateArgs, start: Option<&Latents>, batch_size: usize, batch: usize) -> Request {
    let first = batch * batch_size;
    let mut request = args.request();
    request.noise.batch_index = batch;
    Request { batch_size, latents: start.and_then(|start| start.slice(first, batch_size)), ..request }
}

/// What `--json` prints of a picture: where it is, what is said of its batch, and everything its file says.
fn object(path: &Path, said: &Value, metadata: &Metadata) -> Value {
    let mut object = json!({"path": path.display().to_string()});
    if let Some(object) = object.as_object_mut() {
        object.extend(said.as_object().cloned().unwrap_or_default());
        object.extend(serde_json::from_str::<Map<_, _>>(&metadata.to_json()).unwrap_or_default());
    }
    object
}
