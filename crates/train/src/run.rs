//! The training loop, the same for every task.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use calotype_diffusion::Generator;
use calotype_formats::SafeTensors;
use calotype_image::{ChartOptions, RgbImage, Series, encode_png, line_chart};
use calotype_tensor::{
    Backend, Differentiable,
    tape::{Gradients, Tape, Var},
};

use crate::{
    Error, ReportConfig, Result, TrainConfig,
    data::Order,
    disk::{self, patiently},
    folder::RunFolder,
    losses::Values,
    metrics::{Metrics, StepMetrics, thin, write_file},
    optimiser::learning_rate,
    random::{Stream, generator},
    state::{self, Player, Record, State},
    weights::Weights,
};

/// How to run.
pub struct RunOptions<'a> {
    /// Go on from the checkpoint in the output folder, if there is one.
    pub resume: bool,
    /// Threads to compute with; 0 for as many as there are cores.
    pub threads: usize,
    /// Go on without pictures that can't be used, instead of refusing the set.
    pub skip_bad: bool,
    /// What takes the place of values in the config file: `train.steps=10`. Paths start from that file's folder.
    pub set: &'a [String],
    /// Set it, and the run ends after the step it is in, with a checkpoint and a model.
    pub stop: &'a AtomicBool,
    /// Called after every step.
    pub progress: &'a mut (dyn FnMut(&Progress) + Send),
    /// Called with what else the caller should know.
    pub tell: &'a mut (dyn FnMut(&Notice) + Send),
}

impl RunOptions<'_> {
    /// Tells how far a part of the start is, at which a run may be stopped too.
    pub(crate) fn reached(&mut self, what: &'static str, done: usize, total: usize) -> Result<()> {
        (self.tell)(&Notice::Stage { what, done, total });
        match done < total && self.stop.load(Ordering::Relaxed) {
            true => Err(Error::Stopped(what)),
            false => Ok(()),
        }
    }
}

/// What a caller should know of a run beside its steps.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Notice {
    /// Something is not as it may seem, though the run goes on.
    Warning(String),
    /// What the config left out is as the model has it that the run starts from, or as other tools have it: `train.steps = 1600`.
    Filled(Vec<String>),
    /// How far a part of the start is.
    Stage {
        /// What is done: `pictures read`, `encoding pictures`.
        what: &'static str,
        /// How many pictures are done.
        done: usize,
        /// Of how many.
        total: usize,
    },
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub total: u64,
    /// The loss of this step.
    pub loss: f64,
    /// Pictures a second, over the last steps.
    pub samples_per_second: f64,
    /// Time left.
    pub eta: Duration,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Summary {
    /// Steps done.
    pub step: u64,
    /// Steps in all; more than `step` when the run was stopped.
    pub total: u64,
    /// Trained values.
    pub parameters: usize,
    /// The last loss; none when the run was over before.
    pub loss: Option<f64>,
    /// The last measurement on held-out pictures.
    pub held_out: BTreeMap<String, f64>,
    /// The diffusers folder that was written; of a LoRA the folder with its files.
    pub model: PathBuf,
}

/// What is trained: a loss, and what shows how good it is.
pub(crate) trait Task<B: Differentiable> {
    /// The name in checkpoints.
    fn name(&self) -> &'static str;
    /// What tells the run's inputs, pictures and networks, from others.
    fn inputs(&self) -> serde_json::Value;
    /// How many pictures there are.
    fn pictures(&self) -> usize;
    /// The loss of the pictures of these indices in step `step`, from 1, recorded on `tape`.
    fn loss(&self, tape: &Tape<B>, step: u64, pictures: &[usize], random: &mut Generator) -> Result<Loss<B>>;
    /// The tape of a second player, which learns after the first in each step, with an optimiser of its own.
    fn adversary(&self) -> Option<&Tape<B>> {
        None
    }
    /// The second player's loss of the same pictures, recorded on its tape; none when it has no part in this step.
    fn adversary_loss(
        &self,
        _tape: &Tape<B>,
        _step: u64,
        _pictures: &[usize],
        _random: &mut Generator,
    ) -> Result<Option<Loss<B>>> {
        Ok(None)
    }
    /// Measures on held-out pictures, empty without any.
    fn evaluate(&self, inner: &B, weights: &Weights) -> Result<BTreeMap<String, f64>>;
    /// A sheet that shows what the weights can do, if there is something to show.
    fn samples(&self, inner: &B, weights: &Weights) -> Result<Option<RgbImage>>;
    /// Writes the diffusers folder.
    fn export(&self, weights: &Weights, folder: &Path) -> Result<()>;
}

