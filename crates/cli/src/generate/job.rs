//! All batches of one call.

use std::{
    iter,
    path::{Path, PathBuf},
    sync::mpsc::{self, Sender},
    thread,
    time::Instant,
};

use calotype::{
    AdapterMetadata, Keep, Latents, Metadata, Model, OneOf, PARAMETERS_KEYWORD, Pipeline, PipelineOptions, Plan,
    Request, RgbImage, Run,
};
use calotype_image::{encode_png, grid};
use serde_json::{Map, Value, json};

use crate::{
    args::{Compute, OutputArgs},
    failure::{Failure, line},
    interrupt,
    output::{self, Output},
    progress, stdout,
    timings::Timings,
};

/// Pixels between the pictures of a grid, as torchvision's `make_grid`.
const GRID_PADDING: u32 = 2;

/// What is made at once.
pub(crate) struct Turn {
    pub(crate) prompt: String,
    /// Batches before the one it is, or is of.
    pub(crate) batch_index: usize,
    /// The only picture of a batch with this prompt.
    pub(crate) one_of: Option<OneOf>,
}

impl Turn {
    /// A batch of each prompt, so many times.
    pub(crate) fn batches(prompts: Vec<String>, count: usize) -> Vec<Self> {
        let prompts = prompts.into_iter().flat_map(|prompt| iter::repeat_n(prompt, count));
        prompts.enumerate().map(|(batch_index, prompt)| Self { prompt, batch_index, one_of: None }).collect()
    }

    /// CompVis' `--from-file`: batches of `batch_size` prompts in a row, and all of them so many times. Where the last
    /// batch is not full, and CompVis' scripts fail, the rest of it is not made.
    pub(crate) fn shared_batches(prompts: &[String], batch_size: usize, count: usize) -> Vec<Self> {
        let batches = prompts.len().div_ceil(batch_size.max(1));
        let turn = |(at, prompt): (usize, &String), round: usize| Self {
            prompt: prompt.clone(),
            batch_index: round * batches + at / batch_size.max(1),
            one_of: Some(OneOf { batch_size, position: at % batch_size.max(1) }),
        };
        (0..count).flat_map(|round| prompts.iter().enumerate().map(move |at| turn(at, round))).collect()
    }
}

/// Starting noise of all pictures.
pub(crate) struct LatentsFile {
    file: PathBuf,
    pub(crate) latents: Latents,
    /// Which picture of the file is the first.
    first: usize,
}

impl LatentsFile {
    pub(crate) fn open(file: &Path) -> Result<Self, Failure> {
        Ok(Self { file: file.to_owned(), latents: Latents::open(file)?, first: 0 })
    }

    /// One picture of the file, if there is it.
    pub(crate) fn picture(self, index: usize) -> Option<Self> {
        Some(Self { latents: self.latents.slice(index, 1)?, first: index, ..self })
    }
}

/// How to compute so many batches.
pub(crate) fn options(compute: &Compute, batches: usize) -> Result<PipelineOptions, Failure> {
    Ok(PipelineOptions {
        threads: compute.threads.unwrap_or(0),
        precision: compute.precision.resolve()?,
        convolution: compute.convolution.into(),
        // Several batches use the same UNet; after the steps of a single one its memory is the decoder's.
        keep: if batches > 1 { Keep::UNet } else { Keep::Nothing },
        vae_tiling: compute.vae_tiling,
    })
}

/// What the pictures of a batch were made with.
#[derive(Clone, Copy)]
struct Made<'a> {
    request: &'a Request,
    plan: &'a Plan,
    adapters: &'a [AdapterMetadata],
}

/// All batches of one call.
pub(crate) struct Job<'a> {
    pub(crate) model: &'a Model,
    /// That of the first batch, but for what its turn says.
    pub(crate) request: Request,
    /// What is made one after the other.
    pub(crate) turns: Vec<Turn>,
    pub(crate) latents: Option<LatentsFile>,
    pub(crate) output: &'a OutputArgs,
    pub(crate) options: PipelineOptions,
    /// What the adapters have to be, if the picture was made before.
    pub(crate) made_with: Option<&'a [AdapterMetadata]>,
}

