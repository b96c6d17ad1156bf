//! The log on stderr: off unless `--log` or `CALOTYPE_LOG` asks for it.

use std::{env, io};

use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt::format::FmtSpan,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::failure::Failure;

const VARIABLE: &str = "CALOTYPE_LOG";

/// Starts the log with a filter: a level, or `target=level` parts such as `calotype=debug,calotype_hub=info`.
pub(crate) fn start(option: Option<&str>) -> Result<(), Failure> {
    let variable = env::var(VARIABLE).ok();
    let (from, Some(filter)) = (match option {
        Some(_) => ("--log", option),
        None => (VARIABLE, variable.as_deref().filter(|filter| !filter.is_empty())),
    }) else {
        return Ok(());
    };
    let targets = match filter.parse::<LevelFilter>() {
        // The levels of other crates' logs are not asked for by one word.
        Ok(level) => Targets::new().with_targets([("calotype", level), ("calotype_checkpoint", level)]),
        Err(_) => filter.parse::<Targets>().map_err(|_| {
            let problem = "expected a level (error, warn, info, debug, trace) or parts such as calotype=debug";
            Failure::usage(format!("{from}: {filter:?} is no filter for the log: {problem}"))
        })?,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_span_events(FmtSpan::CLOSE);
    tracing_subscriber::registry().with(targets).with(lines.with_ansi(false)).init();
    Ok(())
}

/// Starts the log of a server: warnings and requests, or as a filter says; as lines of JSON where that is asked for.
pub(crate) fn start_server(option: Option<&str>, is_json: bool) -> Result<(), Failure> {
    let variable = env::var(VARIABLE).ok().filter(|filter| !filter.is_empty());
    let filter = option.map(str::to_owned).or(variable).unwrap_or_else(|| "info".to_owned());
    let targets = match filter.parse::<LevelFilter>() {
        Ok(level) => ["calotype_server", "calotype_engine", "calotype_queue"]
            .into_iter()
            .fold(Targets::new().with_default(LevelFilter::WARN.min(level)), |targets, name| {
                targets.with_target(name, level)
            }),
        Err(_) => filter.parse::<Targets>().map_err(|_| {
            let problem = "expected a level (error, warn, info, debug, trace) or parts such as calotype_server=debug";
            Failure::usage(format!("--log: {filter:?} is no filter for the log: {problem}"))
        })?,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false);
    match is_json {
        true => tracing_subscriber::registry().with(targets).with(lines.json().flatten_event(true)).init(),
        false => tracing_subscriber::registry().with(targets).with(lines).init(),
    }
    Ok(())
}