/// The loss of a batch.
pub(crate) struct Loss<B: Differentiable> {
    /// What is made small, of shape `(1)`.
    pub(crate) value: Var<B>,
    /// Its parts, unweighted.
    pub(crate) terms: Values,
    /// The loss as a number, where `value` has its gradient only.
    pub(crate) total: Option<f64>,
}

/// What the loop needs of a config.
pub(crate) struct Plan<'a> {
    pub(crate) folder: &'a RunFolder,
    pub(crate) train: &'a TrainConfig,
    pub(crate) report: &'a ReportConfig,
    /// The settings that a checkpoint must share.
    pub(crate) fixed: serde_json::Value,
    /// All settings, as a file.
    pub(crate) whole: String,
}

/// Trains the parameters on `tape` until the last step, or until told to stop.
pub(crate) fn run<B: Differentiable, T: Task<B>>(
    task: &T,
    tape: &Tape<B>,
    plan: &Plan<'_>,
    options: &mut RunOptions<'_>,
) -> Result<Summary> {
    let (inner, train, report) = (tape.inner(), plan.train, plan.report);
    let mut state = State::new(inner, tape.parameters(), task.adversary().map(Tape::parameters))?;
    let mut record = Record {
        version: state::VERSION,
        task: task.name().to_owned(),
        step: 0,
        config: plan.fixed.clone(),
        inputs: task.inputs(),
    };
    load_checkpoint(&mut state, inner, plan, &mut record)?;
    let mut on_disk = plan.folder.checkpoint().exists().then_some(record.step);
    check_disk(plan, &state)?;
    plan.folder.begin();
    patiently(options, || write_file(&plan.folder.config(), plan.whole.as_bytes()))?;
    let mut metrics = Metrics::open(plan.folder.metrics(), record.step)?;
    let mut order = Order::new(train.seed, task.pictures());
    let samples_per_step = (train.batch_size * train.gradient_accumulation) as u64;
    let mut pace = Pace::default();
    let (mut last_loss, mut last_checkpoint) = (None, Instant::now());

    while record.step < train.steps && !options.stop.load(Ordering::Relaxed) {
        let (step, start) = (record.step + 1, Instant::now());
        let first = |step, pictures: &[usize], place| {
            tape.clear();
            task.loss(tape, step, pictures, &mut generator(train.seed, Stream::Training, place)).map(Some)
        };
        let learned = gradients(tape, train, &mut order, step, first).map_err(|error| error.after(on_disk))?;
        let Some((gradients, loss, mut terms)) = learned else {
            return Err(Error::run(Path::new("train.gradient_accumulation"), "expected 1 or more"));
        };
        let grad_norm = state
            .optimiser
            .step(inner, &state.parameters, &gradients, train.gradient_accumulation, step, train)
            .map_err(|error| error.after(on_disk))?;
        drop(gradients);
        state.ema.update(inner, &state.parameters, step, train.ema_decay)?;
        if let (Some(second), Some(player)) = (task.adversary(), &mut state.adversary) {
            let loss = |step, pictures: &[usize], place| {
                let mut random = generator(train.seed, Stream::Discriminator, place);
                task.adversary_loss(tape, step, pictures, &mut random)
            };
            let learned =
                self::gradients(second, train, &mut order, step, loss).map_err(|error| error.after(on_disk))?;
            if let Some((gradients, loss, _)) = learned {
                let Player { parameters, optimiser } = player;
                optimiser
                    .step(inner, parameters, &gradients, train.gradient_accumulation, step, train)
                    .map_err(|error| error.after(on_disk))?;
                terms.insert("discriminator".to_owned(), loss);
            }
        }
        let time = start.elapsed();

        let due = |every: u64| step == train.steps || (every > 0 && step.is_multiple_of(every));
        let (evaluate, sample) = (due(report.evaluate_every), due(report.sample_every));
        let weights = (evaluate || sample).then(|| Weights::averaged(tape, &state.ema)).transpose()?;
        let held_out = match weights.as_ref().filter(|_| evaluate) {
            Some(weights) => task.evaluate(inner, weights)?,
            None => BTreeMap::new(),
        };
        let of_step = StepMetrics {
            step,
            loss,
            terms,
            learning_rate: learning_rate(train, step),
            grad_norm,
            seconds: time.as_secs_f64(),
            samples_seen: step * samples_per_step,
            held_out,
        };
        patiently(options, || metrics.push(&of_step))?;
        if let Some(weights) = weights.as_ref().filter(|_| sample) {
            if let Some(sheet) = task.samples(inner, weights)? {
                let sheet = encode_png(&sheet, &[])?;
                patiently(options, || write_file(&plan.folder.sample(step), &sheet))?;
            }
            patiently(options, || draw_losses(&metrics, &plan.folder.chart()))?;
        }
        record.step = step;
        let by_time = last_checkpoint.elapsed().as_secs_f64() >= report.checkpoint_minutes * 60.0;
        if by_time || (report.checkpoint_every > 0 && step.is_multiple_of(report.checkpoint_every)) {
            save(&state, inner, plan, &record, &mut on_disk, options)?;
            last_checkpoint = Instant::now();
        }
        last_loss = Some(loss);
        let seconds = pace.add(time);
        (options.progress)(&Progress {
            step,
            total: train.steps,
            loss,
            samples_per_second: samples_per_step as f64 / seconds,
            eta: Duration::try_from_secs_f64(seconds * (train.steps - step) as f64).unwrap_or(Duration::MAX),
        });
    }

    // A run of no steps has none.
    if on_disk.unwrap_or(0) != record.step {
        save(&state, inner, plan, &record, &mut on_disk, options)?;
    }
    patiently(options, || draw_losses(&metrics, &plan.folder.chart()))?;
    let (model, weights) = (plan.folder.model(), Weights::averaged(tape, &state.ema)?);
    patiently(options, || task.export(&weights, &model))?;
    Ok(Summary {
        step: record.step,
        total: train.steps,
        parameters: state.parameters.iter().map(|p| p.shape().count()).sum(),
        loss: last_loss,
        held_out: metrics.last_held_out,
        model,
    })
}

