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
