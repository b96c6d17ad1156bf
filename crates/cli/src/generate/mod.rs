//! The commands that make pictures.

mod job;

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    time::Instant,
};

use calotype::{Latents, Model, Request, SeedPer};

use crate::{
    args::{GenerateArgs, Img2img, InpaintCommand, Outpaint, Txt2img},
    failure::Failure,
    interrupt, model,
};
pub(crate) use job::{Job, LatentsFile, Turn, options};

/// More pictures than anybody waits for; the sum of seeds stays far from overflow.
const MAX_BATCHES: usize = 1_000_000;
/// The largest file of prompts, in bytes.
const MAX_PROMPTS: u64 = 64 << 20;

pub(crate) fn txt2img(args: &Txt2img, process_start: Instant) -> Result<(), Failure> {
    run(&args.generate, process_start, |model, request| {
        let (width, height) = model.default_size();
        let size = [request.width.unwrap_or(width), request.height.unwrap_or(height)];
        request.hires = args.hires.hires(size, model.size_multiple());
        Ok(())
    })
}

pub(crate) fn img2img(args: &Img2img, process_start: Instant) -> Result<(), Failure> {
    run(&args.generate, process_start, |_, request| {
        request.init = Some(args.init.init()?);
        Ok(())
    })
}

pub(crate) fn inpaint(args: &InpaintCommand, process_start: Instant) -> Result<(), Failure> {
    run(&args.generate, process_start, |_, request| {
        let mut init = args.init.init()?;
        init.inpaint = Some(args.mask.inpaint()?);
        request.init = Some(init);
        Ok(())
    })
}

pub(crate) fn outpaint(args: &Outpaint, process_start: Instant) -> Result<(), Failure> {
    run(&args.generate, process_start, |_, request| {
        request.init = Some(args.outpaint.init()?);
        Ok(())
    })
}

/// Makes the pictures of all prompts; `mode` says what the command has of its own.
fn run(
    args: &GenerateArgs,
    process_start: Instant,
    mode: impl FnOnce(&Model, &mut Request) -> Result<(), Failure>,
) -> Result<(), Failure> {
    interrupt::exit_at_once()?;
    let count = args.picture.batch_count;
    if !(1..=MAX_BATCHES).contains(&count) {
        return Err(Failure::usage(format!("--batch-count {count} is out of range: give 1 to {MAX_BATCHES}")));
    }
    let mut request = args.request();
    // With one stream for all, what CompVis makes of a file is to the letter.
    let shares_batches = request.noise.seed_per == SeedPer::Batch && args.prompt.from_file.is_some();
    let prompts = match &args.prompt.from_file {
        Some(file) => read_prompts(file, shares_batches)?,
        None => vec![request.prompt.clone()],
    };
    let batches = prompts.len().checked_mul(count).filter(|&batches| batches <= MAX_BATCHES).ok_or_else(|| {
        Failure::usage(format!("{} prompts times --batch-count {count} are more than {MAX_BATCHES}", prompts.len()))
    })?;
    let model = model::open(&args.model)?;
    let latents = args.noise.latents.as_deref().map(LatentsFile::open).transpose()?;
    let asked = if shares_batches { Some(1) } else { args.picture.batch_size };
    request.batch_size = batch_size(asked, batches, latents.as_ref().map(|file| &file.latents))?;
    mode(&model, &mut request)?;
    let turns = match shares_batches {
        true => Turn::shared_batches(&prompts, args.picture.batch_size.unwrap_or(1), count),
        false => Turn::batches(prompts, count),
    };
    let (output, options) = (&args.output, options(&args.compute, batches)?);
    Job { model: &model, request, turns, latents, output, options, made_with: None }.run(process_start)
}

/// Pictures made at once: as asked for, else as many as the starting noise has.
fn batch_size(asked: Option<usize>, batches: usize, start: Option<&Latents>) -> Result<usize, Failure> {
    let given = start.map(|start| start.shape()[0]);
    let batch_size = asked.or(given.map(|all| all / batches)).unwrap_or(1);
    match given.filter(|&given| Some(given) != batch_size.checked_mul(batches)) {
        Some(given) => {
            let asked = format!("--batch-size times --batch-count asks for {batch_size} x {batches}");
            Err(Failure::usage(format!("--latents has {given} pictures, but {asked}: make them equal")))
        }
        None => Ok(batch_size),
    }
}

/// The lines of a file, or of stdin where it is `-`. Empty lines at the end are none, unless they are to be kept.
fn read_prompts(file: &Path, keeps_empty: bool) -> Result<Vec<String>, Failure> {
    let name = file.display();
    let failed = |problem: String| Failure::Failed(format!("{name}: {problem}"));
    let mut text = String::new();
    let read = if file.as_os_str() == "-" {
        io::stdin().take(MAX_PROMPTS + 1).read_to_string(&mut text)
    } else {
        File::open(file).and_then(|file| file.take(MAX_PROMPTS + 1).read_to_string(&mut text))
    };
    read.map_err(|error| failed(format!("the prompts cannot be read: {error}")))?;
    if text.len() as u64 > MAX_PROMPTS {
        return Err(failed(format!("more than {MAX_PROMPTS} bytes of prompts: give fewer")));
    }
    let text = if keeps_empty { text.as_str() } else { text.trim_end_matches(['\n', '\r']) };
    let prompts: Vec<String> = text.lines().map(str::to_owned).collect();
    if prompts.is_empty() {
        return Err(Failure::usage(format!("{name}: there are no prompts: write one on each line")));
    }
    Ok(prompts)
}
