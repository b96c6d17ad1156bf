//! `calotype train`.

use calotype_train::{Progress, RunOptions, Summary, train_autoencoder, train_diffusion};

use crate::{
    args::{Train, TrainRun},
    failure::Failure,
    interrupt, progress, stdout,
};

pub(crate) fn run(command: Train) -> Result<(), Failure> {
    let (what, args) = match &command {
        Train::Autoencoder(args) => ("autoencoder", args),
        Train::Diffusion(args) => ("diffusion", args),
    };
    let stop = interrupt::stop_flag()?;
    let bar = progress::training(args.quiet);
    let mut progress = |progress: &Progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.step);
        let (loss, rate, left) = (progress.loss, progress.samples_per_second, indicatif::HumanDuration(progress.eta));
        bar.set_message(format!("loss {loss:.4}, {rate:.1} samples/s, {left} left"));
    };
    let options = RunOptions { resume: args.resume, threads: args.threads.unwrap_or(0), stop, progress: &mut progress };
    let summary = match command {
        Train::Autoencoder(_) => train_autoencoder(&args.config, options),
        Train::Diffusion(_) => train_diffusion(&args.config, options),
    }?;
    bar.finish_and_clear();
    if summary.step < summary.total {
        return Err(Failure::Interrupted(resume_line(what, args, &summary)));
    }
    if args.quiet { Ok(()) } else { stdout::print(&text(&summary)) }
}

/// What a stopped run says.
fn resume_line(what: &str, args: &TrainRun, summary: &Summary) -> String {
    let threads = args.threads.map_or(String::new(), |threads| format!(" --threads {threads}"));
    let config = args.config.display();
    let command = format!("calotype train {what} --config {config}{threads} --resume");
    format!("at step {} of {}; a checkpoint is kept; go on with: {command}", summary.step, summary.total)
}

fn text(summary: &Summary) -> String {
    let mut lines = vec![format!("{} steps, {} parameters", summary.step, summary.parameters)];
    lines.extend(summary.loss.map(|loss| format!("last loss {loss:.5}")));
    lines.extend(summary.held_out.iter().map(|(name, value)| format!("held out: {name} {value:.5}")));
    lines.push(format!("model: {}", summary.model.display()));
    lines.join("\n")
}