/// Writes the checkpoint, and keeps those before it that are to be kept. A ruined state does not take a sound one's place.
fn save<B: Differentiable>(
    state: &State<B>,
    inner: &B,
    plan: &Plan<'_>,
    record: &Record,
    on_disk: &mut Option<u64>,
    options: &mut RunOptions<'_>,
) -> Result<()> {
    let path = plan.folder.checkpoint();
    if let Some(before) = on_disk.filter(|_| plan.report.keep > 1) {
        patiently(options, || plan.folder.keep_checkpoint(before, plan.report.keep - 1))?;
    }
    patiently(options, || state.save(inner, &path, record)).map_err(|error| error.after(*on_disk))?;
    *on_disk = Some(record.step);
    Ok(())
}

/// Refuses to begin where the checkpoints, one more on the way, and the model won't fit.
fn check_disk<B: Differentiable>(plan: &Plan<'_>, state: &State<B>) -> Result<()> {
    let there = usize::from(plan.folder.checkpoint().exists()) + plan.folder.kept_checkpoints().len();
    let more = 1 + plan.report.keep.saturating_sub(there) as u64;
    // The model's weights are one of a checkpoint's four parts.
    disk::check(plan.folder.path(), state.bytes().saturating_mul(more).saturating_add(state.bytes() / 4))
}

