//! `calotype txt2img`.

use std::{path::Path, thread, time::Instant};

use calotype::{
    Latents, Metadata, Model, Pictures, Pipeline, PipelineOptions, Plan, Precision, Run, Text2ImageRequest, Warning,
};
use serde_json::{Value, json};

use crate::{
    args::Txt2img,
    failure::{Failure, line},
    interrupt, model,
    output::{self, Output},
    progress, stdout,
};

/// More pictures than anybody waits for; the sum of seeds stays far from overflow.
const MAX_BATCHES: usize = 1_000_000;

pub(crate) fn run(args: &Txt2img) -> Result<(), Failure> {
    interrupt::exit_at_once()?;
    let model = model::open(args.model.as_deref())?;
    let start = args.latents.as_deref().map(Latents::open).transpose()?;
    let job = Job::new(args, &model, start)?;
    let mut output = Output::new(args.output.as_deref(), job.batch_size * args.batch_count)?;
    if let Some(file) = &args.save_latents {
        output::make_parent(file)?;
    }
    thread::scope(|scope| {
        // Beside the run, so that nobody waits for it.
        scope.spawn(|| model.hash().map(drop));
        job.run(&mut output)
    })
}

/// All batches of one call.
struct Job<'a> {
    args: &'a Txt2img,
    model: &'a Model,
    /// Starting noise of all pictures.
    start: Option<Latents>,
    batch_size: usize,
    precision: Precision,
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
        Ok(Self {
            args,
            model,
            plan: model.check(&first)?,
            precision: args.compute.precision.resolve()?,
            start,
            batch_size,
        })
    }

    fn run(&self, output: &mut Output) -> Result<(), Failure> {
        let quiet = self.args.quiet;
        let compute = &self.args.compute;
        let options = PipelineOptions { threads: compute.threads.unwrap_or(0), precision: self.precision };
        let loading = progress::spinner(quiet, &format!("loading {} in {}", self.model.name(), self.precision));
        let pipeline = Pipeline::load(self.model, options)?;
        loading.finish_and_clear();

        let mut finished = Vec::new();
        for batch in 0..self.args.batch_count {
            let begin = Instant::now();
            let request = request(self.args, self.start.as_ref(), self.batch_size, batch);
            let mut run = pipeline.txt2img(&request)?;
            let warnings = run.warnings().to_vec();
            if batch == 0 {
                warnings.iter().for_each(|warning| line("warning", &warning.to_string()));
            }
            self.step(&mut run, batch)?;
            let decoding = progress::spinner(quiet, "decoding");
            let pictures = run.finish()?;
            decoding.finish_and_clear();
            let seconds = begin.elapsed().as_secs_f64() / self.batch_size as f64;
            self.write(&request, &pictures, output, batch, seconds, &warnings)?;
            finished.extend(self.args.save_latents.as_ref().map(|_| pictures.latents));
        }
        if let Some(file) = &self.args.save_latents {
            let _guard = interrupt::writing();
            Latents::concat(&finished)?.save(file)?;
        }
        Ok(())
    }

    /// Takes all steps of a run.
    fn step(&self, run: &mut Run<'_>, batch: usize) -> Result<(), Failure> {
        let bar = progress::steps(self.args.quiet, self.args.steps);
        if self.args.batch_count > 1 {
            bar.set_message(format!("{} of {} ", batch + 1, self.args.batch_count));
        }
        for step in run {
            bar.set_position(step?.index as u64 + 1);
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Writes the pictures of a batch and says so.
    fn write(
        &self,
        request: &Text2ImageRequest,
        pictures: &Pictures,
        output: &mut Output,
        batch: usize,
        seconds: f64,
        warnings: &[Warning],
    ) -> Result<(), Failure> {
        for (index, picture) in pictures.images.iter().enumerate() {
            let mut metadata = Metadata::new(self.model, request, &self.plan, self.precision, index)?;
            if let (Some(latents), Some(file)) = (&mut metadata.latents, &self.args.latents) {
                latents.file = file.display().to_string();
                latents.index += batch * self.batch_size;
            }
            let path = output.write(&metadata.encode_png(picture)?)?;
            if self.args.json {
                stdout::print(&object(&path, seconds, warnings, &metadata).to_string())?;
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

/// What `--json` prints of a picture: where it is, how long it took, and everything its file says.
fn object(path: &Path, seconds: f64, warnings: &[Warning], metadata: &Metadata) -> Value {
    let mut object = json!({
        "path": path.display().to_string(),
        "seconds": seconds,
        "warnings": warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    if let (Some(object), Ok(Value::Object(metadata))) =
        (object.as_object_mut(), serde_json::from_str(&metadata.to_json()))
    {
        object.extend(metadata);
    }
    object
}
