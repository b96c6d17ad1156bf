//! `calotype upscale`.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    time::Instant,
};

use calotype::{
    CpuDevice, CpuDeviceOptions,
    upscale::{Done, Target, UpscaleOptions, Upscaler, UpscalerOptions, carried_texts},
};
use calotype_formats::{write_atomic, write_new};
use calotype_image::{DeepImage, Limits, read_limited};
use serde_json::json;

use crate::{
    args::Upscale,
    failure::Failure,
    generate::pictures,
    interrupt,
    output::{DEFAULT_FOLDER, make_folder, make_parent},
    progress, stdout,
};

pub(crate) fn run(args: &Upscale) -> Result<(), Failure> {
    interrupt::exit_at_once()?;
    let mut files: Vec<PathBuf> = Vec::new();
    for path in &args.files {
        files.extend(pictures(path)?);
    }
    // A file may be given beside its folder.
    let mut seen = HashSet::new();
    files.retain(|file| seen.insert(file.clone()));
    let output = Place::new(args.output.as_deref(), files.len(), args.files.iter().any(|path| path.is_dir()))?;
    output.prepare()?;
    let device = CpuDevice::new(CpuDeviceOptions { threads: args.threads.unwrap_or(0), ..Default::default() });
    let device = device.map_err(calotype::Error::from)?;
    let options = || UpscalerOptions { precision: args.precision, ..UpscalerOptions::default() };
    let first = Upscaler::open(&device, &args.model, options())?;
    let second = match (&args.model2, args.blend) {
        (Some(path), Some(share)) => Some((Upscaler::open(&device, path, options())?, share)),
        _ => None,
    };
    let job = Job { args, first, second, target: args.target() };
    let mut failed = 0;
    for (number, file) in files.iter().enumerate() {
        match job.one(file, &output, (number, files.len())) {
            Ok(()) => {}
            Err(failure) if files.len() == 1 => return Err(failure),
            Err(failure @ (Failure::BrokenPipe | Failure::Interrupted(_))) => return Err(failure),
            Err(failure) => {
                let _ = failure.at(&file.display().to_string()).report();
                failed += 1;
            }
        }
    }
    match failed {
        0 => Ok(()),
        failed => Err(Failure::Failed(format!("{failed} of {} images could not be enlarged", files.len()))),
    }
}

/// What is done with each image.
struct Job<'a> {
    args: &'a Upscale,
    first: Upscaler,
    /// And its share.
    second: Option<(Upscaler, f32)>,
    target: Target,
}

impl Job<'_> {
    fn one(&self, file: &Path, output: &Place, (number, of): (usize, usize)) -> Result<(), Failure> {
        let start = Instant::now();
        let failed = |error: calotype_image::Error| {
            Failure::Failed(match of {
                1 => format!("{}: {error}", file.display()),
                _ => error.to_string(),
            })
        };
        let bytes = read_limited(file, &Limits::default()).map_err(|error| Failure::Failed(error.to_string()))?;
        let picture = DeepImage::decode(&bytes, &Limits::default()).map_err(failed)?;
        let bar = progress::steps(self.args.quiet, 0);
        let name = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        bar.set_message(if of > 1 { format!("{name} ({} of {of}) ", number + 1) } else { format!("{name} ") });
        let options = UpscaleOptions { tile: self.args.tile, overlap: self.args.overlap, ..Default::default() };
        let run = |upscaler: &Upscaler, target| {
            upscaler.upscale(&picture, target, &options, &mut |done, total| {
                bar.set_length(total as u64);
                bar.set_position(done as u64);
            })
        };
        let mut large = run(&self.first, self.target)?;
        if let Some((second, share)) = &self.second {
            let other = run(second, Target::Size([large.width(), large.height()]))?;
            large = large.mixed(&other, *share).map_err(failed)?;
        }
        bar.finish_and_clear();
        let done = Done {
            upscaler: self.first.name(),
            scale: self.first.config().scale(),
            target: self.target,
            second: self.second.as_ref().map(|(second, share)| (second.name(), *share)),
        };
        let texts = carried_texts(&bytes, &done);
        let texts: Vec<(&str, &str)> = texts.iter().map(|(keyword, text)| (keyword.as_str(), text.as_str())).collect();
        let png = large.encode_png(&texts).map_err(failed)?;
        let path = output.write(file, &self.label(), &png)?;
        if self.args.json {
            let row = json!({
                "file": path.display().to_string(),
                "input": file.display().to_string(),
                "width": large.width(), "height": large.height(),
                "channels": large.channels(),
                "upscaler": self.first.config().describe(),
                "done": done.text(),
                "seconds": (start.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            });
            return stdout::print(&row.to_string());
        }
        if self.args.quiet { Ok(()) } else { stdout::print(&path.display().to_string()) }
    }

    /// What the name of a file ends with.
    fn label(&self) -> String {
        match self.target {
            Target::Native => format!("{}x", self.first.config().scale()),
            Target::Scale(scale) => format!("{scale}x"),
            Target::Size([width, height]) => format!("{width}x{height}"),
        }
    }
}

/// Where images go.
enum Place {
    /// One, which replaces what was there.
    File(PathBuf),
    /// Each by the name of its input, none replaced.
    Folder(PathBuf),
}

impl Place {
    fn new(output: Option<&Path>, count: usize, from_folder: bool) -> Result<Self, Failure> {
        let path = output.unwrap_or(Path::new(DEFAULT_FOLDER));
        let is_png = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("png"));
        if output.is_none() || path.is_dir() || !is_png {
            if path.extension().is_some() && !path.is_dir() && !is_png {
                let problem = "enlarged images are written as PNG: end it in .png, or give a folder";
                return Err(Failure::usage(format!("--output {}: {problem}", path.display())));
            }
            return Ok(Self::Folder(path.to_owned()));
        }
        if count > 1 || from_folder {
            let problem = "is a file, but several images need a folder: give another path";
            return Err(Failure::usage(format!("--output {} {problem}", path.display())));
        }
        Ok(Self::File(path.to_owned()))
    }

    fn prepare(&self) -> Result<(), Failure> {
        match self {
            Self::File(file) => make_parent(file),
            Self::Folder(folder) => make_folder(folder),
        }
    }

    /// Writes a file whole or not at all, and gives its path.
    fn write(&self, input: &Path, label: &str, png: &[u8]) -> Result<PathBuf, Failure> {
        let _guard = interrupt::writing();
        let folder = match self {
            Self::File(file) => {
                write_atomic(file, |writer| writer.write_all(png))?;
                return Ok(file.clone());
            }
            Self::Folder(folder) => folder,
        };
        let stem = input.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        for number in 1u32.. {
            let again = if number == 1 { String::new() } else { format!("-{number}") };
            let file = folder.join(format!("{stem}-{label}{again}.png"));
            if write_new(&file, |writer| writer.write_all(png), || Ok::<(), Failure>(()))? {
                return Ok(file);
            }
        }
        Err(Failure::Failed(format!("{}: its numbers are used up: give another folder", folder.display())))
    }
}
