//! `calotype bench`.

use calotype::{Device, Precision};
use calotype_bench::{
    BenchOptions, BenchPart, BenchProfile, BenchReport, BenchSource, Machine, PartProfile, ProfileRow, Work, bench_part,
};
use calotype_train::{MixedPrecision, StepSource};

#[cfg(feature = "gpu")]
use crate::card::{Card, Wish};
#[cfg(not(feature = "gpu"))]
use crate::devices::without_cards;
use crate::{
    args::{Arch, Bench},
    failure::Failure,
    generate::device,
    interrupt, model, progress, stdout,
    turns::Turns,
};

pub(crate) fn run(args: &Bench) -> Result<(), Failure> {
    interrupt::exit_at_once()?;
    match (&args.train, args.train_sd15) {
        (Some(file), _) => return train(args, StepSource::Config(file)),
        (None, true) => {
            let mixed_precision = if args.mixed_precision { MixedPrecision::Bf16 } else { MixedPrecision::No };
            return train(args, StepSource::Sd15(mixed_precision));
        }
        (None, false) => {}
    }
    let model = match args.arch {
        Some(Arch::Sd15) => None,
        None => Some(model::open(&args.model)?),
    };
    let source = model.as_ref().map_or(BenchSource::Sd15, BenchSource::Model);
    let cpu = device(&args.compute)?;
    #[cfg(feature = "gpu")]
    {
        let precision = args.compute.precision.0;
        let wish = Wish { device: args.device.device, precision, timestamps: args.profile };
        if let Some(card) = Card::open(wish, &cpu)? {
            if card.device.is_software() && args.part.is_some() {
                let problem = "this driver computes on the processor: its time is no card's, leave out --part";
                return Err(Failure::usage(problem.to_owned()));
            }
            let counted = card.device.clone();
            let work = move || {
                let counts = counted.counts();
                Work { dispatches: counts.dispatches(), bytes: counts.bytes(), flops: counts.flops }
            };
            let machine = Machine::card(card.device.clone(), card.device.is_software(), work);
            return on_machine(args, &machine, &source, card.precision);
        }
    }
    #[cfg(not(feature = "gpu"))]
    without_cards(args.device.device)?;
    on_machine(args, &Machine::processor(cpu)?, &source, args.compute.precision.resolve()?)
}

fn on_machine<D: Device>(
    args: &Bench,
    machine: &Machine<D>,
    source: &BenchSource<'_>,
    precision: Precision,
) -> Result<(), Failure> {
    let options = BenchOptions {
        width: args.width,
        height: args.height,
        precision,
        repeat: args.repeat,
        profile: args.profile,
        vae_tiling: args.compute.vae_tiling,
    };
    if let Some(part) = args.part {
        return one_part(args, machine, part, source, options);
    }
    if args.serve {
        return Err(Failure::usage("--serve needs --part, --train or --train-sd15: give one of them".to_owned()));
    }
    let spinner = progress::spinner(args.json, "starting");
    let report = calotype_bench::bench(machine, source, options, &mut |stage| spinner.set_message(stage.to_owned()))?;
    spinner.finish_and_clear();
    if args.json {
        let json = serde_json::to_string(&report);
        return stdout::print(&json.map_err(|error| Failure::Failed(format!("JSON: {error}")))?);
    }
    stdout::print(&text(&report))
}

/// One network.
fn one_part<D: Device>(
    args: &Bench,
    machine: &Machine<D>,
    part: BenchPart,
    source: &BenchSource<'_>,
    options: BenchOptions,
) -> Result<(), Failure> {
    let what = match part {
        BenchPart::UNetStep => "UNet step with guidance",
        BenchPart::VaeDecode => "VAE decode",
    };
    let mut turns = Turns::new(args.serve, what);
    let work = bench_part(machine, source, options, part, &mut |work, seconds| turns.next(work, seconds))?;
    turns.finish(&work, args.json)
}

/// Training steps.
fn train(args: &Bench, source: StepSource<'_>) -> Result<(), Failure> {
    let mut turns = Turns::new(args.serve, "training step");
    let threads = args.compute.threads.unwrap_or(0);
    let work = calotype_train::bench(source, threads, &mut |work, seconds| turns.next(work, seconds))?;
    turns.finish(&work, args.json)
}

