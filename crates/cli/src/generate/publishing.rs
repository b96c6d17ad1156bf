//! What the command line says of rules, policy, marks and the audit log, and what it says of their outcome.

use std::{
    cell::Cell,
    path::{Path, PathBuf},
};

use calotype::{Device, Model, RgbImage, metadata::Metadata};
use calotype_image::FileFormat;
use calotype_publish::{
    DEFAULT_QUALITY, Error, FileOptions, MarkFault, Note, Options, Origin, Parents, Publisher, Rules, SigningOptions,
    Wanted, policy, wanted_as_made,
};
use calotype_safety::review;

use crate::{
    args::{MarkArgs, SafetyArgs},
    failure::{Failure, line},
    license,
    output::Output,
    review::user,
};

/// What the images of a run go through.
pub(crate) struct Publishing {
    pub(crate) publisher: Publisher,
    /// The folder for held images, if it was named.
    held: Option<PathBuf>,
    /// Where images to start from may be, besides where they were.
    given: Vec<PathBuf>,
    /// What to say before the work begins.
    left_out: Vec<&'static str>,
    /// Whether it was said that images are too small for a mark.
    said_small: Cell<bool>,
}

impl Publishing {
    /// That of the command line, for a model; of an image that is made again as it was, by what its file says. The images that it started
    /// from may be among `given`.
    pub(crate) fn open(
        safety: &SafetyArgs,
        marks: &MarkArgs,
        model: Option<&Path>,
        as_made: Option<&Metadata>,
        given: &[PathBuf],
        device: &impl Device,
    ) -> Result<Self, Failure> {
        let policy = match &safety.safety {
            Some(asked) => policy(asked, safety.safety_checker.as_deref(), model)?,
            None => None,
        };
        let watermark = match (marks.watermark, as_made) {
            _ if marks.no_watermark => None,
            (Some(scheme), _) => Some(scheme.package().map_or(Wanted::default(), Wanted::Package)),
            (None, None) => Some(Wanted::default()),
            (None, Some(made)) => wanted_as_made(made)?,
        };
        let signing = marks.sign_key.clone().zip(marks.sign_cert.clone());
        let options = Options {
            policy,
            rules: safety.rules.as_deref().map(Rules::open).transpose()?,
            audit: safety.audit.clone(),
            hash_prompts: safety.audit_hash_prompts,
            says_scores: safety.safety_scores,
            watermark,
            requires_watermark: false,
            has_metadata: !marks.no_metadata,
            source_as_made: as_made.map(|made| made.digital_source_type),
            signing: signing.map(|(key, chain)| SigningOptions { key, chain }),
        };
        let publisher = Publisher::open(options, device).map_err(|error| match error {
            Error::WatermarkOff => watermark_off(marks),
            error => error.into(),
        })?;
        if let Some(note) = publisher.mended() {
            say_one(note);
        }
        let left_out = [
            (marks.no_watermark, "--no-watermark: the images have no watermark"),
            (marks.no_metadata, "--no-metadata: the files say neither how they were made nor that they were generated"),
        ];
        Ok(Self {
            publisher,
            held: safety.held.clone(),
            given: given.to_vec(),
            left_out: left_out.into_iter().filter_map(|(is_said, note)| is_said.then_some(note)).collect(),
            said_small: Cell::default(),
        })
    }

    /// Sees to it that the model's licence is accepted.
    pub(crate) fn check_license(&self, model: &Model, is_given: bool) -> Result<(), Failure> {
        let origin = Origin { who: user(), ..Origin::default() };
        license::check(model, is_given, |license| Ok(self.publisher.record_license(model.name(), license, &origin)?))
    }

    /// Makes the folder for held images, if some may be held and `output` is where images go.
    pub(crate) fn prepare(&self, output: &Output) -> Result<(), Failure> {
        match self.held_folder(output) {
            _ if !self.publisher.holds_images() => Ok(()),
            Some(folder) => Ok(review::make_folder(&folder)?),
            None => {
                Err(Failure::usage("--safety holds images, which goes with no --output -: give a file or a folder"))
            }
        }
    }

    /// The folder for held images.
    pub(crate) fn held_folder(&self, output: &Output) -> Option<PathBuf> {
        let beside = output.folder()?.join(review::FOLDER);
        Some(self.held.clone().unwrap_or(beside))
    }