impl Job<'_> {
    /// Checks everything that can be wrong before the work begins, and does it.
    pub(crate) fn run(&self, process_start: Instant) -> Result<(), Failure> {
        let plan = self.model.check(&self.batch(0), self.options)?;
        let pictures = self.request.batch_size.saturating_mul(self.turns.len());
        let folder = self.output.outdir.as_deref();
        let mut output = Output::new(self.output.output.as_deref().or(folder), pictures, folder.is_some())?;
        if self.output.grid && matches!(output, Output::File(_)) {
            return Err(Failure::usage("--grid lies beside its pictures: give a folder for --output"));
        }
        if let Some(file) = &self.output.save_latents {
            output::make_parent(file)?;
        }
        thread::scope(|scope| {
            // Beside the run, so that nobody waits for it, but after the first step, which somebody does wait for.
            let (stepped, wait) = mpsc::channel();
            let model = self.model;
            scope.spawn(move || wait.recv().is_ok().then(|| model.hash().map(drop)));
            self.make(&plan, &mut output, process_start, stepped)
        })
    }

    /// The request of one turn.
    fn batch(&self, turn: usize) -> Request {
        let batch_size = self.request.batch_size;
        let first = turn * batch_size;
        let mut request = self.request.clone();
        if let Some(turn) = self.turns.get(turn) {
            request.prompt.clone_from(&turn.prompt);
            request.noise.batch_index += turn.batch_index;
            request.noise.one_of = turn.one_of.or(request.noise.one_of);
        }
        request.latents = self.latents.as_ref().and_then(|file| file.latents.slice(first, batch_size));
        request
    }

    /// Tells `stepped` of every step.
    fn make(
        &self,
        plan: &Plan,
        output: &mut Output,
        process_start: Instant,
        stepped: Sender<()>,
    ) -> Result<(), Failure> {
        let quiet = self.output.quiet;
        let pipeline = Pipeline::load(self.model, self.options)?;
        let (mut finished, mut all) = (Vec::new(), Vec::new());
        let (mut warned, mut of_first) = (Vec::new(), None);
        for batch in 0..self.turns.len() {
            let begin = Instant::now();
            let request = self.batch(batch);
            let mut timings = Timings::new(process_start);
            let loading =
                progress::spinner(quiet, &format!("loading {} in {}", self.model.name(), self.options.precision));
            let mut run = pipeline.run(&request)?;
            loading.finish_and_clear();
            let warnings: Vec<String> = run.warnings().iter().map(ToString::to_string).collect();
            // Said once, not for each batch of the same prompt.
            if warnings != warned {
                warnings.iter().for_each(|warning| line("warning", warning));
                warned.clone_from(&warnings);
            }
            if let Some(expected) = self.made_with {
                check_adapters(expected, &run.adapters()?)?;
            }
            self.step(&mut run, batch, &mut timings, &stepped)?;
            let adapters = run.adapters()?;
            let decoding = progress::spinner(quiet, "decoding");
            let decoding_begins = Instant::now();
            let pictures = run.finish()?;
            timings.decoded(decoding_begins);
            decoding.finish_and_clear();
            let said = json!({
                "seconds": begin.elapsed().as_secs_f64() / request.batch_size as f64,
                "timings": timings.json(),
                "warnings": warnings,
            });
            self.write(Made { request: &request, plan, adapters: &adapters }, &pictures.images, output, batch, &said)?;
            of_first.get_or_insert(adapters);
            finished.extend(self.output.save_latents.as_ref().map(|_| pictures.latents));
            if self.output.grid {
                all.extend(pictures.images);
            }
        }
        if self.output.grid {
            self.write_grid(plan, &all, &of_first.unwrap_or_default(), output)?;
        }
        if let Some(file) = &self.output.save_latents {
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
        let bar = progress::steps(self.output.quiet, run.plan().steps());
        if self.turns.len() > 1 {
            bar.set_message(format!("{} of {} ", batch + 1, self.turns.len()));
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
        made: Made<'_>,
        pictures: &[RgbImage],
        output: &mut Output,
        batch: usize,
        said: &Value,
    ) -> Result<(), Failure> {
        for (index, picture) in pictures.iter().enumerate() {
            let metadata = self.metadata(made, batch, index)?;
            let path = output.write(&metadata.encode_png(picture)?)?;
            if self.output.json {
                stdout::print(&object(&path, said, &metadata).to_string())?;
            } else if !self.output.quiet {
                stdout::print(&path.display().to_string())?;
            }
        }
        Ok(())
    }

    /// What the file of one picture says.
    fn metadata(
        &self,
        Made { request, plan, adapters }: Made<'_>,
        batch: usize,
        index: usize,
    ) -> Result<Metadata, Failure> {
        let mut metadata = Metadata::new(self.model, request, plan, self.options.precision, index)?;
        metadata.adapters = adapters.to_vec();
        if let (Some(latents), Some(file)) = (&mut metadata.latents, &self.latents) {
            latents.file = file.file.display().to_string();
            latents.index += file.first + batch * request.batch_size;
        }
        Ok(metadata)
    }

    /// All pictures in one, as CompVis lays them (torchvision's `make_grid`, which leaves a single one as it is), with A1111's
    /// text of the first.
    fn write_grid(
        &self,
        plan: &Plan,
        pictures: &[RgbImage],
        adapters: &[AdapterMetadata],
        output: &mut Output,
    ) -> Result<(), Failure> {
        let first = self.batch(0);
        let columns = self.output.n_rows.unwrap_or(first.noise.one_of.map_or(first.batch_size, |one| one.batch_size));
        let sheet = match pictures {
            [only] => only.clone(),
            _ => grid(pictures, columns, GRID_PADDING).map_err(calotype::Error::from)?,
        };
        let text = self.metadata(Made { request: &first, plan, adapters }, 0, 0)?.parameters();
        let png = encode_png(&sheet, &[(PARAMETERS_KEYWORD, &text)]).map_err(calotype::Error::from)?;
        let path = output.write_grid(&png)?;
        if self.output.json {
            stdout::print(&json!({"grid": path.display().to_string()}).to_string())?;
        } else if !self.output.quiet {
            stdout::print(&path.display().to_string())?;
        }
        Ok(())
    }
}

/// The adapters must be those that the picture was made with.
fn check_adapters(expected: &[AdapterMetadata], found: &[AdapterMetadata]) -> Result<(), Failure> {
    for made in expected {
        let same = |adapter: &&AdapterMetadata| adapter.kind == made.kind && adapter.name == made.name;
        let problem = match found.iter().find(same) {
            Some(adapter) if adapter.sha256 == made.sha256 => continue,
            Some(adapter) => {
                let [made, given] = [made, adapter].map(|of| of.sha256.chars().take(10).collect::<String>());
                format!("was another file ({made}), this one is {given}")
            }
            None => "is not there".to_owned(),
        };
        let (kind, name) = (&made.kind, &made.name);
        return Err(Failure::Failed(format!(
            "the {kind} {name:?} that the picture was made with {problem}: give its folder, as with --lora-dir"
        )));
    }
    Ok(())
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
