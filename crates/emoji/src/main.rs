//! `calotype-emoji`: makes the emoji data set.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use calotype_emoji::{BACKGROUNDS, DEFAULT_FONT, EmojiFont, draw, most_alike, objects, write_dataset};
use calotype_image::{RgbImage, encode_png, grid};
use clap::Parser;

/// Make the emoji data set: pictures with captions, and the held-out pairs.
#[derive(Parser)]
#[command(version)]
struct Arguments {
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

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let font = EmojiFont::open(&arguments.font)?;
    let objects = objects()?;
    let bitmaps = objects.iter().map(|o| font.bitmap(o.character)).collect::<Result<Vec<_>, _>>()?;
    let summary = write_dataset(&arguments.out, &objects, &bitmaps, arguments.size)?;
    if let Some(path) = &arguments.contact_sheet {
        let pictures: Vec<RgbImage> = bitmaps
            .iter()
            .zip(BACKGROUNDS.iter().cycle())
            .map(|(bitmap, background)| draw(bitmap, background.rgb, arguments.size))
            .collect::<Result<_, _>>()?;
        std::fs::write(path, encode_png(&grid(&pictures, 15, 2)?, &[])?)
            .map_err(|error| format!("{}: cannot be written: {error}", path.display()))?;
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
