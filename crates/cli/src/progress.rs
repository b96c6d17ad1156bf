//! Progress on stderr. indicatif draws nothing when stderr is not a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// How often the clock moves while nothing else does.
const TICK: Duration = Duration::from_millis(200);

/// A line that says what goes on, with a clock.
pub(crate) fn spinner(quiet: bool, message: &str) -> ProgressBar {
    let bar = new(quiet, None);
    bar.set_style(style("{spinner} {msg} ({elapsed})"));
    bar.set_message(message.to_owned());
    bar.enable_steady_tick(TICK);
    bar
}

/// A bar over the steps of a sampler.
pub(crate) fn steps(quiet: bool, total: usize) -> ProgressBar {
    let bar = new(quiet, Some(total as u64));
    bar.set_style(style("{msg}{wide_bar} {pos}/{len} {rate}, {eta} left"));
    bar.enable_steady_tick(TICK);
    bar
}

/// A bar over the steps of a training run, from the one it goes on after.
pub(crate) fn training(quiet: bool) -> ProgressBar {
    let bar = new(quiet, Some(0));
    bar.set_style(style("{msg} {wide_bar} {pos}/{len}"));
    bar
}

/// A bar over bytes that are read or written.
pub(crate) fn bytes(quiet: bool, message: &'static str) -> ProgressBar {
    let bar = new(quiet, Some(0));
    bar.set_style(style("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left"));
    bar.set_message(message);
    bar
}

fn new(quiet: bool, length: Option<u64>) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    ProgressBar::with_draw_target(length, target)
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("█▉▊▋▌▍▎▏ ").with_key("rate", |state: &ProgressState, line: &mut dyn std::fmt::Write| {
        // Writing to a line in memory can't fail. Slow steps read better the other way round.
        let rate = state.per_sec();
        let _ = if rate >= 1.0 || rate <= 0.0 {
            write!(line, "{rate:.1} steps/s")
        } else {
            write!(line, "{:.1} s/step", rate.recip())
        };
    })
}
