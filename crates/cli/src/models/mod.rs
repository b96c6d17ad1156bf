//! `calotype models`.

mod inspect;
mod pull;

use std::sync::atomic::Ordering;

use calotype_checkpoint::{ConvertOptions, Listed, Progress};
use serde::Serialize;

use crate::{
    args::{Convert, List, Models, Verify},
    failure::{Failure, line},
    interrupt, license, model, progress, stdout,
};

pub(crate) fn run(command: &Models) -> Result<(), Failure> {
    match command {
        Models::Inspect(args) => inspect::run(args),
        Models::Verify(args) => verify(args),
        Models::Convert(args) => convert(args),
        Models::List(args) => list(args),
        Models::Pull(args) => pull::run(args),
        Models::License(args) => license::run(args),
    }
}

/// Prints a value as JSON.
fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(value).map_err(|error| Failure::Failed(format!("JSON: {error}")))?;
    stdout::print(&json)
}

/// Does `work` with a bar that shows how far it is, until Ctrl-C.
fn with_progress<T>(
    quiet: bool,
    message: &'static str,
    work: impl FnOnce(Progress<'_>) -> Result<T, calotype_checkpoint::Error>,
) -> Result<T, Failure> {
    let cancel = interrupt::cancel_flag()?;
    let bar = progress::bytes(quiet, message);
    let result = work(&mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        !cancel.load(Ordering::Relaxed)
    });
    bar.finish_and_clear();
    match result {
        Err(_) if cancel.load(Ordering::Relaxed) => Err(Failure::Interrupted("stopped by Ctrl-C".to_owned())),
        result => Ok(result?),
    }
}

fn verify(args: &Verify) -> Result<(), Failure> {
    let path = model::resolve(&args.path)?;
    let found = with_progress(args.quiet, "verify", |progress| {
        calotype_checkpoint::verify(&path, &args.options.options(), args.sha256.as_deref(), progress)
    })?;
    if args.json {
        return print_json(&found);
    }
    let what = if found.whole_model { "a whole model" } else { "a file of weights" };
    let (tensors, size) = (found.tensors, megabytes(found.bytes));
    let held_to = found.checked_against.as_ref().map_or_else(String::new, |from| format!(", as {from} says"));
    // A hash that was held to the publisher's is proof.
    if found.ends_in_zeros && found.checked_against.is_none() {
        let problem =
            "its last 64 KiB are zeros, as of a download that was cut off: give the publisher's hash by --sha256";
        line("warning", &format!("{}: {problem}", found.path));
    }
    let summed = if found.summed_bytes > 0 { ", all as the file's checksums say" } else { "" };
    stdout::print(&format!(
        "{}: {what}, {tensors} tensors of {size} read, all finite{summed}\nsha256      {}{held_to}",
        found.path, found.sha256
    ))
}

fn convert(args: &Convert) -> Result<(), Failure> {
    let how = ConvertOptions { to: args.to, dtype: args.dtype };
    let path = model::resolve(&args.path)?;
    let left_out = with_progress(args.quiet, "convert", |progress| {
        calotype_checkpoint::convert(&path, &args.options.options(), &args.output, how, progress)
    })?;
    left_out.iter().for_each(|what| line("left out", what));
    if args.quiet { Ok(()) } else { stdout::print(&args.output.display().to_string()) }
}

fn list(args: &List) -> Result<(), Failure> {
    let found = if args.folders.is_empty() {
        let cache = calotype_hub::Environment::read()?.cache;
        calotype_checkpoint::list(&[calotype_checkpoint::usual_places(), vec![cache]].concat())?
    } else {
        if let Some(missing) = args.folders.iter().find(|folder| !folder.is_dir()) {
            return Err(Failure::Failed(format!(
                "{}: there is no such folder: give one with models",
                missing.display()
            )));
        }
        calotype_checkpoint::list(&args.folders)?
    };
    if args.json {
        return print_json(&found);
    }
    if found.is_empty() {
        return stdout::print("no models found: give a folder, or see calotype models list --help");
    }
    let row = |listed: &Listed| {
        let license = listed.license.as_ref().map_or(String::new(), |license| format!(", {license}"));
        let what = format!("{}{license}", listed.what);
        [listed.name.clone(), what, megabytes(listed.bytes), listed.path.display().to_string()]
    };
    let rows: Vec<[String; 4]> = found.iter().map(row).collect();
    let width = |n: usize| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or(0);
    let (a, b, c) = (width(0), width(1), width(2));
    let line = |[name, what, size, path]: &[String; 4]| format!("{name:<a$}  {what:<b$}  {size:>c$}  {path}");
    let lines: Vec<String> = rows.iter().map(line).collect();
    stdout::print(&lines.join("\n"))
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
