//! `calotype bench`.

use calotype::{BenchOptions, BenchReport, BenchSource};

use crate::{
    args::{Arch, Bench},
    failure::Failure,
    interrupt, model, progress, stdout,
};

pub(crate) fn run(args: &Bench) -> Result<(), Failure> {
    interrupt::exit_at_once()?;
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
        vae_tiling: args.compute.vae_tiling,
    };
    let spinner = progress::spinner(args.json, "starting");
    let report = calotype::bench(&source, options, &mut |stage| spinner.set_message(stage.to_owned()))?;
    spinner.finish_and_clear();
    if args.json {
        let json = serde_json::to_string(&report);
        return stdout::print(&json.map_err(|error| Failure::Failed(format!("JSON: {error}")))?);
    }
    stdout::print(&text(&report))
}

/// The report for people.
fn text(report: &BenchReport) -> String {
    let peak = report.peak_memory_bytes.map_or("n/a".to_owned(), |bytes| format!("{:.2} GB", bytes as f64 / 1e9));
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