/// Takes the state from the run's checkpoint, if there is one: a run that was killed before its first starts anew.
fn load_checkpoint<B: Differentiable>(
    state: &mut State<B>,
    inner: &B,
    plan: &Plan<'_>,
    record: &mut Record,
) -> Result<()> {
    let path = plan.folder.checkpoint();
    if !path.exists() {
        return Ok(());
    }
    let file = SafeTensors::open(&path).map_err(|error| damaged(plan.folder, &path, &error.to_string()))?;
    let found = state::record(&path, &file).map_err(|error| damaged(plan.folder, &path, &error.to_string()))?;
    if found.task != record.task {
        let problem = format!("is of a run of {}, not of {}: choose another output", found.task, record.task);
        return Err(Error::run(&path, problem));
    }
    if let Some(key) = state::difference(&found.config, &record.config) {
        let allowed =
            "only train.steps, train.learning_rate, train.gradient_clip, [report] and paths may change on --resume";
        return Err(Error::run(&path, format!("was made with another {key}; {allowed}: set it back or start anew")));
    }
    if let Some(key) = state::difference(&found.inputs, &record.inputs) {
        let problem = format!("was made from other {key}: give the same ones, or choose another output");
        return Err(Error::run(&path, problem));
    }
    if found.step > plan.train.steps {
        let problem = format!("is at step {}, past train.steps = {}: raise it", found.step, plan.train.steps);
        return Err(Error::run(&path, problem));
    }
    state.load(inner, &path, &file)?;
    record.step = found.step;
    Ok(())
}

/// A checkpoint that can't be read, and what there is instead.
fn damaged(folder: &RunFolder, path: &Path, problem: &str) -> Error {
    let prefix = format!("{}: ", path.display());
    let problem = problem.strip_prefix(&prefix).unwrap_or(problem);
    match folder.kept_checkpoints().last() {
        Some(kept) => Error::run(path, format!("{problem}; the one before is kept: copy {} over it", kept.display())),
        None => Error::run(path, problem),
    }
}

/// Gradients of a step, its loss, and the loss's terms.
type Learned<B> = (Gradients<B>, f64, BTreeMap<String, f64>);

/// The sum of the gradients of a step's batches, and the means of their losses; none where `loss(step, pictures, batch)` has none.
fn gradients<B: Differentiable>(
    tape: &Tape<B>,
    train: &TrainConfig,
    order: &mut Order,
    step: u64,
    loss_of: impl Fn(u64, &[usize], u64) -> Result<Option<Loss<B>>>,
) -> Result<Option<Learned<B>>> {
    let (mut sum, mut loss, mut terms) = (None::<Gradients<B>>, 0.0, BTreeMap::new());
    let (count, size) = (train.gradient_accumulation as u64, train.batch_size as u64);
    for batch in (step - 1) * count..step * count {
        let pictures: Vec<usize> = (batch * size..(batch + 1) * size).map(|number| order.picture(number)).collect();
        let Some(part) = loss_of(step, &pictures, batch)? else { return Ok(None) };
        let value = match part.total {
            Some(total) => total,
            None => scalar(tape.inner(), part.value.value())?,
        };
        if !value.is_finite() {
            return Err(Error::NotFinite { step, what: "the loss", checkpoint: None });
        }
        loss += value / count as f64;
        for (name, term) in part.terms {
            *terms.entry(name.to_owned()).or_insert(0.0) += term / count as f64;
        }
        let gradients = tape.backward(&part.value)?;
        match &mut sum {
            Some(sum) => sum.accumulate(tape.inner(), gradients)?,
            none => *none = Some(gradients),
        }
    }
    Ok(sum.map(|sum| (sum, loss, terms)))
}

/// The value of a tensor of shape `(1)`.
pub(crate) fn scalar<B: Backend>(backend: &B, x: &B::Tensor) -> Result<f64> {
    Ok(backend.to_f32(x)?.first().map_or(f64::NAN, |&x| f64::from(x)))
}

fn draw_losses(metrics: &Metrics, path: &Path) -> Result<()> {
    if metrics.losses.len() < 2 {
        return Ok(());
    }
    let series = Series { label: String::new(), points: thin(&metrics.losses, 400) };
    let options = ChartOptions { title: "loss".into(), x_label: "step".into(), log_y: true, ..ChartOptions::default() };
    let chart = line_chart(&[series], &options);
    write_file(path, &encode_png(&chart, &[])?)
}

/// Seconds a step, over about the last twenty.
#[derive(Default)]
struct Pace {
    seconds: Option<f64>,
}

impl Pace {
    fn add(&mut self, time: Duration) -> f64 {
        let now = time.as_secs_f64().max(1e-9);
        let seconds = self.seconds.map_or(now, |before| before + (now - before) * 0.05);
        self.seconds = Some(seconds);
        seconds
    }
}
