//! `calotype train`.

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use calotype_train::{
    Notice, Progress, RunKind, RunOptions, Summary, template, train_autoencoder, train_diffusion, train_lora,
};
use indicatif::{HumanDuration, ProgressBar};

use crate::{
    args::{DeviceArg, Train, TrainRun},
    failure::{Failure, line},
    interrupt, progress, stdout,
};

/// How often a line says how far the run is where there is no terminal for a bar.
const EVERY: Duration = Duration::from_secs(5);

pub(crate) fn run(command: Train) -> Result<(), Failure> {
    let (kind, args) = match command {
        Train::Autoencoder(args) => (RunKind::Autoencoder, args),
        Train::Diffusion(args) => (RunKind::Diffusion, args),
        Train::Lora(args) => (RunKind::Lora, args),
        Train::Init(args) => return stdout::print(template(args.kind).trim_end()),
    };
    if let Some(DeviceArg::Gpu(_)) = args.device {
        return Err(Failure::usage("only the processor trains: leave --device out, or give cpu".to_owned()));
    }
    let stop = interrupt::stop_flag()?;
    let bar = progress::training(args.quiet);
    let (shown, told) = (Shown::new(&bar, args.quiet), Shown::new(&bar, args.quiet));
    let options = RunOptions {
        resume: args.resume,
        threads: args.threads.unwrap_or(0),
        skip_bad: args.skip_bad,
        set: &args.set,
        stop,
        progress: &mut shown.steps(),
        tell: &mut told.notices(),
    };
    let summary = match kind {
        RunKind::Autoencoder => train_autoencoder(&args.config, options),
        RunKind::Diffusion => train_diffusion(&args.config, options),
        RunKind::Lora => train_lora(&args.config, options),
    };
    bar.finish_and_clear();
    let summary = match summary {
        Err(error @ calotype_train::Error::Stopped(_)) => return Err(Failure::Interrupted(error.to_string())),
        summary => summary?,
    };
    if summary.step < summary.total {
        return Err(Failure::Interrupted(resume_line(kind, &args, &summary)));
    }
    if args.quiet { Ok(()) } else { stdout::print(&text(kind, &summary)) }
}

/// Shows how far a run is: a bar on a terminal, else a line every few seconds.
struct Shown<'a> {
    bar: &'a ProgressBar,
    quiet: bool,
    /// Whether lines are written.
    in_lines: bool,
    /// When the last line was.
    last: Option<Instant>,
}

impl<'a> Shown<'a> {
    fn new(bar: &'a ProgressBar, quiet: bool) -> Self {
        Self { bar, quiet, in_lines: !quiet && !stderr().is_terminal(), last: None }
    }

    /// Whether it is time for a line: for the first and the last one too.
    fn is_due(&mut self, is_last: bool) -> bool {
        let due = self.in_lines && (is_last || self.last.is_none_or(|last| last.elapsed() >= EVERY));
        if due {
            self.last = Some(Instant::now());
        }
        due
    }

    fn steps(mut self) -> impl FnMut(&Progress) + 'a {
        move |progress| {
            let Progress { step, total, loss, .. } = *progress;
            let (rate, left) = (progress.samples_per_second, HumanDuration(progress.eta));
            let message = format!("loss {loss:.4}, {rate:.1} samples/s, {left} left");
            if self.is_due(step == total) {
                line("training", &format!("step {step} of {total}, {message}"));
            }
            self.bar.set_length(total);
            self.bar.set_position(step);
            self.bar.set_message(message);
        }
    }

    fn notices(mut self) -> impl FnMut(&Notice) + 'a {
        move |notice| match notice {
            Notice::Warning(text) => self.bar.suspend(|| line("warning", text)),
            Notice::Filled(settings) if !self.quiet => {
                let text = format!("not given, so as in the model and in other tools: {}", settings.join(", "));
                self.bar.suspend(|| line("training", &text));
            }
            Notice::Stage { what, done, total } => {
                if self.is_due(done == total) {
                    line("training", &format!("{what}: {done} of {total}"));
                }
                self.bar.set_length(*total as u64);
                self.bar.set_position(*done as u64);
                self.bar.set_message((*what).to_owned());
            }
            _ => {}
        }
    }
}
/// What a stopped run says.
fn resume_line(kind: RunKind, args: &TrainRun, summary: &Summary) -> String {
    let set: String = args.set.iter().map(|setting| format!(" --set '{setting}'")).collect();
    let threads = args.threads.map_or(String::new(), |threads| format!(" --threads {threads}"));
    let config = args.config.display();
    let command = format!("calotype train {} --config {config}{set}{threads} --resume", kind.name());
    format!("at step {} of {}; a checkpoint is kept; go on with: {command}", summary.step, summary.total)
}

fn text(kind: RunKind, summary: &Summary) -> String {
    let mut lines = vec![format!("{} steps, {} parameters", summary.step, summary.parameters)];
    lines.extend(summary.loss.map(|loss| format!("last loss {loss:.5}")));
    lines.extend(summary.held_out.iter().map(|(name, value)| format!("held out: {name} {value:.5}")));
    let made = if kind == RunKind::Lora { "LoRA" } else { "model" };
    lines.push(format!("{made}: {}", summary.model.display()));
    lines.join("\n")
}
