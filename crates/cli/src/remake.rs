//! `calotype remake`.

use std::{path::Path, time::Instant};

use calotype::{
    Model, Request,
    adapters::{AdapterKind, AdapterMetadata, MissingAdapter},
    metadata::{self, LatentsMetadata, Metadata, Reading},
};
use calotype_image::{Limits, read_limited};

use crate::{
    args::Remake,
    devices,
    failure::{Failure, line},
    generate::{Job, LatentsFile, Lines, Publishing, device, options},
    interrupt, model,
};

pub(crate) fn run(args: &Remake, process_start: Instant) -> Result<(), Failure> {
    interrupt::exit_at_once()?;
    let refuse = |problem: String| Failure::Failed(format!("{}: {problem}", args.file.display()));
    let reading = read(&args.file)?;
    let mut metadata = reading.metadata.clone();
    let mut model_options = args.model.options.options();
    model_options.zero_terminal_snr |= args.model.model.is_some() && metadata.is_zero_terminal_snr();
    let model = model::open_with(&args.model, model_options)?;
    let (mut options, mut precision) = (options(&args.compute, 1)?, args.compute.all.precision.0);
    if reading.is_complete {
        check_model(&metadata, &model).map_err(refuse)?;
        precision = precision.or(metadata.precision);
        options.precision = precision.unwrap_or(options.precision);
        options.vae_precision = options.vae_precision.or(metadata.vae_precision);
    } else {
        warn(&reading);
        warn_of_model(&metadata, &model)?;
    }
    let (mut request, place) = metadata.request(&args.picture).map_err(|error| match metadata.request.init {
        Some(_) if !error.is_request() => Failure::Failed(format!("{error}; if it was moved, give it by --picture")),
        _ => error.into(),
    })?;
    request.adapters.folders = args.folders.folders(args.model.model.as_deref());
    let (width, height) = model.default_size();
    let before = request.clone();
    args.change(&mut request, [width, height], model.size_multiple())?;
    leave_out_missing(&mut request, &mut metadata, args.ignore_missing)?;
    // Changed, it is a new image, and marked as such.
    let is_as_made = reading.is_complete && request == before;
    let latents = metadata.latents.as_ref().map(latents).transpose()?;
    // Another prompt may call for others.
    let is_same = reading.is_complete && !args.changes_prompts();
    let (lines, made) = (Lines::one(&request.prompt), is_same.then_some(&metadata));
    let (output, pictures) = (&args.output, &[]);
    let device = device(&args.compute.all)?;
    let run_options = args.upscaler.open(&mut request, &device)?;
    let as_made = is_as_made.then_some(&reading.metadata);
    let model_path = args.model.model.as_deref();
    let publishing = Publishing::open(&args.safety, &args.marks, model_path, as_made, &args.picture, &device)?;
    publishing.check_license(&model, args.safety.accept_license)?;
    let pipelines = devices::pipeline(&args.device, precision, &device, model.into(), options)?;
    let count = 1;
    let job = Job { pipelines, request, run_options, place, lines, count, pictures, latents, output, made, publishing };
    job.run(process_start)
}

/// Takes out what the picture was made with and is not there, if that is wanted.
///
/// # Errors
/// It is not wanted.
fn leave_out_missing(request: &mut Request, metadata: &mut Metadata, is_wanted: bool) -> Result<(), Failure> {
    let mut missing = request.take_out_missing_adapters();
    // Embeddings are called by the prompt, whose words they would be.
    let folders = &request.adapters.folders;
    let is_embedding = |adapter: &&AdapterMetadata| adapter.kind == AdapterKind::Embedding;
    let named = metadata.adapters.iter().filter(is_embedding).map(|adapter| &adapter.name);
    let texts = [&request.prompt, &request.negative_prompt].map(|text| text.to_lowercase());
    let named = named.filter(|name| texts.iter().any(|text| text.contains(&name.to_lowercase())));
    let lost = named.filter(|name| {
        let is_given =
            |missing: &MissingAdapter| missing.kind == AdapterKind::Embedding && missing.name.contains(*name);
        let given = &request.adapters.embeddings;
        let is_found = given.iter().any(|given| given.file.file_stem().is_some_and(|stem| stem == name.as_str()));
        !(is_found || folders.has(AdapterKind::Embedding, name) || missing.iter().any(is_given))
    });
    let lost: Vec<_> = lost.map(|name| MissingAdapter { kind: AdapterKind::Embedding, name: name.clone() }).collect();
    missing.extend(lost);
    for MissingAdapter { kind, name } in &missing {
        let (what, folder) = match kind {
            AdapterKind::Lora => ("LoRA", "--lora-dir"),
            AdapterKind::Hypernet => ("hypernetwork", "--hypernetwork-dir"),
            AdapterKind::Embedding => ("embedding", "--embedding-dir"),
        };
        if !is_wanted {
            let message = format!("the {what} {name:?}, which the picture was made with, is not there");
            let hint = format!("say where it is by {folder}, or leave it out by --ignore-missing");
            return Err(Failure::Usage { message, hint: Some(hint) });
        }
        line("warning", &format!("left out, since it is not there: the {what} {name:?}"));
        metadata.adapters.retain(|made| made.kind != *kind || !(made.name == *name || made.file == *name));
    }
    Ok(())
}

