//! `calotype bench`.

use calotype::{BenchOptions, BenchPart, BenchReport, BenchSource, bench_part};
use calotype_train::StepSource;

use crate::{
    args::{Arch, Bench, Part},
    failure::Failure,
    interrupt, model, progress, stdout,
    turns::Turns,
};

pub(crate) fn run(args: &Bench) -> Result<(), Failure> {
    interrupt::exit_at_once()?;
    match (&args.train, args.train_sd15) {
        (Some(file), _) => return train(args, StepSource::Config(file)),
        (None, true) => return train(args, StepSource::Sd15),
        (None, false) => {}
    }
    let model = match args.arch {
        Some(Arch::Sd15) => None,
        None => Some(model::open(args.model.as_deref())?),
    };
    let source = model.as_ref().map_or(BenchSource::Sd15, BenchSource::Model);
    let options = BenchOptions {
        width: args.width,
        height: args.height,
        threads: args.compute.threads.unwrap_or(0),
        precision: args.compute.precision.into(),
    };
    if let Some(part) = args.part {
        return one_part(args, part, &source, options);
    }
    if args.serve {
        return Err(Failure::usage("--serve needs --part, --train or --train-sd15: give one of them".to_owned()));
    }
    let spinner = progress::spinner(args.json, "starting");
    let report = calotype::bench(&source, options, &mut |stage| spinner.set_message(stage.to_owned()))?;
    spinner.finish_and_clear();
    if args.json {
        let json = serde_json::to_string(&report);
        return stdout::print(&json.map_err(|error| Failure::Failed(format!("JSON: {error}")))?);
    }
    stdout::print(&text(&report))
}

/// One network.
fn one_part(args: &Bench, part: Part, source: &BenchSource<'_>, options: BenchOptions) -> Result<(), Failure> {
    let (part, what) = match part {
        Part::Unet => (BenchPart::UNetStep, "UNet step with guidance"),
        Part::Vae => (BenchPart::VaeDecode, "VAE decode"),
    };
    let mut turns = Turns::new(args.serve, what);
    let work = bench_part(source, options, part, &mut |work, seconds| turns.next(work, seconds))?;
    turns.finish(&work, args.json)
}

/// Training steps.
fn train(args: &Bench, source: StepSource<'_>) -> Result<(), Failure> {
    let mut turns = Turns::new(args.serve, "training step");
    let threads = args.compute.threads.unwrap_or(0);
    let work = calotype_train::bench(source, threads, &mut |work, seconds| turns.next(work, seconds))?;
    turns.finish(&work, args.json)
}

/// The report for people.
fn text(report: &BenchReport) -> String {
    let peak = gigabytes(report.peak_memory_bytes);
    [
        format!("{}, {} parameters", report.model, report.parameters),
        format!(
            "{} x {}, {}, {} threads, {}",
            report.width, report.height, report.precision, report.threads, report.isa
        ),
        format!("text encoder (2 prompts)  {:9.3} s", report.text_encoder_seconds),
        format!("UNet step with guidance   {:9.3} s", report.unet_step_seconds),
        format!("VAE decode                {:9.3} s", report.vae_decode_seconds),
        format!("peak memory               {peak:>11}"),
    ]
    .join("\n")
}

/// Memory for people.
pub(crate) fn gigabytes(bytes: Option<u64>) -> String {
    bytes.map_or("n/a".to_owned(), |bytes| format!("{:.2} GB", bytes as f64 / 1e9))
}
