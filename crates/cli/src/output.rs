//! Where pictures go.

use std::{
    ffi::OsStr,
    fs::{self, OpenOptions},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use calotype_formats::{write_atomic_after, write_new};
use calotype_image::FileFormat;

use crate::{failure::Failure, interrupt, stdout};

/// Where pictures go when nobody says.
pub(crate) const DEFAULT_FOLDER: &str = "outputs";

/// How stdout is called.
const STDOUT: &str = "-";

/// A place for the pictures of a run.
pub(crate) struct Output {
    place: Place,
    /// The format of their files.
    pub(crate) format: FileFormat,
}

enum Place {
    /// One picture, which replaces what was there.
    File(PathBuf),
    /// One picture, as bytes.
    Stdout,
    /// `00000.png` and up, or with the ending of another format, none replaced.
    Folder { path: PathBuf, next: u32 },
}

impl Output {
    /// The place that `--output` names for `count` pictures, a folder in any case where that is said. `format`
    /// is that of their files, if it was asked for.
    pub(crate) fn new(
        output: Option<&Path>,
        count: usize,
        is_folder: bool,
        format: Option<FileFormat>,
    ) -> Result<Self, Failure> {
        let (place, of_name) = Place::new(output, count, is_folder)?;
        let path = || output.unwrap_or(Path::new("")).display();
        let format = match (&place, of_name, format) {
            (Place::File(_), Some(of_name), Some(asked)) if of_name != asked => {
                let (asked, of_name) = (asked.name(), of_name.name());
                return Err(Failure::usage(format!(
                    "--output {}: its ending is that of a {of_name}, but --format asks for {asked}",
                    path()
                )));
            }
            (_, of_name, asked) => asked.or(of_name).unwrap_or_default(),
        };
        Ok(Self { place, format })
    }

    /// Makes the folders, and finds out whether something can be written there.
    pub(crate) fn prepare(&self) -> Result<(), Failure> {
        match &self.place {
            Place::File(file) => {
                make_parent(file)?;
                // A device or a pipe is written to as it is.
                if !file.exists() || file.is_file() {
                    check_writable(parent(file))?;
                }
            }
            Place::Folder { path, .. } => {
                make_folder(path)?;
                check_writable(path)?;
            }
            Place::Stdout => {}
        }
        Ok(())
    }

    /// Whether pictures go where other output would go.
    pub(crate) fn is_stdout(&self) -> bool {
        matches!(self.place, Place::Stdout)
    }

    /// The folder that pictures go to, unless they go to stdout.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match &self.place {
            Place::File(file) => Some(parent(file)),
            Place::Folder { path, .. } => Some(path),
            Place::Stdout => None,
        }
    }

    /// Whether there is a folder to write to.
    pub(crate) fn is_folder(&self) -> bool {
        matches!(self.place, Place::Folder { .. })
    }

    /// Writes a picture's file whole or not at all, and gives its path. Before the file has that name `ready` is called with it;
    /// after its error there is no file.
    pub(crate) fn write(&mut self, bytes: &[u8], ready: Ready<'_>) -> Result<PathBuf, Failure> {
        let ending = self.format.endings()[0];
        let _guard = interrupt::writing();
        match &mut self.place {
            Place::Folder { path, next } => write_next(path, next, bytes, ready, |n| format!("{n:05}.{ending}")),
            place => place.write_one(bytes, ready),
        }
    }

    /// Writes a grid of pictures beside them, under the first number that is free.
    pub(crate) fn write_grid(&mut self, bytes: &[u8], ready: Ready<'_>) -> Result<PathBuf, Failure> {
        let ending = self.format.endings()[0];
        let _guard = interrupt::writing();
        match &mut self.place {
            Place::Folder { path, .. } => write_next(path, &mut 0, bytes, ready, |n| format!("grid-{n:04}.{ending}")),
            place => place.write_one(bytes, ready),
        }
    }
}

/// What must have happened before a file is there: it is told the file's path.
pub(crate) type Ready<'a> = &'a mut dyn FnMut(&Path) -> Result<(), Failure>;

