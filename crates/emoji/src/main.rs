//! `calotype-emoji`: makes the emoji data set, and judges a model that was trained on it.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use calotype::{Keep, Model, PipelineOptions, Precision, Request, SamplerKind};
use calotype_emoji::{
    BACKGROUNDS, DEFAULT_FONT, EmojiFont, Figures, HELD_OUT, Judged, draw, evaluate, median_psnr, most_alike, objects,
    write_dataset,
};
use calotype_image::{RgbImage, encode_png, grid};
use clap::{Parser, Subcommand, builder::TypedValueParser};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Make the emoji data set, and judge a model that was trained on it
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Draw the pictures with their captions, and hold 200 of them out
    Make(Make),
    /// Make pictures of the held-out captions and compare them with the drawn ones
    Evaluate(Evaluate),
    /// Make the first of them in f32 and in another precision, judge both, and tell the median PSNR between them
    Compare(Compare),
}

#[derive(clap::Args)]
struct Make {
    /// Folder to write train/, held_out/ and objects.json to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Side of the pictures in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 64, value_parser = clap::value_parser!(u32).range(8..=1024))]
    size: u32,
    /// Colour emoji font with PNG bitmaps
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FONT)]
    font: PathBuf,
    /// Also write all objects, each on one of the backgrounds in turn, to this PNG file
    #[arg(long, value_name = "FILE")]
    contact_sheet: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Evaluate {
    /// Judge only this many of the held-out pairs
    #[arg(long, value_name = "N", default_value_t = HELD_OUT)]
    limit: usize,
    /// Number types of weights and activations
    #[arg(long, value_name = "TYPE", default_value_t = Precision::F32, value_parser = precision())]
    precision: Precision,
    #[command(flatten)]
    run: Run,
    /// Also write the pictures, each beside the drawn one, to this PNG file
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Compare {
    /// Number types of weights and activations
    #[arg(long, value_name = "TYPE", default_value_t = Precision::BF16, value_parser = precision())]
    precision: Precision,
    /// Compare this many of the held-out pairs
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    run: Run,
}

/// What pictures are made.
#[derive(clap::Args)]
struct Run {
    /// Model to judge, a diffusers folder
    #[arg(long, value_name = "DIR", default_value = "models/emoji")]
    model: PathBuf,
    /// The data set, as `make` wrote it
    #[arg(long, value_name = "DIR", default_value = "data/emoji")]
    data: PathBuf,
    /// Steps of the sampler
    #[arg(long, value_name = "N", default_value_t = 50)]
    steps: usize,
    /// Sampler, as in `calotype txt2img`
    #[arg(long, value_name = "NAME", default_value_t = SamplerKind::Ddim)]
    sampler: SamplerKind,
    /// How strongly the caption pulls
    #[arg(long, value_name = "X", default_value_t = 7.5)]
    guidance_scale: f32,
    /// Seed of the first picture; the next have the next seeds
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
}

fn precision() -> impl TypedValueParser<Value = Precision> {
    let ids = clap::builder::PossibleValuesParser::new(Precision::ALL.map(Precision::id));
    ids.map(|id| Precision::ALL.into_iter().find(|precision| precision.id() == id).unwrap_or_default())
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Make(arguments) => make(&arguments),
        Command::Evaluate(arguments) => judge(&arguments),
        Command::Compare(arguments) => compare(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write_png(path: &Path, picture: &RgbImage) -> Result {
    std::fs::write(path, encode_png(picture, &[])?)
        .map_err(|error| format!("{}: cannot be written: {error}", path.display()))?;
    Ok(())
}

/// Makes and judges the first `limit` pictures.
fn judged(run: &Run, precision: Precision, limit: usize) -> Result<Vec<Judged>> {
    let model = Model::open(&run.model)?;
    let request = Request {
        num_inference_steps: run.steps,
        sampler: run.sampler,
        guidance_scale: run.guidance_scale,
        seed: run.seed,
        ..Request::default()
    };
    let total = limit.min(HELD_OUT);
    let mut stderr = std::io::stderr();
    let mut progress = |judged: &[Judged]| {
        if stderr.is_terminal() {
            let figures = Figures::of(judged);
            let _ = write!(
                stderr,
                "\r{} of {total}, top 1 {:.1} %, top 5 {:.1} % ",
                figures.pictures,
                100.0 * figures.top1,
                100.0 * figures.top5
            );
        }
    };
    let options = PipelineOptions { precision, keep: Keep::All, ..PipelineOptions::default() };
    Ok(evaluate(&model, &run.data, &request, options, limit, &mut progress)?)
}

fn compare(arguments: &Compare) -> Result {
    let Compare { precision, limit, run } = arguments;
    let exact = judged(run, Precision::F32, *limit)?;
    let judged = judged(run, *precision, *limit)?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "f32: {}", serde_json::to_string(&Figures::of(&exact))?)?;
    writeln!(stdout, "{precision}: {}", serde_json::to_string(&Figures::of(&judged))?)?;
    if let Some(median) = median_psnr(&exact, &judged)? {
        writeln!(stdout, "median PSNR of {precision} against f32: {median:.2} dB")?;
    }
    Ok(())
}

fn judge(arguments: &Evaluate) -> Result {
    let judged = judged(&arguments.run, arguments.precision, arguments.limit)?;
    if let Some(path) = &arguments.sheet {
        let pictures: Vec<RgbImage> = judged.iter().map(|j| j.picture.clone()).collect();
        write_png(path, &grid(&pictures, 20, 2)?)?;
    }
    let objects = objects()?;
    let mut stdout = std::io::stdout();
    for wrong in judged.iter().filter(|j| j.rank > 0 || j.background != j.pair.background) {
        let (asked, nearest) = (&objects[wrong.pair.object].phrase, &objects[wrong.nearest].phrase);
        let (on, looks) = (BACKGROUNDS[wrong.pair.background].name, BACKGROUNDS[wrong.background].name);
        writeln!(stdout, "{asked} on {on}: rank {}, nearest {nearest}, background {looks}", wrong.rank + 1)?;
    }
    writeln!(stdout, "{}", serde_json::to_string(&Figures::of(&judged))?)?;
    Ok(())
}

fn make(arguments: &Make) -> Result {
    let font = EmojiFont::open(&arguments.font)?;
    let objects = objects()?;
    let bitmaps = objects.iter().map(|o| font.bitmap(o.character)).collect::<calotype_emoji::Result<Vec<_>>>()?;
    let summary = write_dataset(&arguments.out, &objects, &bitmaps, arguments.size)?;
    if let Some(path) = &arguments.contact_sheet {
        let pictures: Vec<RgbImage> = bitmaps
            .iter()
            .zip(BACKGROUNDS.iter().cycle())
            .map(|(bitmap, background)| draw(bitmap, background.rgb, arguments.size))
            .collect::<calotype_emoji::Result<_>>()?;
        write_png(path, &grid(&pictures, 15, 2)?)?;
    }
    let mut stdout = std::io::stdout();
    writeln!(
        stdout,
        "{} objects, {} backgrounds: {} pictures to train on, {} held out, in {}",
        objects.len(),
        BACKGROUNDS.len(),
        summary.train,
        summary.held_out,
        arguments.out.display()
    )?;
    if let Some(alike) = most_alike(&bitmaps, arguments.size)? {
        let (a, b) = alike.objects;
        let background = BACKGROUNDS[alike.background].name;
        let (a, b) = (&objects[a].phrase, &objects[b].phrase);
        writeln!(stdout, "most alike: {a} and {b} on {background} (MSE {:.0})", alike.mse)?;
    }
    Ok(())
}