    /// Says what the images do not carry, because it was asked for.
    pub(crate) fn announce(&self) {
        self.left_out.iter().for_each(|note| line("note", note));
    }

    /// How files are written.
    pub(crate) fn file_options(&self, format: FileFormat, quality: Option<u8>) -> FileOptions<'_> {
        FileOptions { format, quality: quality.unwrap_or(DEFAULT_QUALITY), parents: Parents::Files(&self.given) }
    }

    /// The file of an image, of which `metadata` then say the mark that it has.
    pub(crate) fn file(
        &self,
        image: &RgbImage,
        metadata: &mut Metadata,
        options: &FileOptions<'_>,
    ) -> Result<Vec<u8>, Failure> {
        let (file, notes) = self.publisher.file(image, metadata, options)?;
        self.say(&notes);
        Ok(file)
    }

    /// The file of a grid.
    pub(crate) fn grid_file(
        &self,
        grid: &RgbImage,
        metadata: &mut Metadata,
        options: &FileOptions<'_>,
    ) -> Result<Vec<u8>, Failure> {
        let (file, notes) = self.publisher.grid_file(grid, metadata, options)?;
        self.say(&notes);
        Ok(file)
    }

    /// Says what people should know. That images are too small for a mark is said of the first.
    pub(crate) fn say(&self, notes: &[Note]) {
        for note in notes {
            let is_small = matches!(note, Note::Mark(MarkFault::TooSmall { .. }));
            if !(is_small && self.said_small.replace(true)) {
                say_one(note);
            }
        }
    }
}

/// A note in the words of the command line.
fn say_one(note: &Note) {
    let text = match note {
        Note::Judged { seed, action, reasons } => {
            format!("the image of seed {seed} is {} by --safety: {reasons}", action.done())
        }
        Note::InitFlagged { file, reasons } => format!("{file}: flagged by --safety: {reasons}"),
        note => note.to_string(),
    };
    line(note.severity().id(), &text);
}

fn watermark_off(marks: &MarkArgs) -> Failure {
    let why = if marks.no_watermark { "--no-watermark" } else { "the image is remade as it was, without a mark" };
    let message = format!("{why}: --safety asks for a watermark (watermark = \"required\")");
    Failure::Usage { message, hint: Some("give --watermark tiled".to_owned()) }
}

impl From<Error> for Failure {
    /// The options to use are said here: the library has none.
    fn from(error: Error) -> Self {
        let usage =
            |message: &str, hint: &str| Self::Usage { message: message.to_owned(), hint: Some(hint.to_owned()) };
        match error {
            Error::Calotype(error) => error.into(),
            Error::Safety(error) => error.into(),
            Error::InitRefused { file, reasons } => Self::Failed(format!("{file}: not taken, by --safety: {reasons}")),
            Error::WatermarkRequired { fault } => Self::Failed(format!(
                "{fault}; not written, for --safety asks for a watermark (watermark = \"required\")"
            )),
            Error::UnknownScheme { scheme } => usage(
                &format!("the image has a watermark of the scheme {scheme:?}, which is not known here"),
                "give --watermark or --no-watermark for an image without it",
            ),
            Error::HoldWithoutLog => {
                Self::usage("--safety holds images, and every decision on one has to be recorded: give --audit LOG")
            }
            Error::UnknownPolicy { given } => Self::usage(format!(
                "--safety {given}: expected off, flag, blur, hold, block, or a policy file that ends in .toml"
            )),
            Error::CheckerBesideFile => Self::usage(
                "--safety-checker is for --safety flag, blur, hold or block: a policy file names its classifiers",
            ),
            Error::NoChecker => usage(
                "--safety needs a safety checker, and the model has none",
                "give --safety-checker PATH: the folder safety_checker of a Stable Diffusion 1 model in diffusers' layout, or a copy of CompVis/stable-diffusion-safety-checker",
            ),
            Error::Key { key, chain, source } => {
                Self::Failed(format!("--sign-key {} --sign-cert {}: {source}", key.display(), chain.display()))
            }
            Error::NoC2pa => Self::usage(format!("--sign-key: {error}")),
            error => Self::Failed(error.to_string()),
        }
    }
}
