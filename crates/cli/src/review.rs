//! `calotype review`.

use calotype_safety::{
    audit::Log,
    review::{Decision, Held, find, list},
};
use serde_json::{Value, json};

use crate::{
    args::{Review, ReviewDecide, ReviewList, ReviewRelease, ReviewShow},
    failure::{Failure, line},
    stdout,
};

pub(crate) fn run(command: &Review) -> Result<(), Failure> {
    match command {
        Review::List(args) => list_held(args),
        Review::Show(args) => show(args),
        Review::Release(args) => release(args),
        Review::Reject(args) => reject(args),
    }
}

fn list_held(args: &ReviewList) -> Result<(), Failure> {
    let (mut held, mut unread) = (Vec::new(), 0);
    for folder in &args.folders {
        for found in list(folder)? {
            match found {
                Ok(found) => held.push(found),
                Err(error) => {
                    unread += 1;
                    line("warning", &error.to_string());
                }
            }
        }
    }
    if args.json {
        stdout::print(&held.iter().map(as_json).collect::<Value>().to_string())?;
    } else {
        for held in &held {
            let image = held.image();
            stdout::print(&format!("{}  {}  {}: {}", image.id, image.time, image.path.display(), image.reason))?;
        }
    }
    match unread {
        0 => Ok(()),
        _ => Err(Failure::Failed(format!("{unread} of {} held images can't be read", held.len() + unread))),
    }
}

fn show(args: &ReviewShow) -> Result<(), Failure> {
    let held = args.which.ids.iter().map(|id| find(&args.which.folder, id)).collect::<Result<Vec<_>, _>>()?;
    if args.json {
        return stdout::print(&held.iter().map(as_json).collect::<Value>().to_string());
    }
    for held in &held {
        let image = held.image();
        let mut rows = vec![
            ("held", image.id.clone()),
            ("since", image.time.clone()),
            ("because", image.reason.clone()),
            ("blurred", image.path.display().to_string()),
            ("original", held.original_path().display().to_string()),
        ];
        let value = serde_json::to_value(&image.entry.prompt).unwrap_or_default();
        let prompt = [("prompt", "text"), ("prompt's hash", "sha256")];
        rows.extend(prompt.iter().filter_map(|(name, member)| Some((*name, value[member].as_str()?.to_owned()))));
        rows.extend(image.entry.seed.map(|seed| ("seed", seed.to_string())));
        for score in &image.entry.scores {
            let threshold = score.threshold.map_or(String::new(), |threshold| format!(" (threshold {threshold})"));
            rows.push(("score", format!("{} {:.4}{threshold}, {}", score.name, score.value, score.classifier)));
        }
        rows.extend(image.log.as_ref().map(|log| ("audit log", log.display().to_string())));
        let lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name:<14}{value}")).collect();
        stdout::print(&lines.join("\n"))?;
    }
    Ok(())
}

/// A held image as JSON, with where it is.
fn as_json(held: &Held) -> Value {
    let image = held.image();
    json!({
        "id": image.id,
        "time": image.time,
        "path": image.path.display().to_string(),
        "original": held.original_path().display().to_string(),
        "reason": image.reason,
        "scores": image.entry.scores,
        "prompt": image.entry.prompt,
        "negative_prompt": image.entry.negative_prompt,
        "seed": image.entry.seed,
        "audit": image.log.as_ref().map(|log| log.display().to_string()),
    })
}

fn release(args: &ReviewRelease) -> Result<(), Failure> {
    if args.output.is_some() && args.decide.which.ids.len() > 1 {
        return Err(Failure::usage("--output is the file of one image: give one id"));
    }
    decide(&args.decide, |held, log, decision| {
        let path = held.release(log, decision, args.output.as_deref())?;
        Ok(format!("released: {}", path.display()))
    })
}

fn reject(args: &ReviewDecide) -> Result<(), Failure> {
    decide(args, |held, log, decision| {
        held.reject(log, decision)?;
        Ok(format!("rejected: {}", held.image().path.display()))
    })
}

/// Decides on each image, and says what was done.
fn decide(
    args: &ReviewDecide,
    decide: impl Fn(&Held, &mut Log, &Decision) -> calotype_safety::Result<String>,
) -> Result<(), Failure> {
    let decision = Decision { who: who(args)?, reason: args.reason.clone() };
    let held = args.which.ids.iter().map(|id| find(&args.which.folder, id)).collect::<Result<Vec<_>, _>>()?;
    for held in &held {
        let recorded = held.image().log.as_ref().filter(|log| log.exists());
        let Some(path) = args.audit.as_ref().or(recorded) else {
            let id = &held.image().id;
            let problem = format!("the audit log that has the line of {id} is not there any more: give --audit LOG");
            return Err(Failure::usage(problem));
        };
        // Of its own each time: the images may be of several logs.
        let mut log = Log::open(path)?;
        let said = decide(held, &mut log, &decision)?;
        stdout::print(&said)?;
    }
    Ok(())
}

/// Who decides.
fn who(args: &ReviewDecide) -> Result<String, Failure> {
    let given = args.by.clone().or_else(user).filter(|name| !name.trim().is_empty());
    given.ok_or_else(|| Failure::usage("nobody is named who decides, and the system names no user: give --by NAME"))
}

/// The name of the user, as the system has it.
pub(crate) fn user() -> Option<String> {
    ["USER", "LOGNAME", "USERNAME"].iter().find_map(|name| std::env::var(name).ok())
}
