//! All batches of one call.

use std::{
    path::{Path, PathBuf},
    sync::mpsc::{self, Sender},
    thread,
    time::Instant,
};

use calotype::{
    AdapterMetadata, Keep, Latents, Metadata, Model, PARAMETERS_KEYWORD, PictureFile, Pipeline, PipelineOptions, Plan,
    PromptStyle, Request, RgbImage, Run, read_latents, write_latents,
};
use calotype_image::{encode_png, grid};
use serde_json::{Map, Value, json};

use super::batches::{Batch, Lines};
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

/// So many batches are checked before the work begins, which takes seconds; the others when it is their turn.
const MAX_CHECKED: usize = 10_000;

/// Starting noise of all pictures.
pub(crate) struct LatentsFile {
    file: PathBuf,
    pub(crate) latents: Latents,
    /// Which picture of the file is the first.
    first: usize,
}

impl LatentsFile {
    pub(crate) fn open(file: &Path) -> Result<Self, Failure> {
        Ok(Self { file: file.to_owned(), latents: read_latents(file)?, first: 0 })
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
    /// Which picture of the call is its first.
    first: usize,
}

/// All batches of one call.
pub(crate) struct Job<'a> {
    pub(crate) model: &'a Model,
    /// That of the first batch, but for what its turn says.
    pub(crate) request: Request,
    pub(crate) lines: Lines,
    /// Batches of each line, and of each picture.
    pub(crate) count: usize,
    /// The pictures to start from, if there are several.
    pub(crate) pictures: &'a [PathBuf],
    pub(crate) latents: Option<LatentsFile>,
    pub(crate) output: &'a OutputArgs,
    pub(crate) options: PipelineOptions,
    /// What the file says of the picture, if it was made before.
    pub(crate) made: Option<&'a Metadata>,
}

/// The batches of a job.
struct Batches {
    list: Vec<Batch>,
    /// Whether lines have seeds of their own.
    count_alone: bool,
}

impl Batches {
    fn pictures(&self) -> usize {
        self.list.iter().map(|batch| batch.size).fold(0, usize::saturating_add)
    }
}

