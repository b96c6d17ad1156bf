//! `calotype-icons`: makes the data set of icons.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use calotype_icons::{Arrangement, HeldOut, Packages, Plan, Scene, Size, Source, Thing, alike, bitmaps, subjects};
use calotype_image::{RgbImage, encode_png, grid};
use clap::{Parser, Subcommand};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Make the data set of icons that the built-in model is trained on
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
    #[arg(long, value_name = "N", default_value_t = 60_000)]
    train: usize,
    /// Pictures of each kind of held-out combinations
    #[arg(long, value_name = "N", default_value_t = 200)]
    held_out: usize,
    /// What is held out, and which scenes there are
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
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

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Make(arguments) => make(&arguments),
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
