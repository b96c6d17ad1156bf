//! `calotype remake`.

use std::{path::Path, time::Instant};

use calotype::{
    Model, Pipeline,
    metadata::{JSON_KEYWORD, LatentsMetadata, Metadata, PARAMETERS_KEYWORD},
};
use calotype_image::{Limits, read_limited, read_png_text, read_user_comment};

use crate::{
    args::Remake,
    failure::{Failure, line},
    generate::{Job, LatentsFile, Lines, device, options},
    interrupt, model,
};

pub(crate) fn run(args: &Remake, process_start: Instant) -> Result<(), Failure> {
    interrupt::exit_at_once()?;
    let refuse = |problem: String| Failure::Failed(format!("{}: {problem}", args.file.display()));
    let made = read(&args.file)?;
    let (Made::Here(metadata) | Made::Elsewhere(metadata, _)) = &made;
    let mut model_options = args.model.options.options();
    model_options.zero_terminal_snr |= args.model.model.is_some() && metadata.is_zero_terminal_snr();
    let model = model::open_with(&args.model, model_options)?;
    let mut options = options(&args.compute, 1)?;
    let here = matches!(made, Made::Here(_));
    let metadata = match made {
        Made::Here(metadata) => {
            check_model(&metadata, &model).map_err(refuse)?;
            if args.compute.precision.0.is_none() {
                options.precision = metadata.precision.unwrap_or(options.precision);
            }
            metadata
        }
        Made::Elsewhere(metadata, unread) => {
            for (key, value) in unread {
                let why = match key.as_str() {
                    "Denoising strength" => {
                        " (of the picture that it was made from, which is not in its file: see img2img)"
                    }
                    _ => "",
                };
                line("warning", &format!("not honoured: {key}: {value}{why}"));
            }
            let known = model.hash()?.starts_with(&metadata.model_hash);
            if !metadata.model_hash.is_empty() && !known {
                let (name, hash) = (&metadata.model, &metadata.model_hash);
                line("warning", &format!("made with model {name} ({hash}), not with {}", model.name()));
            }
            metadata
        }
    };
    let (mut request, place) = metadata.request(&args.picture).map_err(|error| match metadata.request.init {
        Some(_) if !error.is_request() => Failure::Failed(format!("{error}; if it was moved, give it by --picture")),
        _ => error.into(),
    })?;
    request.adapters.folders = args.folders.folders(args.model.model.as_deref());
    let latents = metadata.latents.as_ref().map(latents).transpose()?;
    let (lines, made) = (Lines::one(&request.prompt), here.then_some(&metadata));
    let (output, pictures) = (&args.output, &[]);
    let pipeline = Pipeline::new(device(&args.compute)?, model, options);
    Job { pipeline, request, place, lines, count: 1, pictures, latents, output, made }.run(process_start)
}

/// Who made a picture, and how.
enum Made {
    /// This program.
    Here(Metadata),
    /// Another one that writes A1111's text; the settings in it that can't be honoured.
    Elsewhere(Metadata, Vec<(String, String)>),
}

fn read(file: &Path) -> Result<Made, Failure> {
    let failed = |problem: String| Failure::Failed(format!("{}: {problem}", file.display()));
    let bytes = read_limited(file, &Limits::default()).map_err(|error| Failure::Failed(error.to_string()))?;
    // Of a JPEG or WebP file there are none.
    let texts = read_png_text(&bytes).unwrap_or_default();
    let find = |keyword: &str| texts.iter().find(|(key, _)| key == keyword).map(|(_, text)| text.as_str());
    if let Some(json) = find(JSON_KEYWORD) {
        return Metadata::from_json(json).map(Made::Here).map_err(|error| failed(error.to_string()));
    }
    let text = match find(PARAMETERS_KEYWORD) {
        Some(text) => Some(text.to_owned()),
        None => read_user_comment(&bytes).map_err(|error| failed(error.to_string()))?,
    };
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else {
        return Err(failed("the file does not say how the picture was made: give one of calotype or A1111".to_owned()));
    };
    let read = Metadata::from_parameters(&text);
    Ok(Made::Elsewhere(read.metadata, read.unread))
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
