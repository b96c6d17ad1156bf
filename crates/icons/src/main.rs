//! `calotype-icons`: makes the data set of icons, and judges a model that was trained on it.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use calotype::{Keep, Model, Pipeline, PipelineOptions, Precision, Request, sampling::SamplerKind};
use calotype_icons::{
    Arrangement, Figures, HeldOut, Judge, Kind, Made, Packages, Plan, Scene, Size, Source, Thing, alike,
    autoencoder_psnr, bitmaps, distance, evaluate, held_out, pack, subjects,
};
use calotype_image::{RgbImage, encode_png, grid};
use clap::{Parser, Subcommand, builder::TypedValueParser};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Make the data set of icons that the built-in model is trained on, and judge that model
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Draw the pictures with their captions, and hold combinations out
    Make(Make),
    /// Make pictures of the held-out captions, and judge them by the drawn ones
    Evaluate(Evaluate),
    /// Take a trained model without the tokens that its captions don't need, as it goes into the program
    Pack(Pack),
    /// List the subjects that are hard to tell apart, and draw them all
    Subjects(Subjects),
}

#[derive(clap::Args)]
struct Make {
    /// Folder with the unpacked npm packages
    #[arg(long, value_name = "DIR", default_value = "node_modules")]
    packages: PathBuf,
    /// Folder to write train/, held_out/, dataset.json and held_out.json to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Side of the pictures in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 128, value_parser = clap::value_parser!(u32).range(16..=1024))]
    size: u32,
    /// Pictures to train on
    #[arg(long, value_name = "N", default_value_t = 30_000)]
    train: usize,
    /// Pictures of each kind of held-out combinations
    #[arg(long, value_name = "N", default_value_t = 200)]
    held_out: usize,
    /// What is held out, and which scenes there are
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

#[derive(clap::Args)]
struct Pack {
    /// Model that `calotype train diffusion` made, a diffusers folder with a vocabulary.json
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Model whose autoencoder's weights are taken instead: one with another decoder for the same latents
    #[arg(long, value_name = "DIR")]
    autoencoder: Option<PathBuf>,
    /// Folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(clap::Args)]
struct Subjects {
    /// Folder with the unpacked npm packages
    #[arg(long, value_name = "DIR", default_value = "node_modules")]
    packages: PathBuf,
    /// Also draw all subjects, each in every style, to PNG files in this folder
    #[arg(long, value_name = "DIR")]
    sheets: Option<PathBuf>,
    /// List pairs whose pictures are nearer than this in mean squared error
    #[arg(long, value_name = "MSE", default_value_t = 1000.0)]
    nearer: f64,
}

#[derive(clap::Args)]
struct Evaluate {
    /// Model to judge, a diffusers folder
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The data set, as `make` wrote it
    #[arg(long, value_name = "DIR", default_value = "data/icons")]
    data: PathBuf,
    /// Folder with the unpacked npm packages
    #[arg(long, value_name = "DIR", default_value = "node_modules")]
    packages: PathBuf,
    /// Judge only this many pictures of each kind of held-out combinations
    #[arg(long, value_name = "N", default_value_t = 200)]
    limit: usize,
    /// Also tell the kernel distance of made and drawn pictures, by EfficientNet-lite0 in this file
    #[arg(long, value_name = "FILE")]
    features: Option<PathBuf>,
    /// Number types of weights and activations
    #[arg(long, value_name = "TYPE", default_value_t = Precision::F32, value_parser = precision())]
    precision: Precision,
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
    /// Make the pictures on this card, by its number in `calotype devices`
    #[cfg(feature = "gpu")]
    #[arg(long, value_name = "N")]
    card: Option<usize>,
    /// Also write the pictures, each after the drawn one, to this PNG file
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
}

/// The pipeline on the device that was asked for.
fn pipeline(arguments: &Evaluate, options: PipelineOptions) -> Result<Pipeline> {
    let model = Model::open(&arguments.model)?;
    #[cfg(feature = "gpu")]
    if arguments.card.is_some() {
        let device = calotype_gpu::GpuDeviceOptions { adapter: arguments.card, ..Default::default() };
        return Ok(Pipeline::new(calotype_gpu::GpuDevice::new(device)?, model, options));
    }
    Ok(Pipeline::load(model, options)?)
}

fn precision() -> impl TypedValueParser<Value = Precision> {
    let ids = clap::builder::PossibleValuesParser::new(Precision::ALL.map(Precision::id));
    ids.map(|id| Precision::ALL.into_iter().find(|precision| precision.id() == id).unwrap_or_default())
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Make(arguments) => make(&arguments),
        Command::Evaluate(arguments) => judge(&arguments),
        Command::Pack(arguments) => packed(&arguments),
        Command::Subjects(arguments) => list(&arguments),
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

fn make(arguments: &Make) -> Result {
    let packages = Packages::open(&arguments.packages)?;
    let subjects = subjects(&packages)?;
    // Twice the largest that is needed, so that every scaling is one to smaller.
    let bitmaps = bitmaps(&packages, &subjects, 2 * arguments.size)?;
    let source = Source { subjects: &subjects, bitmaps: &bitmaps, held_out: HeldOut { seed: arguments.seed } };
    let plan = Plan { side: arguments.size, train: arguments.train, held_out: arguments.held_out };
    let summary = source.write(&arguments.out, plan)?;
    writeln!(
        std::io::stdout(),
        "{} subjects: {} pictures to train on, {} held out, in {}",
        subjects.len(),
        summary.train,
        summary.held_out,
        arguments.out.display()
    )?;
    Ok(())
}

/// Pictures in a row of a sheet.
const COLUMNS: usize = 20;

fn judge(arguments: &Evaluate) -> Result {
    let packages = Packages::open(&arguments.packages)?;
    let bitmaps = bitmaps(&packages, &subjects(&packages)?, 128)?;
    let entries = held_out(&arguments.data, arguments.limit)?;
    let request = Request {
        num_inference_steps: arguments.steps,
        sampler: arguments.sampler,
        guidance_scale: arguments.guidance_scale,
        seed: arguments.seed,
        ..Request::default()
    };
    let options = PipelineOptions { precision: arguments.precision, keep: Keep::All, ..PipelineOptions::default() };
    let (total, mut stderr) = (entries.len(), std::io::stderr());
    let mut progress = |made: &[Made]| {
        if stderr.is_terminal() {
            let _ = write!(stderr, "\r{} of {total} ", made.len());
        }
    };
    let pipeline = pipeline(arguments, options)?;
    let all = evaluate(&pipeline, entries, &Judge { bitmaps: &bitmaps }, &request, &mut progress)?;
    let mut figures = serde_json::Map::new();
    for kind in Kind::ALL.map(Kind::name) {
        let of_kind: Vec<_> =
            all.iter().filter(|m| m.entry.held_out.as_deref() == Some(kind)).map(|m| &m.verdict).collect();
        figures.insert(kind.to_owned(), serde_json::to_value(Figures::of(of_kind))?);
    }
    let (drawn, made): (Vec<_>, Vec<_>) = all.iter().map(|m| (m.drawn.clone(), m.made.clone())).unzip();
    figures.insert("all".to_owned(), serde_json::to_value(Figures::of(all.iter().map(|m| &m.verdict)))?);
    figures.insert("autoencoder_psnr".to_owned(), autoencoder_psnr(&arguments.model, &drawn)?.into());
    if let Some(network) = &arguments.features {
        figures.insert("kid".to_owned(), serde_json::to_value(distance(network, &made, &drawn)?)?);
    }
    if let Some(path) = &arguments.sheet {
        let pictures: Vec<RgbImage> = all.into_iter().flat_map(|m| [m.drawn, m.made]).collect();
        write_png(path, &grid(&pictures, COLUMNS, 2)?)?;
    }
    writeln!(std::io::stdout(), "{:#}", serde_json::Value::Object(figures))?;
    Ok(())
}

fn packed(arguments: &Pack) -> Result {
    let tokens = pack(&arguments.model, arguments.autoencoder.as_deref(), &arguments.out)?;
    writeln!(std::io::stdout(), "{}: {tokens} tokens", arguments.out.display())?;
    Ok(())
}

/// Side of a picture on a sheet of subjects, and how many subjects are in a row and on a sheet.
const SHEET_SIDE: u32 = 64;
const SHEET_COLUMNS: usize = 6;
const SHEET_SUBJECTS: usize = 90;

fn list(arguments: &Subjects) -> Result {
    let packages = Packages::open(&arguments.packages)?;
    let subjects = subjects(&packages)?;
    let bitmaps = bitmaps(&packages, &subjects, 128)?;
    let name = |subject: usize| format!("{} {}", subjects[subject].code, subjects[subject].nouns[0].words);
    let mut stdout = std::io::stdout();
    for pair in alike(&bitmaps, arguments.nearer)? {
        let (a, b) = pair.subjects;
        writeln!(stdout, "{:.0} {}: {} / {}", pair.mse, calotype_icons::STYLES[pair.style].name, name(a), name(b))?;
    }
    writeln!(stdout, "{} subjects", subjects.len())?;
    let Some(folder) = &arguments.sheets else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: cannot be made: {error}", folder.display()))?;
    let all: Vec<usize> = (0..subjects.len()).collect();
    for (number, part) in all.chunks(SHEET_SUBJECTS).enumerate() {
        let mut pictures = Vec::new();
        for &subject in part {
            for (style, of_style) in bitmaps.iter().enumerate() {
                let first = Thing { subject, colour: None };
                let arrangement = Arrangement::One(Size::Usual);
                pictures.push(
                    Scene { style, background: (subject * 3 + style) % 10, first, arrangement }
                        .draw(of_style, SHEET_SIDE)?,
                );
            }
        }
        write_png(&folder.join(format!("{number:02}.png")), &grid(&pictures, 3 * SHEET_COLUMNS, 2)?)?;
    }
    Ok(())
}