impl Job<'_> {
    /// Checks everything that can be wrong before the work begins, and does it.
    pub(crate) fn run(&self, process_start: Instant) -> Result<(), Failure> {
        let count_alone = self.lines.count_alone(&self.request)?;
        let list = self.lines.list(self.count, self.pictures.len(), self.request.batch_size);
        let batches = Batches { list, count_alone };
        let pictures = batches.pictures();
        if let Some(file) = self.latents.as_ref().filter(|file| file.latents.shape()[0] != pictures) {
            let given = file.latents.shape()[0];
            let asked = format!("--batch-size times --batch-count asks for {pictures}");
            return Err(Failure::usage(format!("--latents has {given} pictures, but {asked}: make them equal")));
        }
        self.check(&batches)?;
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
            self.make(&batches, &mut output, process_start, stepped)
        })
    }

    /// Checks the first batch, and those that differ from it in more than a prompt that is only text.
    fn check(&self, batches: &Batches) -> Result<(), Failure> {
        let one_size = self.output.grid || self.output.save_latents.is_some();
        let (mut first, mut checked) = (None, None);
        for (number, batch) in batches.list.iter().enumerate().take(MAX_CHECKED) {
            let of = (batch.line, batch.picture);
            let differs = self.lines.has_options(batch.line)
                || !self.pictures.is_empty()
                || self.request.prompt_style != PromptStyle::Plain;
            if checked == Some(of) || !(differs || number == 0) {
                continue;
            }
            checked = Some(of);
            let plan = Plan::new(self.model, &self.batch(batches, number)?, self.options)?;
            let [_, sides @ ..] = plan.final_shape();
            if one_size && *first.get_or_insert(sides) != sides {
                let what = if self.output.grid { "--grid" } else { "--save-latents" };
                return Err(Failure::usage(format!("{what} needs pictures of one size: give --width and --height")));
            }
        }
        Ok(())
    }

    /// The request of one batch.
    fn batch(&self, batches: &Batches, number: usize) -> Result<Request, Failure> {
        let mut request = self.request.clone();
        let Some(batch) = batches.list.get(number) else { return Ok(request) };
        self.lines.apply(&mut request, batch, batches.count_alone);
        if let (Some(picture), Some(init)) = (self.pictures.get(batch.picture), &mut request.init) {
            init.picture = PictureFile::open(picture)?;
        }
        request.latents = self.latents.as_ref().and_then(|file| file.latents.slice(batch.first, batch.size));
        Ok(request)
    }

    /// Tells `stepped` of every step.
    fn make(
        &self,
        batches: &Batches,
        output: &mut Output,
        process_start: Instant,
        stepped: Sender<()>,
    ) -> Result<(), Failure> {
        let quiet = self.output.quiet;
        let pipeline = Pipeline::load(self.model, self.options)?;
        let (mut finished, mut all) = (Vec::new(), Vec::new());
        let (mut warned, mut of_first) = (Vec::new(), None);
        for (number, batch) in batches.list.iter().enumerate() {
            let begin = Instant::now();
            let request = self.batch(batches, number)?;
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
            if let Some(made) = self.made {
                check_adapters(&made.adapters, &run.adapters()?)?;
            }
            self.step(&mut run, [number, batches.list.len()], &mut timings, &stepped)?;
            let (adapters, plan) = (run.adapters()?, run.plan().clone());
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
            let made = Made { request: &request, plan: &plan, adapters: &adapters, first: batch.first };
            self.write(made, &pictures.images, output, &said)?;
            if self.output.grid && of_first.is_none() {
                of_first = Some(self.metadata(made, 0)?.parameters());
            }
            finished.extend(self.output.save_latents.as_ref().map(|_| pictures.latents));
            if self.output.grid {
                all.extend(pictures.images);
            }
        }
        if self.output.grid {
            self.write_grid(&all, &of_first.unwrap_or_default(), output)?;
        }
        if let Some(file) = &self.output.save_latents {
            let _guard = interrupt::writing();
            write_latents(file, &Latents::concat(&finished).map_err(calotype::Error::from)?)?;
        }
        Ok(())
    }

    /// Takes all steps of the run of one of the batches.
    fn step(
        &self,
        run: &mut Run<'_>,
        [batch, batches]: [usize; 2],
        timings: &mut Timings,
        stepped: &Sender<()>,
    ) -> Result<(), Failure> {
        let bar = progress::steps(self.output.quiet, run.plan().steps());
        if batches > 1 {
            bar.set_message(format!("{} of {batches} ", batch + 1));
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
    fn write(&self, made: Made<'_>, pictures: &[RgbImage], output: &mut Output, said: &Value) -> Result<(), Failure> {
        for (index, picture) in pictures.iter().enumerate() {
            let metadata = self.metadata(made, index)?;
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
    fn metadata(&self, made: Made<'_>, index: usize) -> Result<Metadata, Failure> {
        let Made { request, plan, adapters, first } = made;
        let mut metadata = Metadata::new(self.model, request, plan, self.options.precision, index)?;
        metadata.adapters = adapters.to_vec();
        if let (Some(latents), Some(file)) = (&mut metadata.latents, &self.latents) {
            latents.file = file.file.display().to_string();
            latents.index += file.first + first;
        }
        if let Some(made) = self.made {
            // By the hashes they are the same, wherever they are now and whatever they are called.
            metadata.adapters.clone_from(&made.adapters);
            metadata.model.clone_from(&made.model);
        }
        Ok(metadata)
    }

    /// All pictures in one, as CompVis lays them (torchvision's `make_grid`, which leaves a single one as it is), with A1111's
    /// text of the first.
    fn write_grid(&self, pictures: &[RgbImage], text: &str, output: &mut Output) -> Result<(), Failure> {
        let columns = self.output.n_rows.unwrap_or(self.request.batch_size);
        let sheet = match pictures {
            [only] => only.clone(),
            _ => grid(pictures, columns, GRID_PADDING).map_err(calotype::Error::from)?,
        };
        let png = encode_png(&sheet, &[(PARAMETERS_KEYWORD, text)]).map_err(calotype::Error::from)?;
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