impl Place {
    /// Writes the one file that goes here.
    fn write_one(&self, bytes: &[u8], ready: Ready<'_>) -> Result<PathBuf, Failure> {
        let path = if let Self::File(path) = self { path.clone() } else { PathBuf::from(STDOUT) };
        match self {
            Self::File(_) => write_atomic_after(&path, |writer| writer.write_all(bytes), || ready(&path))?,
            _ => {
                ready(&path)?;
                stdout::write(bytes)?;
            }
        }
        Ok(path)
    }

    /// The place, and the format that its name ends with. Nothing is made yet.
    fn new(output: Option<&Path>, count: usize, is_folder: bool) -> Result<(Self, Option<FileFormat>), Failure> {
        let path = output.unwrap_or(Path::new(DEFAULT_FOLDER));
        if path.as_os_str() == STDOUT {
            return match count {
                1 if !is_folder => Ok((Self::Stdout, None)),
                _ => Err(Failure::usage("--output - is for one picture: give a folder for several")),
            };
        }
        let ends_as_folder = path.as_os_str().as_encoded_bytes().last().is_some_and(|&c| c == b'/');
        if is_folder || output.is_none() || count > 1 || path.is_dir() || ends_as_folder {
            return Ok((Self::folder(path)?, None));
        }
        let format = FileFormat::of_name(path);
        if path.extension().is_some() && format.is_none() {
            let problem = "images are written as PNG, JPEG or WebP: end it in .png, .jpg or .webp";
            return Err(Failure::usage(format!("--output {}: {problem}", path.display())));
        }
        Ok((Self::File(path.to_owned()), format))
    }

    fn folder(path: &Path) -> Result<Self, Failure> {
        if path.exists() && !path.is_dir() {
            let problem = "is a file, but several pictures need a folder: give another path";
            return Err(Failure::usage(format!("--output {} {problem}", path.display())));
        }
        let last = match fs::read_dir(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            entries => entries
                .map_err(|e| Failure::Failed(format!("{}: cannot be listed: {e}", path.display())))?
                .filter_map(|entry| number(&entry.ok()?.file_name()))
                .max(),
        };
        Ok(Self::Folder { path: path.to_owned(), next: last.map_or(0, |last| last.saturating_add(1)) })
    }
}

/// Writes a file under the first name from `next` on that is free.
fn write_next(
    folder: &Path,
    next: &mut u32,
    bytes: &[u8],
    ready: Ready<'_>,
    name: impl Fn(u32) -> String,
) -> Result<PathBuf, Failure> {
    loop {
        let file = folder.join(name(*next));
        *next = next.checked_add(1).ok_or_else(|| {
            Failure::Failed(format!("{}: its numbers are used up: give another folder", folder.display()))
        })?;
        if write_new(&file, |writer| writer.write_all(bytes), || ready(&file))? {
            return Ok(file);
        }
    }
}

/// The number of `00042.png`, in any format.
fn number(file: &OsStr) -> Option<u32> {
    FileFormat::of_name(Path::new(file))?;
    let (digits, _) = file.to_str()?.rsplit_once('.')?;
    if digits.len() >= 5 && digits.bytes().all(|c| c.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// Makes the folder that a file is to be in.
pub(crate) fn make_parent(file: &Path) -> Result<(), Failure> {
    make_folder(parent(file))
}

fn parent(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Finds out that nothing can be written to a folder before minutes are spent on what is to be.
fn check_writable(folder: &Path) -> Result<(), Failure> {
    let probe = folder.join(format!(".calotype-{}.probe", std::process::id()));
    let made = OpenOptions::new().write(true).create_new(true).open(&probe);
    // Whoever can make a file can remove it.
    let _ = fs::remove_file(&probe);
    match made {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(Failure::Failed(format!("{}: nothing can be written there: {error}", folder.display())))
        }
        _ => Ok(()),
    }
}

/// Makes a folder, and those that it is in.
pub(crate) fn make_folder(path: &Path) -> Result<(), Failure> {
    fs::create_dir_all(path).map_err(|e| Failure::Failed(format!("{}: the folder cannot be made: {e}", path.display())))
}
