//! The `calotype` command: arguments in, files and progress out.

mod args;
mod audit;
mod bench;
#[cfg(feature = "gpu")]
mod card;
mod compare;
mod devices;
mod failure;
mod generate;
mod info;
mod interrupt;
mod keys;
mod license;
mod log;
mod manifest;
mod model;
mod models;
mod output;
mod progress;
mod remake;
mod review;
mod serve;
mod stdout;
mod timings;
mod train;
mod turns;
mod upscale;
mod watermark;

use std::{process::ExitCode, time::Instant};

use args::{Cli, Command};
use clap::{Parser, error::ErrorKind};
use failure::Failure;

fn main() -> ExitCode {
    let start = Instant::now();
    match parse().and_then(|command| command.map_or(Ok(()), |(command, log)| run(command, log.as_deref(), start))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// The command, or none when help or the version was asked for and is printed.
fn parse() -> Result<Option<(Command, Option<String>)>, Failure> {
    match Cli::try_parse() {
        Ok(cli) => {
            // A server has a log of its own.
            match &cli.command {
                Command::Serve(_) => {}
                _ => log::start(cli.log.as_deref())?,
            }
            Ok(Some((cli.command, cli.log)))
        }
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            stdout::print(error.render().to_string().trim_end()).map(|()| None)
        }
        Err(error) => Err(match args::owners(&error, std::env::args_os()) {
            Some(message) => Failure::usage(message),
            None => error.into(),
        }),
    }
}

/// Runs a command of the process that began at `start`; `log` is what is asked of the log.
fn run(command: Command, log: Option<&str>, start: Instant) -> Result<(), Failure> {
    match command {
        Command::Txt2img(args) => generate::txt2img(&args, start),
        Command::Img2img(args) => generate::img2img(&args, start),
        Command::Inpaint(args) => generate::inpaint(&args, start),
        Command::Outpaint(args) => generate::outpaint(&args, start),
        Command::Remake(args) => remake::run(&args, start),
        Command::Upscale(args) => upscale::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Info(args) => info::run(&args),
        Command::Train(args) => train::run(args),
        Command::Models(command) => models::run(&command),
        Command::Watermark(command) => watermark::run(&command),
        Command::Audit(command) => audit::run(&command),
        Command::Review(command) => review::run(&command),
        Command::Serve(args) => serve::run(&args, log),
        Command::Health(args) => serve::health(&args),
        Command::Keys(command) => keys::run(&command),
        Command::Devices(args) => devices::run(&args),
        Command::Bench(args) => bench::run(&args),
    }
}
