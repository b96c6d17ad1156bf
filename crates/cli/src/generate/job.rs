//! All batches of one call.

use std::{
    path::{Path, PathBuf},
    sync::mpsc::{self, Sender},
    thread,
    time::Instant,
};

use calotype::{
    Event, Image, Keep, Latents, Pipeline, PipelineOptions, Plan, Request, RgbImage, Run, RunOptions, Stage,
    adapters::AdapterMetadata,
    latents::{read_latents, write_latents},
    metadata::Metadata,
    request::{BatchPlace, InputImage, PromptStyle},
};
use calotype_image::{FileFormat, grid};
use calotype_publish::{Judged, Made, Origin};
use calotype_tensor::cpu::{CpuDevice, CpuDeviceOptions};
use serde_json::{Map, Value, json};

use super::{
    Publishing,
    batches::{Batch, Lines},
};
use crate::{
    args::{Compute, OutputArgs, PictureCompute},
    devices::Pipelines,
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

/// What to compute on.
pub(crate) fn device(compute: &Compute) -> Result<CpuDevice, Failure> {
    let (threads, convolution) = (compute.threads.unwrap_or(0), compute.convolution);
    let options = CpuDeviceOptions { threads, convolution, ..CpuDeviceOptions::default() };
    Ok(CpuDevice::new(options).map_err(calotype::Error::from)?)
}

/// How to compute so many batches.
pub(crate) fn options(args: &PictureCompute, batches: usize) -> Result<PipelineOptions, Failure> {
    let compute = &args.all;
    Ok(PipelineOptions {
        vae_precision: args.vae_precision,
        precision: compute.precision.resolve()?,
        // Several batches use the same UNet; after the steps of a single one its memory is the decoder's.
        keep: if batches > 1 { Keep::UNet } else { Keep::Nothing },
        vae_tiling: compute.vae_tiling,
        ..PipelineOptions::default()
    })
}

/// All batches of one call.
pub(crate) struct Job<'a> {
    pub(crate) pipelines: Pipelines,
    /// That of the first batch, but for what its turn says.
    pub(crate) request: Request,
    /// What every run is given.
    pub(crate) run_options: RunOptions,
    /// Where the first batch stands in a run, if that is not the start of it.
    pub(crate) place: BatchPlace,
    pub(crate) lines: Lines,
    /// Batches of each line, and of each picture.
    pub(crate) count: usize,
    /// The pictures to start from, if there are several.
    pub(crate) pictures: &'a [PathBuf],
    pub(crate) latents: Option<LatentsFile>,
    pub(crate) output: &'a OutputArgs,
    /// What the file says of the picture, if it was made before.
    pub(crate) made: Option<&'a Metadata>,
    /// What the images go through.
    pub(crate) publishing: Publishing,
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
        let folder = self.output.outdir.as_deref();
        let path = self.output.output.as_deref().or(folder);
        let mut output = Output::new(path, pictures, folder.is_some(), self.output.format)?;
        let format = output.format;
        if self.output.quality.is_some() && format != FileFormat::Jpeg {
            let problem = format!(
                "--quality is that of JPEG files, and a {} has no loss: end --output in .jpg, or give --format jpg",
                format.name()
            );
            return Err(Failure::usage(problem));
        }
        if output.is_stdout() && self.output.json {
            return Err(Failure::usage("--json and --output - both write to stdout: give a file for one of them"));
        }
        if self.output.grid && !output.is_folder() {
            return Err(Failure::usage("--grid lies beside its pictures: give a folder for --output"));
        }
        if self.output.save_latents.is_some() && self.publishing.publisher.hides_images() {
            let problem = "--save-latents would show what --safety hides: leave one of them out";
            return Err(Failure::usage(problem));
        }
        self.check(&batches, format)?;
        output.prepare()?;
        self.publishing.prepare(&output)?;
        if let Some(file) = &self.output.save_latents {
            output::make_parent(file)?;
        }
        self.publishing.announce();
        thread::scope(|scope| {
            // Beside the run, so that nobody waits for it, but after the first step, which somebody does wait for.
            let (stepped, wait) = mpsc::channel();
            let model = self.pipelines.pipeline.model();
            scope.spawn(move || wait.recv().is_ok().then(|| model.hash().map(drop)));
            self.make(&batches, &mut output, process_start, stepped)
        })
    }

    /// Checks the first batch, and those that differ from it in more than a prompt that is only text.
    fn check(&self, batches: &Batches, format: FileFormat) -> Result<(), Failure> {
        let (is_grid, one_size) = (self.output.grid, self.output.grid || self.output.save_latents.is_some());
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
            let plan = self
                .plan(&self.pipelines.pipeline, batches, number)
                .map_err(|failure| self.at_line(batches, number, failure))?;
            self.check_init(plan.request())?;
            let [_, high, wide, _] = plan.final_shape();
            self.publishing.publisher.check_size(plan.final_size())?;
            let longest = plan.final_size().into_iter().max().unwrap_or(0);
            if longest > format.max_side() as usize {
                let problem =
                    format!("a side of {longest} pixels is more than the {} of a {}", format.max_side(), format.name());
                return Err(Failure::usage(format!("{problem}: write a PNG")));
            }
            let sides = if is_grid { plan.final_size() } else { [wide, high] };
            if one_size && *first.get_or_insert(sides) != sides {
                let what = if is_grid { "--grid" } else { "--save-latents" };
                return Err(Failure::usage(format!("{what} needs pictures of one size: give --width and --height")));
            }
        }
        Ok(())
    }

    /// A failure of one batch. Those of a file of prompts say the line, if it is the line's own: what is wrong with the
    /// command line is wrong without it.
    fn at_line(&self, batches: &Batches, number: usize, failure: Failure) -> Failure {
        let place = batches.list.get(number).and_then(|batch| self.lines.line_of(batch));
        let Some(place) = place else { return failure };
        let pipeline = &self.pipelines.pipeline;
        let without = || pipeline.plan(self.request.clone()).and_then(|plan| self.start(pipeline, plan)).err();
        match without().is_some_and(|error| Failure::from(error).is_same(&failure)) {
            true => failure,
            false => failure.at(&place),
        }
    }

    /// The plan of one batch.
    fn plan(&self, pipeline: &Pipeline, batches: &Batches, number: usize) -> Result<Plan, Failure> {
        let (mut request, mut place) = (self.request.clone(), self.place);
        if let Some(batch) = batches.list.get(number) {
            self.lines.apply(&mut request, batch, batches.count_alone);
            let BatchPlace { index, one_of } = Lines::place(batch, batches.count_alone);
            place = BatchPlace { index: place.index + index, one_of: one_of.or(place.one_of) };
            if let (Some(picture), Some(init)) = (self.pictures.get(batch.picture), &mut request.init) {
                init.picture = InputImage::open(picture)?;
            }
            let latents = self.latents.as_ref().and_then(|file| file.latents.slice(batch.first, batch.size));
            request.latents = latents.map(Into::into);
        }
        self.publishing.publisher.check_prompts(&request, &Origin::default())?;
        Ok(pipeline.plan(request)?.at(place)?)
    }

    fn start(&self, pipeline: &Pipeline, plan: Plan) -> calotype::Result<Run> {
        pipeline.run_with(plan, self.run_options.clone())
    }

    /// Tells `stepped` of every step.
    fn make(
        &self,
        batches: &Batches,
        output: &mut Output,
        process_start: Instant,
        stepped: Sender<()>,
    ) -> Result<(), Failure> {
        let (mut finished, mut all) = (Vec::new(), Vec::new());
        let (mut warned, mut of_first, mut blocked) = (Vec::new(), None, 0);
        let mut pipeline = &self.pipelines.pipeline;
        for (number, batch) in batches.list.iter().enumerate() {
            let begin = Instant::now();
            let mut timings = Timings::new(process_start);
            let mut run = |pipeline: &Pipeline, timings: &mut Timings| {
                self.batch(pipeline, batches, number, timings, &stepped, &mut warned)
            };
            let done = match (run(pipeline, &mut timings), &self.pipelines.standby) {
                (Err(Failure::OfDevice(problem)), Some(standby)) if !std::ptr::eq(pipeline, standby) => {
                    line("warning", &format!("{problem}; computing on the processor"));
                    pipeline = standby;
                    timings = Timings::new(process_start);
                    run(pipeline, &mut timings)
                }
                (done, _) => done,
            };
            let (made, warnings) = done.map_err(|failure| self.at_line(batches, number, failure))?;
            let batch_size = made.images.len().max(1);
            let said = json!({
                "seconds": begin.elapsed().as_secs_f64() / batch_size as f64,
                "timings": timings.json(),
                "warnings": warnings,
            });
            for image in made.images {
                let mut metadata = self.metadata(&image, batch.first)?;
                let judged = self.publishing.publisher.judge(image.pixels, &mut metadata, &Origin::default())?;
                self.publishing.say(&judged.notes);
                self.write(&judged, &mut metadata, output, said.clone())?;
                blocked += usize::from(judged.shown.is_none());
                if self.output.grid && judged.shown.is_some() {
                    of_first.get_or_insert(metadata);
                    all.extend(judged.shown);
                }
            }
            finished.extend(self.output.save_latents.as_ref().map(|_| made.latents));
        }
        if let Some(metadata) = of_first.filter(|_| self.output.grid) {
            self.write_grid(&all, metadata, output)?;
        }
        if let Some(file) = &self.output.save_latents {
            let _guard = interrupt::writing();
            write_latents(file, &Latents::concat(&finished).map_err(calotype::Error::from)?)?;
        }
        match blocked {
            0 => Ok(()),
            _ => Err(Failure::Failed(format!("{blocked} of {} images were blocked by --safety", batches.pictures()))),
        }
    }

    /// The images of one of the batches, and its warnings.
    fn batch(
        &self,
        pipeline: &Pipeline,
        batches: &Batches,
        number: usize,
        timings: &mut Timings,
        stepped: &Sender<()>,
        warned: &mut Vec<String>,
    ) -> Result<(calotype::Output, Vec<String>), Failure> {
        let plan = self.plan(pipeline, batches, number)?;
        if number >= MAX_CHECKED {
            self.check_init(plan.request())?;
        }
        let mut run = self.start(pipeline, plan)?;
        if let Some(made) = self.made {
            check_adapters(&made.adapters, &run.adapters()?)?;
        }
        let warnings = self.watch(pipeline, &mut run, [number, batches.list.len()], timings, stepped, warned)?;
        Ok((run.finish()?, warnings))
    }

    /// Does the work of the run of one of the batches, shows how far it is, and gives its warnings. Those that are in `warned`
    /// were said of the batch before.
    fn watch(
        &self,
        pipeline: &Pipeline,
        run: &mut Run,
        [batch, batches]: [usize; 2],
        timings: &mut Timings,
        stepped: &Sender<()>,
        warned: &mut Vec<String>,
    ) -> Result<Vec<String>, Failure> {
        let quiet = self.output.quiet;
        let (model, precision) = (pipeline.model().name(), pipeline.options().precision);
        let mut shown = progress::spinner(quiet, &format!("loading {model} in {precision}"));
        let mut begin = Instant::now();
        let mut warnings = Vec::new();
        while let Some(event) = run.next() {
            match event? {
                Event::Stage(Stage::Denoising) => {
                    warnings = say(run, warned);
                    shown.finish_and_clear();
                    shown = progress::steps(quiet, run.plan().steps());
                    if batches > 1 {
                        shown.set_message(format!("{} of {batches} ", batch + 1));
                    }
                    begin = Instant::now();
                }
                Event::Step(step) => {
                    timings.step(begin);
                    // Whoever waits for the first may be gone by the next.
                    stepped.send(()).ok();
                    // Not always as many as were asked for, and of some samplers only an estimate.
                    shown.set_length(step.total as u64);
                    shown.set_position(step.index as u64 + 1);
                    begin = Instant::now();
                }
                Event::Stage(Stage::Decoding) => {
                    shown.finish_and_clear();
                    shown = progress::spinner(quiet, "decoding");
                }
                _ => {}
            }
        }
        timings.decoded(begin);
        shown.finish_and_clear();
        if run.warnings().len() > warnings.len() {
            warnings = say(run, warned);
        }
        Ok(warnings)
    }

    /// Writes an image and says so; `said` is what `--json` prints of its batch.
    fn write(
        &self,
        judged: &Judged,
        metadata: &mut Metadata,
        output: &mut Output,
        mut said: Value,
    ) -> Result<(), Failure> {
        let Judged { shown, held, verdict, .. } = judged;
        if let Some(verdict) = verdict {
            said["safety"] = verdict.to_json();
        }
        let Some(image) = shown else {
            // Blocked: only `--json` tells what would have been there.
            return if self.output.json { stdout::print(&object(None, &said, metadata).to_string()) } else { Ok(()) };
        };
        let (publishing, origin) = (&self.publishing, &Origin::default());
        let (publisher, options) = (&publishing.publisher, publishing.file_options(output.format, self.output.quality));
        // The original has a mark of its own, for when it is released.
        let mut of_original = metadata.clone();
        let file = publishing.file(image, metadata, &options)?;
        let made = Made { metadata, file: &file };
        let path = match held.as_ref().zip(verdict.as_ref()) {
            Some((original, verdict)) => {
                let original = publishing.file(original, &mut of_original, &options)?;
                let original = Made { metadata: &of_original, file: &original };
                let folder = publishing.held_folder(output).unwrap_or_default();
                let mut holding = publisher.stage(&folder, original, output.format, verdict, origin)?;
                let path = output.write(&file, &mut |path| Ok(publisher.hold(&mut holding, made, path)?))?;
                said["held"] = json!(holding.id());
                path
            }
            None => output.write(&file, &mut |path| Ok(publisher.record(made, verdict.as_ref(), path, origin)?))?,
        };
        if self.output.json {
            stdout::print(&object(Some(&path), &said, metadata).to_string())
        } else if !(self.output.quiet || output.is_stdout()) {
            stdout::print(&path.display().to_string())
        } else {
            Ok(())
        }
    }

    /// Refuses an image to start from that the policy does not let through.
    fn check_init(&self, request: &Request) -> Result<(), Failure> {
        let note = self.publishing.publisher.check_init(request, &Origin::default())?;
        self.publishing.say(note.as_slice());
        Ok(())
    }

    /// What the file of an image says; `first` is which image of the call is the first of its batch.
    fn metadata(&self, image: &Image, first: usize) -> Result<Metadata, Failure> {
        let mut metadata = image.metadata()?;
        if let (Some(latents), Some(file)) = (&mut metadata.latents, &self.latents) {
            latents.file = file.file.display().to_string();
            latents.index += file.first + first;
        }
        if let Some(made) = self.made {
            // By the hashes they are the same, wherever they are now and whatever they are called.
            metadata.adapters.clone_from(&made.adapters);
            metadata.model.clone_from(&made.model);
            // Pictures of before there was one have none.
            metadata.license.clone_from(&made.license);
            metadata.safety.clone_from(&made.safety);
        }
        Ok(metadata)
    }

    /// All pictures in one, as CompVis lays them (torchvision's `make_grid`, which leaves a single one as it is), with A1111's
    /// text of the first. Its mark is its own.
    fn write_grid(&self, pictures: &[RgbImage], mut first: Metadata, output: &mut Output) -> Result<(), Failure> {
        let columns = self.output.n_rows.unwrap_or(self.request.batch_size);
        let sheet = match pictures {
            [only] => only.clone(),
            _ => grid(pictures, columns, GRID_PADDING).map_err(calotype::Error::from)?,
        };
        let (publishing, origin) = (&self.publishing, &Origin::default());
        let options = publishing.file_options(output.format, self.output.quality);
        let file = publishing.grid_file(&sheet, &mut first, &options)?;
        let made = Made { metadata: &first, file: &file };
        let path =
            output.write_grid(&file, &mut |path| Ok(publishing.publisher.record(made, None, path, origin)?))?;
        if self.output.json {
            stdout::print(&json!({"grid": path.display().to_string()}).to_string())?;
        } else if !self.output.quiet {
            stdout::print(&path.display().to_string())?;
        }
        Ok(())
    }
}

/// Prints the warnings of a run that were not said of the batch before, and gives all of them.
fn say(run: &Run, warned: &mut Vec<String>) -> Vec<String> {
    let warnings: Vec<String> = run.warnings().iter().map(ToString::to_string).collect();
    warnings.iter().filter(|&warning| !warned.contains(warning)).for_each(|warning| line("warning", warning));
    warned.clone_from(&warnings);
    warnings
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
        let (kind, name) = (made.kind.id(), &made.name);
        return Err(Failure::Failed(format!(
            "the {kind} {name:?} that the picture was made with {problem}: give its folder, as with --lora-dir"
        )));
    }
    Ok(())
}

/// What `--json` prints of a picture: where it is (null if it was blocked), what is said of its batch, and everything its file says.
fn object(path: Option<&Path>, said: &Value, metadata: &Metadata) -> Value {
    let mut object = json!({"path": path.map(|path| path.display().to_string())});
    if let Some(object) = object.as_object_mut() {
        object.extend(said.as_object().cloned().unwrap_or_default());
        object.extend(serde_json::from_str::<Map<_, _>>(&metadata.to_json()).unwrap_or_default());
    }
    object
}
