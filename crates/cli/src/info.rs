//! `calotype info`.

use std::path::Path;

use calotype::{
    adapters::AdapterMetadata,
    metadata::{Metadata, Reading, WatermarkMetadata},
};
use serde_json::{Value, json};

use crate::{args::Info, failure::Failure, interrupt, manifest::Manifest, remake, stdout};

pub(crate) fn run(args: &Info) -> Result<(), Failure> {
    interrupt::exit_at_once()?;
    let (mut failed, all) = (0, args.files.len());
    for file in &args.files {
        match remake::read(file) {
            Ok(reading) => {
                let manifest = Manifest::read(file);
                stdout::print(&match args.json {
                    true => as_json(file, &reading, manifest.as_ref()).to_string(),
                    false => for_people(file, &reading, manifest.as_ref()),
                })?;
            }
            Err(failure) if all == 1 => return Err(failure),
            Err(failure) => {
                let _ = failure.report();
                failed += 1;
            }
        }
    }
    match failed {
        0 => Ok(()),
        failed => Err(Failure::Failed(format!("nothing could be read of {failed} of {all} files"))),
    }
}

fn as_json(file: &Path, reading: &Reading, manifest: Option<&Manifest>) -> Value {
    let unread = reading.unread.iter().map(|(name, value)| json!({"name": name, "value": value}));
    json!({
        "file": file.display().to_string(),
        "program": reading.program.name(),
        "metadata": serde_json::from_str::<Value>(&reading.metadata.to_json()).unwrap_or_default(),
        "unread": unread.collect::<Vec<_>>(),
        "notes": reading.notes,
        "digital_source_type": reading.digital_source_type,
        "c2pa": manifest.map(Manifest::as_json),
    })
}

fn for_people(file: &Path, reading: &Reading, manifest: Option<&Manifest>) -> String {
    let Reading { program, metadata, unread, notes, digital_source_type, .. } = reading;
    let Metadata { request, version, .. } = metadata;
    let mut lines = vec![format!("{}: {}", file.display(), made_by(program.name(), version))];
    let mut say = |name: &str, value: &str| {
        // A value of several lines stays together.
        let value = value.lines().map(printable).collect::<Vec<_>>().join("\n    ");
        lines.push(format!("  {}{}{value}", printable(name), if value.is_empty() { "" } else { ": " }));
    };
    say("Prompt", &request.prompt);
    say("Negative prompt", &request.negative_prompt);
    for (name, value) in metadata.settings() {
        say(name, &value);
    }
    for adapter in &metadata.adapters {
        say(adapter.kind.id(), &strength(adapter));
    }
    if let Some(init) = &request.init {
        say("Picture to start from", &init.picture.reference().file);
    }
    if let Some(source) = digital_source_type {
        say("Digital source type", source);
    }
    if let Some(WatermarkMetadata { scheme, id, .. }) = &metadata.watermark {
        say("Watermark", &id.as_ref().map_or_else(|| scheme.clone(), |id| format!("{scheme}, id {id}")));
    }
    if let Some(manifest) = manifest {
        say("C2PA manifest", &manifest.for_people());
    }
    for (name, value) in unread {
        say(&format!("not taken: {name}"), value);
    }
    for note in notes {
        say("note", note);
    }
    lines.join("\n")
}

fn made_by(program: &str, version: &str) -> String {
    // Some say their name before their version.
    match version.get(..program.len()).is_some_and(|start| start.eq_ignore_ascii_case(program)) {
        true => printable(version),
        false => printable(format!("{program} {version}").trim()),
    }
}

/// An adapter's name, how strongly it is applied, and its hash.
fn strength(adapter: &AdapterMetadata) -> String {
    let number = |strength: Option<f32>| strength.map(|strength| format!(" {strength}")).unwrap_or_default();
    let strengths = match (adapter.text_encoder, adapter.unet) {
        (text_encoder, unet) if text_encoder == unet => number(unet),
        (text_encoder, unet) => format!("{} (text encoder){} (UNet)", number(text_encoder), number(unet)),
    };
    let hash = if adapter.short_hash.is_empty() { String::new() } else { format!(" ({})", adapter.short_hash) };
    format!("{}{strengths}{hash}", adapter.name)
}

/// What a file says may have characters that are orders to a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
