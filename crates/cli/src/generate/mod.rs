//! The commands that make pictures.

mod batches;
mod hints;
mod job;
mod line;
mod publishing;
mod styles;

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Instant,
};

use calotype::{Model, Request, request::BatchPlace, sampling::SeedPer};

use crate::{
    args::{GenerateArgs, Img2img, InpaintCommand, LineArgs, Outpaint, Txt2img},
    devices,
    failure::{Failure, line},
    interrupt, model,
};
pub(crate) use batches::Lines;
pub(crate) use job::{Job, LatentsFile, device, options};
use line::Line;
pub(crate) use publishing::Publishing;

/// The largest file of prompts, in bytes.
const MAX_PROMPTS: u64 = 64 << 20;
/// What the names of pictures in a folder end with.
const PICTURES: [&str; 8] = ["png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff"];

pub(crate) fn txt2img(args: &Txt2img, process_start: Instant) -> Result<(), Failure> {
    run(&args.generate, process_start, |model, request| {
        let (width, height) = model.default_size();
        let size = [request.width.unwrap_or(width), request.height.unwrap_or(height)];
        request.hires = args.hires.hires(size, model.size_multiple());
        Ok(())
    })
}

pub(crate) fn img2img(args: &Img2img, process_start: Instant) -> Result<(), Failure> {
    let pictures = pictures(&args.init.init_img)?;
    run_on(&args.generate, process_start, &pictures, |_, request| {
        request.init = Some(args.init.init(&pictures[0])?);
        Ok(())
    })
}

pub(crate) fn inpaint(args: &InpaintCommand, process_start: Instant) -> Result<(), Failure> {
    let pictures = pictures(&args.init.init_img)?;
    run_on(&args.generate, process_start, &pictures, |_, request| {
        let mut init = args.init.init(&pictures[0])?;
        init.inpaint = Some(args.mask.inpaint()?);
        request.init = Some(init);
        Ok(())
    })
}

pub(crate) fn outpaint(args: &Outpaint, process_start: Instant) -> Result<(), Failure> {
    let pictures = pictures(&args.outpaint.init_img)?;
    run_on(&args.generate, process_start, &pictures, |_, request| {
        request.init = Some(args.outpaint.init(&pictures[0])?);
        Ok(())
    })
}

/// A picture, or those of a folder by their names, one at least.
pub(crate) fn pictures(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |error: io::Error| Failure::Failed(format!("{}: cannot be listed: {error}", path.display()));
    let mut pictures = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let ending = file.extension().unwrap_or_default();
        if PICTURES.iter().any(|known| ending.eq_ignore_ascii_case(known)) {
            pictures.push(file);
        }
    }
    pictures.sort_unstable();
    match pictures.is_empty() {
        true => Err(Failure::usage(format!(
            "{}: there are no pictures in it (PNG, JPEG, WebP, GIF, BMP, TIFF)",
            path.display()
        ))),
        false => Ok(pictures),
    }
}

fn run(
    args: &GenerateArgs,
    process_start: Instant,
    mode: impl FnOnce(&Model, &mut Request) -> Result<(), Failure>,
) -> Result<(), Failure> {
    run_on(args, process_start, &[], mode)
}

/// Makes the pictures of all prompts, from each of `pictures` if there are several; `mode` says what the command has of
/// its own.
fn run_on(
    args: &GenerateArgs,
    process_start: Instant,
    pictures: &[PathBuf],
    mode: impl FnOnce(&Model, &mut Request) -> Result<(), Failure>,
) -> Result<(), Failure> {
    interrupt::exit_at_once()?;
    let mut request = args.request()?;
    let count = args.picture.batch_count;
    // With one stream of noise for all, what CompVis' scripts make of a file is to the letter.
    let shares_batches = request.seed_per == SeedPer::Batch && args.prompt.from_file.is_some();
    let lines = match &args.prompt.from_file {
        Some(file) => read_lines(file, &args.for_lines(), shares_batches)?,
        None => vec![Line::of_prompt(&request.prompt)],
    };
    let lines = Lines::new(lines, &args.prompt, shares_batches)?;
    if let Some(hint) = lines.requests(&request).find_map(|request| hints::of_prompts(&request)) {
        line("hint", &hint);
    }
    let model = model::open(&args.model)?;
    let latents = args.latents.latents.as_deref().map(LatentsFile::open).transpose()?;
    let given = latents.as_ref().map(|file| file.latents.shape()[0]);
    request.batch_size = args.picture.batch_size.unwrap_or(1);
    if let (None, Some(given)) = (args.picture.batch_size, given) {
        request.batch_size = (given / lines.batches(count, pictures.len())?.max(1)).max(1);
    }
    mode(&model, &mut request)?;
    let pictures = if pictures.len() > 1 { pictures } else { &[] };
    let batches = lines.batches(count, pictures.len())?;
    let (output, options) = (&args.output, options(&args.compute, batches)?);
    let device = device(&args.compute.all)?;
    let run_options = args.upscaler.open(&mut request, &device)?;
    let publishing = Publishing::open(&args.safety, &args.marks, args.model.model.as_deref(), None, &[], &device)?;
    publishing.check_license(&model, args.safety.accept_license)?;
    let pipelines = devices::pipeline(&args.device, args.compute.all.precision.0, &device, model.into(), options)?;
    let place = BatchPlace::default();
    let made = None;
    let job = Job { pipelines, request, run_options, place, lines, count, pictures, latents, output, made, publishing };
    job.run(process_start)
}

/// The lines of a file, or of stdin where it is `-`; empty ones at the end are none, unless they are to be kept.
fn read_lines(file: &Path, args: &LineArgs, keeps_empty: bool) -> Result<Vec<Line>, Failure> {
    let text = read_text(file, MAX_PROMPTS)?;
    let lines = Line::all(&text, args, keeps_empty)
        .map_err(|problem| Failure::usage(format!("{}: {problem}", file.display())))?;
    if lines.is_empty() {
        return Err(Failure::usage(format!("{}: there are no prompts: write one on each line", file.display())));
    }
    Ok(lines)
}

/// A text of at most so many bytes.
fn read_text(file: &Path, most: u64) -> Result<String, Failure> {
    let failed = |problem: String| Failure::Failed(format!("{}: {problem}", file.display()));
    let mut text = String::new();
    let read = if file.as_os_str() == "-" {
        io::stdin().take(most + 1).read_to_string(&mut text).map(drop)
    } else {
        calotype_files::read_text(file, most).map(|read| text = read)
    };
    read.map_err(|error| failed(format!("cannot be read: {error}")))?;
    match text.len() as u64 > most {
        true => Err(failed(format!("more than {most} bytes of text: give fewer"))),
        false => Ok(text),
    }
}
