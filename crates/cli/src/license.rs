//! Licences of models: those of the Open RAIL-M family have use restrictions, which are shown once; that they were accepted is noted.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    path::PathBuf,
};

use calotype::{
    Model,
    checkpoint::{License, LicenseSource, USE_RESTRICTIONS, data_folder},
};
use calotype_hub::license as notes;
use serde_json::json;

use crate::{
    args::LicenseArgs,
    failure::{Failure, line},
    model, stdout,
};

/// The file with the notes, in the user's data folder.
const FILE: &str = "licenses.json";
/// Accepts licences as `--accept-license` does, unless it is empty.
const VARIABLE: &str = "CALOTYPE_ACCEPT_LICENSE";

/// Where it is noted what this user accepted, if there is a place.
fn notes_file() -> Option<PathBuf> {
    let file = data_folder().join(FILE);
    // Without a home folder it would lie where the program was called.
    file.is_absolute().then_some(file)
}

/// As the notes have it.
fn noted(license: &License) -> notes::License {
    notes::License { name: license.name.clone(), link: license.link.clone().unwrap_or_default() }
}

fn is_accepted(license: &License) -> bool {
    notes_file().is_some_and(|file| notes::is_accepted(&file, &noted(license)))
}

/// Sees to it that a model's licence is accepted, if it has use restrictions: they are shown; where somebody sits at the terminal and
/// nothing says that it is accepted, that is asked; else whoever goes on accepts it. `accepted` is told of a licence that was not
/// accepted before.
///
/// # Errors
/// It is not accepted, or what `accepted` gives.
pub(crate) fn check(
    model: &Model,
    is_given: bool,
    accepted: impl FnOnce(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let Some(license) = model.license()?.filter(License::is_open_rail_m) else { return Ok(()) };
    if is_accepted(&license) {
        return Ok(());
    }
    show(model.name(), &license);
    let is_given = is_given || std::env::var_os(VARIABLE).is_some_and(|value| !value.is_empty());
    if !is_given && !asked()? {
        let message = format!("the licence {} of {} is not accepted, so nothing is made", license.name, model.name());
        return Err(Failure::Failed(message));
    }
    accepted(&license.name)?;
    note(&noted(&license), model.name());
    Ok(())
}

/// Notes that a licence is accepted. Where that can't be it is shown again next time.
fn note(license: &notes::License, model: &str) {
    let Some(file) = notes_file() else {
        return line(
            "warning",
            "there is no home folder to note in that the licence is accepted: it will be shown again",
        );
    };
    let folder = file.parent().map_or(Ok(()), std::fs::create_dir_all);
    let noted = folder.map_err(|error| format!("{}: {error}", file.display()));
    let noted = noted.and_then(|()| notes::accept(&file, license, model).map_err(|error| error.to_string()));
    if let Err(error) = noted {
        line("warning", &format!("it can't be noted that the licence is accepted, so it will be shown again: {error}"));
    }
}

/// Shows the use restrictions.
fn show(model: &str, license: &License) {
    line("licence", &format!("{model} is under {}", in_words(license)));
    line(
        "licence",
        "whoever uses it or passes on what it makes keeps to its use restrictions; in short, it must not be used for",
    );
    USE_RESTRICTIONS.iter().for_each(|restriction| line("licence", &format!("- {restriction}")));
}

/// Its name, where it is, and what says so.
pub(crate) fn in_words(license: &License) -> String {
    let source = match &license.source {
        LicenseSource::File(name) => name.as_str(),
        LicenseSource::Metadata => "its metadata",
        LicenseSource::Name => "its name",
        LicenseSource::Hash => "its hash",
        LicenseSource::Program => "this program",
        _ => "what came with it",
    };
    match &license.link {
        Some(link) => format!("{} ({link}), as {source} says", license.name),
        None => format!("{}, as {source} says", license.name),
    }
}

/// Whether somebody accepts: without a terminal nobody can be asked, and going on is the answer.
fn asked() -> Result<bool, Failure> {
    let (input, mut output) = (io::stdin(), io::stderr());
    if !input.is_terminal() || !output.is_terminal() {
        line("licence", "this is shown once: going on accepts it (calotype models license MODEL shows it again)");
        return Ok(true);
    }
    let mut answer = String::new();
    write!(output, "accept the licence? [y/N] ")
        .and_then(|()| output.flush())
        .and_then(|()| input.lock().read_line(&mut answer))
        .map_err(no_answer)?;
    Ok(is_yes(&answer))
}

/// A terminal that can't be read.
pub(crate) fn no_answer(error: io::Error) -> Failure {
    Failure::Failed(format!("the terminal does not answer: {error}"))
}

/// Whether a line is a yes.
pub(crate) fn is_yes(line: &str) -> bool {
    ["y", "yes"].contains(&line.trim().to_ascii_lowercase().as_str())
}

/// `calotype models license`.
pub(crate) fn run(args: &LicenseArgs) -> Result<(), Failure> {
    let model = match &args.path {
        Some(path) => Model::open(model::resolve(path)?)?,
        None => model::built_in()?,
    };
    let Some(license) = model.license()? else {
        return Err(Failure::Failed(format!("{}: its licence is not stated", model.name())));
    };
    if args.accept {
        note(&noted(&license), model.name());
    }
    let restrictions: &[&str] = if license.is_open_rail_m() { &USE_RESTRICTIONS } else { &[] };
    if args.json {
        let said = json!({
            "model": model.name(),
            "license": license,
            "restrictions": restrictions,
            "accepted": is_accepted(&license),
        });
        return stdout::print(&said.to_string());
    }
    let mut lines = vec![format!("{}: {}", model.name(), in_words(&license))];
    if !restrictions.is_empty() {
        lines.push("it must not be used, in short, for".to_owned());
        lines.extend(restrictions.iter().map(|restriction| format!("- {restriction}")));
    }
    if is_accepted(&license) {
        lines.push("accepted".to_owned());
    } else if !restrictions.is_empty() {
        lines.push("not accepted yet: --accept does it".to_owned());
    }
    stdout::print(&lines.join("\n"))
}