/// What a picture's file says of it.
pub(crate) fn read(file: &Path) -> Result<Reading, Failure> {
    let bytes = read_limited(file, &Limits::default()).map_err(|error| Failure::Failed(error.to_string()))?;
    metadata::read(&bytes).map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))
}

/// Says what can't be as another program made it.
fn warn(reading: &Reading) {
    for (name, value) in &reading.unread {
        let why = match name.as_str() {
            "Denoising strength" | "denoise" | "strength" | "-f" => {
                " (of the picture that it was made from, which is not in its file: see img2img)"
            }
            _ => "",
        };
        let value = if value.is_empty() { String::new() } else { format!(": {}", shortened(value)) };
        line("warning", &format!("not honoured: {name}{value}{why}"));
    }
    reading.notes.iter().for_each(|note| line("warning", note));
}

/// Enough of a value to recognise it: it may be a whole graph.
fn shortened(value: &str) -> String {
    const MOST: usize = 200;
    match value.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

/// Says so if another program made a picture with another model, as far as it says with which.
fn warn_of_model(metadata: &Metadata, model: &Model) -> Result<(), Failure> {
    let Metadata { model: name, model_hash: hash, .. } = metadata;
    let given = model.name();
    let made = match (name.is_empty(), hash.is_empty()) {
        (true, true) => {
            line("warning", &format!("the file does not say with which model it was made: it is remade with {given}"));
            return Ok(());
        }
        (_, false) if model.has_hash(hash)? => return Ok(()),
        (false, true) if bare_name(name).eq_ignore_ascii_case(bare_name(given)) => return Ok(()),
        (false, true) => format!("model {name}"),
        (true, false) => format!("a model of hash {hash}"),
        (false, false) => format!("model {name} ({hash})"),
    };
    line("warning", &format!("made with {made}, not with {given}"));
    Ok(())
}

/// A model's name without folders and the ending of its file, which some programs write.
fn bare_name(name: &str) -> &str {
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let endings = [".safetensors", ".ckpt", ".pt", ".pth", ".bin"];
    endings.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name)
}

/// The model must be the one that made the picture.
fn check_model(metadata: &Metadata, model: &Model) -> Result<(), String> {
    let hash = model.hash().map_err(|error| error.to_string())?;
    if metadata.model_hash == hash {
        return Ok(());
    }
    let short = |hash: &str| hash.chars().take(10).collect::<String>();
    let (made, given) = (short(&metadata.model_hash), short(hash));
    Err(format!(
        "made with model {:?} ({made}), but {:?} is {given}: give that model with --model",
        metadata.model,
        model.name()
    ))
}

/// The starting noise, if it is still the same.
fn latents(metadata: &LatentsMetadata) -> Result<LatentsFile, Failure> {
    let file = LatentsFile::open(Path::new(&metadata.file))?;
    let failed = |problem: &str| Failure::Failed(format!("{}: {problem}", metadata.file));
    let file = file.picture(metadata.index).ok_or_else(|| failed("the picture's starting noise is not in it"))?;
    match calotype::latents::latents_sha256(&file.latents) == metadata.sha256 {
        true => Ok(file),
        false => Err(failed("not the noise that the picture started from: its SHA-256 is another")),
    }
}
