//! `calotype models pull`.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    ops::ControlFlow,
    path::Path,
};

use calotype_hub::{Environment, Event, Hub, ModelId, ModelInfo, Options, Plan, Selection, Watch};
use indicatif::{HumanBytes, ProgressBar};
use serde_json::json;

use crate::{args::Pull, failure::Failure, interrupt, license, progress, stdout};

pub(crate) fn run(args: &Pull) -> Result<(), Failure> {
    interrupt::exit_saying("stopped by Ctrl-C; what is downloaded is kept, and the same command goes on from there")?;
    let environment = Environment::read()?;
    let id: ModelId = args.id.parse()?;
    let hub = Hub::new(&environment, Options::default())?;
    // Which files others would be only the hub knows.
    if environment.offline
        && args.include.is_empty()
        && args.variant.is_none()
        && let Some(path) = hub.cache().find(&id)
    {
        return print(args, &path, || json!({"id": id.repository(), "revision": id.revision(), "path": shown(&path)}));
    }
    let quiet = args.quiet || !environment.progress_bars;
    let mut asking = Asking(progress::spinner(quiet, &format!("asking for {id}")));
    let model = hub.model(&id, &mut asking)?;
    let selection = Selection { include: args.include.clone(), variant: args.variant.clone() };
    let plan = hub.plan(&model, &selection, &mut asking)?;
    asking.0.finish_and_clear();
    license(&hub, &model, &plan, args)?;
    let mut downloading = Downloading::new(quiet, &plan);
    let path = hub.download(&plan, &mut downloading);
    downloading.bar.finish_and_clear();
    let path = path?;
    print(args, &path, || {
        let files: Vec<_> =
            plan.files.iter().map(|f| json!({"path": f.path, "size": f.size, "cached": f.is_cached()})).collect();
        json!({
            "id": id.repository(),
            "revision": id.revision(),
            "commit": plan.commit,
            "license": {"name": model.license.name, "link": model.license.link},
            "path": shown(&path),
            "downloaded": missing(&plan),
            "files": files,
        })
    })
}

fn print(args: &Pull, path: &Path, json: impl FnOnce() -> serde_json::Value) -> Result<(), Failure> {
    if args.json {
        stdout::print(&json().to_string())
    } else if args.quiet {
        Ok(())
    } else {
        stdout::print(&shown(path))
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// The bytes that the cache lacks.
fn missing(plan: &Plan) -> u64 {
    plan.files.iter().filter(|file| !file.is_cached()).map(|file| file.size).fold(0, u64::saturating_add)
}

/// Sees to it that the licence is accepted: by the flag, by an earlier pull, or by an answer now.
fn license(hub: &Hub, model: &ModelInfo, plan: &Plan, args: &Pull) -> Result<(), Failure> {
    if hub.is_accepted(model) || plan.files.iter().all(calotype_hub::Planned::is_cached) {
        return Ok(());
    }
    if !args.accept_license && !asked(model, plan)? {
        return Err(Failure::Failed(format!("{}: the licence is not accepted, so nothing was downloaded", model.id)));
    }
    Ok(hub.accept(model)?)
}

/// Whether somebody at the terminal accepts the licence.
fn asked(model: &ModelInfo, plan: &Plan) -> Result<bool, Failure> {
    let (input, output) = (io::stdin(), io::stderr());
    if !input.is_terminal() || !output.is_terminal() {
        let (id, license) = (&model.id, &model.license);
        let message =
            format!("{id} has the licence {license}, and nobody is there to ask: add --accept-license to accept it");
        return Err(Failure::usage(message));
    }
    let count = plan.files.iter().filter(|file| !file.is_cached()).count();
    let size = HumanBytes(missing(plan));
    let mut output = output.lock();
    let mut line = String::new();
    let answer = writeln!(output, "{}: {count} files, {size} to download\nlicence: {}", model.id, model.license)
        .and_then(|()| write!(output, "accept the licence? [y/N] "))
        .and_then(|()| output.flush())
        .and_then(|()| input.lock().read_line(&mut line));
    answer.map_err(license::no_answer)?;
    Ok(license::is_yes(&line))
}

/// A server that keeps somebody waiting.
fn waiting(event: Event<'_>) -> Option<String> {
    match event {
        Event::Retrying { problem, wait } => Some(format!("{problem}; again in {} s", wait.as_secs_f64().ceil())),
        Event::Locked { path } => Some(format!("{path}: another process downloads it")),
        Event::Checking { path } => Some(format!("{path}: reading what is there")),
        _ => None,
    }
}

/// Shows what is asked.
struct Asking(ProgressBar);

impl Watch for Asking {
    fn event(&mut self, event: Event<'_>) -> ControlFlow<()> {
        if let Some(message) = waiting(event) {
            self.0.set_message(message);
        }
        ControlFlow::Continue(())
    }
}

/// Shows how much there is of all files.
struct Downloading {
    bar: ProgressBar,
    /// The bytes of the files before.
    before: u64,
    /// The size of this file.
    size: u64,
}

impl Downloading {
    fn new(quiet: bool, plan: &Plan) -> Self {
        let total = missing(plan);
        let bar = progress::bytes(quiet || total == 0, "");
        bar.set_length(total);
        Self { bar, before: 0, size: 0 }
    }
}

impl Watch for Downloading {
    fn event(&mut self, event: Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Downloading { path, done, size } => {
                self.size = size;
                self.bar.set_message(path.to_owned());
                self.bar.set_position(self.before + done);
            }
            Event::Done { .. } => {
                self.before += std::mem::take(&mut self.size);
                self.bar.set_position(self.before);
            }
            event => {
                if let Some(message) = waiting(event) {
                    self.bar.set_message(message);
                }
            }
        }
        ControlFlow::Continue(())
    }
}