/// Rows with less of the time are printed as one.
const LEAST_SHARE: f64 = 0.005;

/// The report for people.
fn text(report: &BenchReport) -> String {
    let peak = gigabytes(report.peak_memory_bytes);
    let mut lines = vec![
        format!("{}, {} parameters", report.model, report.parameters),
        format!(
            "{} x {}, {}, {} threads, {}",
            report.width, report.height, report.precision, report.threads, report.isa
        ),
        format!("text encoder (2 prompts)  {}", seconds(report.text_encoder_seconds)),
        format!("UNet step with guidance   {}", seconds(report.unet_step_seconds)),
        format!("VAE decode                {}", seconds(report.vae_decode_seconds)),
        format!("peak memory               {peak:>11}"),
    ];
    if report.software {
        lines.push("no time is told: this driver computes on the processor, which is no card's speed".to_owned());
    }
    if let Some(work) = &report.work {
        lines.push(format!("{:<26}{:>10}{:>10}{:>10}", "asked of the device", "dispatches", "MB", "GFLOP"));
        let parts =
            [("text encoder", work.text_encoder), ("UNet step", work.unet_step), ("VAE decode", work.vae_decode)];
        lines.extend(parts.map(|(name, Work { dispatches, bytes, flops })| {
            format!("  {name:<24}{dispatches:>10}{:>10.0}{:>10.1}", bytes as f64 / 1e6, flops / 1e9)
        }));
    }
    if let Some(profile) = &report.profile {
        lines.extend(profile_lines(profile));
    }
    lines.join("\n")
}

fn seconds(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| format!("{:>11}", "n/a"), |seconds| format!("{seconds:9.3} s"))
}

/// The peak, then a table by kind of operation and one by block for each network; for the text encoder the first.
fn profile_lines(profile: &BenchProfile) -> Vec<String> {
    let peak = profile.peaks.as_ref().map(|peaks| {
        let each: Vec<_> = peaks.peaks.iter().map(|peak| format!("{} {:.1}", peak.arithmetic, peak.gflops)).collect();
        format!("peak of this machine      {} GFLOP/s; below it is {}'s", each.join(", "), peaks.arithmetic)
    });
    let tables = [
        table("text encoder, by kind", &profile.text_encoder, &profile.text_encoder.kinds),
        table("UNet step, by kind", &profile.unet_step, &profile.unet_step.kinds),
        table("UNet step, by block", &profile.unet_step, &profile.unet_step.blocks),
        table("VAE decode, by kind", &profile.vae_decode, &profile.vae_decode.kinds),
        table("VAE decode, by block", &profile.vae_decode, &profile.vae_decode.blocks),
    ];
    peak.into_iter().chain(tables.into_iter().flatten()).collect()
}

/// Rows that add up to the total: what is small, and what lies between the operations, is the row `other`.
fn table(title: &str, part: &PartProfile, rows: &[ProfileRow]) -> Vec<String> {
    let total = &part.total;
    let large: Vec<&ProfileRow> = rows.iter().filter(|row| row.share >= LEAST_SHARE).collect();
    let seconds = total.seconds - large.iter().map(|row| row.seconds).sum::<f64>();
    let calls = total.calls - large.iter().map(|row| row.calls).sum::<usize>();
    let title = format!("{title:<26}{:>9}{:>8}{:>7}{:>10}{:>9}", "seconds", "share", "calls", "GFLOP/s", "of peak");
    let row = |row: &ProfileRow| {
        let ProfileRow { name, seconds, calls, gflops, .. } = row;
        let share = 100.0 * row.share;
        let of_peak = row.peak_share.map_or_else(|| "n/a".to_owned(), |share| format!("{:.1}%", 100.0 * share));
        format!("  {name:<24}{seconds:>9.4}{share:>7.1}%{calls:>7}{gflops:>10.1}{of_peak:>9}")
    };
    let other = format!("  {:<24}{seconds:>9.4}{:>7.1}%{calls:>7}", "other", 100.0 * seconds / total.seconds);
    [String::new(), title].into_iter().chain(large.into_iter().map(row)).chain([other, row(total)]).collect()
}

/// Memory for people.
pub(crate) fn gigabytes(bytes: Option<u64>) -> String {
    bytes.map_or("n/a".to_owned(), |bytes| format!("{:.2} GB", bytes as f64 / 1e9))
}
