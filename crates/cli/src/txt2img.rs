//! `calotype txt2img`.

use std::{
    path::Path,
    sync::mpsc::{self, Sender},
    thread,
    time::Instant,
};

use calotype::{Keep, Latents, Metadata, Model, Pipeline, PipelineOptions, Plan, RgbImage, Run, Text2ImageRequest};
use serde_json::{Map, Value, json};

use crate::{
    args::Txt2img,
    failure::{Failure, line},
    interrupt, model,
    output::{self, Output},
    progress, stdout,
    timings::Timings,
};

/// More pictures than anybody waits for; the sum of seeds stays far from overflow.
const MAX_BATCHES: usize = 1_000_000;

pub(crate) fn run(args: &Txt2img, process_start: Instant) -> Result<(), Failure> {
    interrupt::exit_at_once()?;
    let model = model::open(args.model.as_deref())?;
    let start = args.latents.as_deref().map(Latents::open).transpose()?;
    let job = Job::new(args, &model, start)?;
    let mut output = Output::new(args.output.as_deref(), job.batch_size * args.batch_count)?;
    if let Some(file) = &args.save_latents {
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
    args: &'a Txt2img,
    model: &'a Model,
    /// Starting noise of all pictures.
    start: Option<Latents>,
    batch_size: usize,
    options: PipelineOptions,
    plan: Plan,
}

impl<'a> Job<'a> {
    /// Checks everything that can be wrong before the work begins.
    fn new(args: &'a Txt2img, model: &'a Model, start: Option<Latents>) -> Result<Self, Failure> {
        if !(1..=MAX_BATCHES).contains(&args.batch_count) {
            let (got, option) = (args.batch_count, "--batch-count");
            return Err(Failure::usage(format!("{option} {got} is out of range: give 1 to {MAX_BATCHES}")));
        }
        let given = start.as_ref().map(|start| start.shape()[0]);
        let batch_size = args.batch_size.or(given.map(|all| all / args.batch_count)).unwrap_or(1);
        if let Some(given) = given.filter(|&given| Some(given) != batch_size.checked_mul(args.batch_count)) {
            let asked = format!("--batch-size times --batch-count asks for {batch_size} x {}", args.batch_count);
            return Err(Failure::usage(format!("--latents has {given} pictures, but {asked}: make them equal")));
        }
        let first = request(args, start.as_ref(), batch_size, 0);
        let compute = &args.compute;
        let options = PipelineOptions {
            threads: compute.threads.unwrap_or(0),
            precision: compute.precision.resolve()?,
            convolution: compute.convolution.into(),
            // Several batches use the same UNet; after the steps of a single one its memory is the decoder's.
            keep: if args.batch_count > 1 { Keep::UNet } else { Keep::Nothing },
            vae_tiling: compute.vae_tiling,
        };
        Ok(Self { args, model, plan: model.check(&first, options)?, start, batch_size, options })
    }

    /// Tells `stepped` of every step.
    fn run(&self, output: &mut Output, process_start: Instant, stepped: Sender<()>) -> Result<(), Failure> {
        let quiet = self.args.quiet;
        let pipeline = Pipeline::load(self.model, self.options)?;
        let mut finished = Vec::new();
        for batch in 0..self.args.batch_count {
            let begin = Instant::now();
            let request = request(self.args, self.start.as_ref(), self.batch_size, batch);
            let mut timings = Timings::new(process_start);
            let loading =
                progress::spinner(quiet, &format!("loading {} in {}", self.model.name(), self.options.precision));
            let mut run = pipeline.txt2img(&request)?;
            loading.finish_and_clear();
            let warnings: Vec<String> = run.warnings().iter().map(ToString::to_string).collect();
            if batch == 0 {
                warnings.iter().for_each(|warning| line("warning", warning));
            }
            self.step(&mut run, batch, &mut timings, &stepped)?;
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
            self.write(&request, &pictures.images, output, batch, &said)?;
            finished.extend(self.args.save_latents.as_ref().map(|_| pictures.latents));
        }
        if let Some(file) = &self.args.save_latents {
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
        let bar = progress::steps(self.args.quiet, self.args.steps);
        if self.args.batch_count > 1 {
            bar.set_message(format!("{} of {} ", batch + 1, self.args.batch_count));
        }
        let mut begin = Instant::now();
        for step in run {
            timings.step(begin);
            // Whoever waits for the first may be gone by the next.
            stepped.send(()).ok();
            bar.set_position(step?.index as u64 + 1);
            begin = Instant::now();
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Writes the pictures of a batch and says so; `said` is what `--json` prints of the batch.
    fn write(
        &self,
        request: &Text2ImageRequest,
        pictures: &[RgbImage],
        output: &mut Output,
        batch: usize,
        said: &Value,
    ) -> Result<(), Failure> {
        for (index, picture) in pictures.iter().enumerate() {
            let mut metadata = Metadata::new(self.model, request, &self.plan, self.options.precision, index)?;
            if let (Some(latents), Some(file)) = (&mut metadata.latents, &self.args.latents) {
                latents.file = file.display().to_string();
                latents.index += batch * self.batch_size;
            }
            let path = output.write(&metadata.encode_png(picture)?)?;
            if self.args.json {
                stdout::print(&object(&path, said, &metadata).to_string())?;
            } else if !self.args.quiet {
                stdout::print(&path.display().to_string())?;
            }
        }
        Ok(())
    }
}

/// The request of one batch.
fn request(args: &Txt2img, start: Option<&Latents>, batch_size: usize, batch: usize) -> Text2ImageRequest {
    let first = batch * batch_size;
    Text2ImageRequest {
        prompt: args.prompt.clone(),
        negative_prompt: args.negative_prompt.clone(),
        num_inference_steps: args.steps,
        sampler: args.sampler,
        schedule: args.schedule,
        eta: args.eta,
        guidance_scale: args.guidance_scale,
        width: args.width,
        height: args.height,
        seed: args.seed.wrapping_add(first as u64),
        batch_size,
        latents: start.and_then(|start| start.slice(first, batch_size)),
    }
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
