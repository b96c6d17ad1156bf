//! What images carry so that they are known to be generated: a watermark in their pixels, metadata in their files, and a signature
//! over all of it.

use std::{cell::Cell, path::PathBuf};

use calotype::{
    RgbImage, Warning,
    metadata::{DigitalSourceType, Metadata, PARAMETERS_KEYWORD, WatermarkMetadata},
};
use calotype_image::{Error, FileFormat, XMP_KEYWORD, encode};
use calotype_safety::watermark::{Fault, Mark, MarkedFile, Wanted, mark_file};

use super::sign::Signing;
use crate::{
    args::MarkArgs,
    failure::{Failure, line},
};

/// What the images of a run carry.
pub(crate) struct Marks {
    watermark: Option<Wanted>,
    /// Whether an image without its watermark is an error.
    is_required: bool,
    /// Whether there are metadata.
    has_metadata: bool,
    /// What the file of an image says that is made again as it was: perhaps nothing.
    source: Option<Option<DigitalSourceType>>,
    /// What the files are signed with.
    signing: Option<Signing>,
    /// What to say before the work begins.
    notes: Vec<&'static str>,
    /// Whether it was said that images are too small.
    said: Cell<bool>,
}

impl Marks {
    /// Those of the command line; of an image that is made again as it was, by what its file says. The images that it started from may be
    /// among `given`.
    pub(crate) fn new(
        args: &MarkArgs,
        as_made: Option<&Metadata>,
        given: &[PathBuf],
        is_required: bool,
    ) -> Result<Self, Failure> {
        let watermark = match (args.watermark, as_made) {
            _ if args.no_watermark => None,
            (Some(scheme), _) => Some(scheme.package().map_or(Wanted::default(), Wanted::Package)),
            (None, None) => Some(Wanted::default()),
            (None, Some(made)) => made.watermark.as_ref().map(of_metadata).transpose()?,
        };
        if is_required && watermark.is_none() {
            let why =
                if args.no_watermark { "--no-watermark" } else { "the image is remade as it was, without a mark" };
            let message = format!("{why}: --safety asks for a watermark (watermark = \"required\")");
            return Err(Failure::Usage { message, hint: Some("give --watermark tiled".to_owned()) });
        }
        let notes = [
            (args.no_watermark, "--no-watermark: the images have no watermark"),
            (args.no_metadata, "--no-metadata: the files say neither how they were made nor that they were generated"),
        ];
        Ok(Self {
            watermark,
            is_required,
            has_metadata: !args.no_metadata,
            signing: Signing::open(args, given)?,
            source: as_made.map(|made| made.digital_source_type),
            notes: notes.into_iter().filter_map(|(is_said, note)| is_said.then_some(note)).collect(),
            said: Cell::default(),
        })
    }

    /// Says what the images do not carry, because it was asked for.
    pub(crate) fn announce(&self) {
        self.notes.iter().for_each(|note| line("note", note));
    }

    /// Refuses images that could not have the mark that they must have.
    pub(crate) fn check(&self, [width, height]: [usize; 2]) -> Result<(), Failure> {
        let Some(wanted) = self.watermark.filter(|_| self.is_required) else { return Ok(()) };
        let [width, height] = [width, height].map(|side| u32::try_from(side).unwrap_or(u32::MAX));
        match wanted.fits(width, height) {
            true => Ok(()),
            false => Err(required(&small(wanted, width, height))),
        }
    }

    /// The file of an image, of which `metadata` then say the mark that it has.
    pub(crate) fn file(
        &self,
        image: &RgbImage,
        metadata: &mut Metadata,
        format: FileFormat,
        quality: u8,
    ) -> Result<Vec<u8>, Failure> {
        let mut warned = None;
        let file = self.finished(image, metadata, |image, metadata| {
            if !self.has_metadata {
                return bare(image, format, quality);
            }
            let (file, warning): (_, Option<Warning>) = metadata.encode(image, format, quality)?;
            warned = warning;
            Ok(file)
        })?;
        if let Some(warning) = warned {
            line("warning", &warning.to_string());
        }
        Ok(file)
    }

    /// The file of a grid, with A1111's text of the first image in it.
    pub(crate) fn grid_file(
        &self,
        grid: &RgbImage,
        metadata: &mut Metadata,
        format: FileFormat,
        quality: u8,
    ) -> Result<Vec<u8>, Failure> {
        self.finished(grid, metadata, |grid, metadata| {
            if !self.has_metadata {
                return bare(grid, format, quality);
            }
            let (parameters, xmp) = (metadata.parameters(), metadata.xmp());
            let mut texts = vec![(PARAMETERS_KEYWORD, parameters.as_str())];
            texts.extend(xmp.as_deref().map(|xmp| (XMP_KEYWORD, xmp)));
            let encoded = match encode(grid, format, quality, &texts) {
                // That it is too long was said of the images.
                Err(Error::LongTexts { .. }) => encode(grid, format, quality, &texts[1..]),
                encoded => encoded,
            };
            Ok(encoded.map_err(calotype::Error::from)?)
        })
    }

    /// The file that `write` makes of an image with its mark, signed.
    fn finished(
        &self,
        image: &RgbImage,
        metadata: &mut Metadata,
        write: impl FnMut(&RgbImage, &Metadata) -> Result<Vec<u8>, Failure>,
    ) -> Result<Vec<u8>, Failure> {
        let (file, mark) = self.marked(image, metadata, write)?;
        match &self.signing {
            // Nothing may change the file after this.
            Some(signing) => signing.sign(&file, metadata, mark),
            None => Ok(file),
        }
    }

    fn marked(
        &self,
        image: &RgbImage,
        metadata: &mut Metadata,
        mut write: impl FnMut(&RgbImage, &Metadata) -> Result<Vec<u8>, Failure>,
    ) -> Result<(Vec<u8>, Option<Mark>), Failure> {
        if let Some(source) = self.source {
            metadata.digital_source_type = source;
        }
        metadata.watermark = None;
        let Some(wanted) = self.watermark else { return Ok((write(image, metadata)?, None)) };
        let MarkedFile { file, mark, fault } = mark_file(image, wanted, |image, mark| {
            write(image, &Metadata { watermark: mark.map(to_metadata), ..metadata.clone() })
        })?;
        metadata.watermark = mark.map(to_metadata);
        let Some(fault) = fault else { return Ok((file, mark)) };
        let is_small = fault == Fault::TooSmall;
        let problem = match fault {
            Fault::TooSmall => small(wanted, image.width(), image.height()),
            Fault::Unreadable => {
                let seed = metadata.request.seed;
                format!("no watermark can be read back from the file of the image of seed {seed}, so it has none")
            }
            Fault::Damaged { right } => {
                let (scheme, right) = (wanted.scheme(), right * 100.0);
                format!("of the {scheme} watermark {right:.0} % of the bits can be read back from the file")
            }
        };
        match () {
            () if self.is_required => return Err(required(&problem)),
            () if !is_small => line("warning", &problem),
            () if !self.said.replace(true) => line("note", &problem),
            () => {}
        }
        Ok((file, mark))
    }
}

fn bare(image: &RgbImage, format: FileFormat, quality: u8) -> Result<Vec<u8>, Failure> {
    Ok(encode(image, format, quality, &[]).map_err(calotype::Error::from)?)
}

fn small(wanted: Wanted, width: u32, height: u32) -> String {
    let smallest = wanted.smallest();
    format!("images of {width} x {height} have no watermark: they are too small for one, which takes {smallest} pixels")
}

fn required(problem: &str) -> Failure {
    Failure::Failed(format!("{problem}; not written, for --safety asks for a watermark (watermark = \"required\")"))
}

fn to_metadata(mark: Mark) -> WatermarkMetadata {
    match mark {
        Mark::Tiled { id, strength } => {
            WatermarkMetadata { scheme: "tiled".to_owned(), id: Some(format!("{id:016x}")), strength }
        }
        Mark::Package(scheme) => WatermarkMetadata { scheme: scheme.name().to_owned(), ..WatermarkMetadata::default() },
    }
}

/// The mark that an image had.
fn of_metadata(made: &WatermarkMetadata) -> Result<Wanted, Failure> {
    match Wanted::of_scheme(&made.scheme) {
        Some(Wanted::Tiled { .. }) => Ok(Wanted::Tiled { strength: made.strength }),
        Some(wanted) => Ok(wanted),
        None => {
            let message = format!("the image has a watermark of the scheme {:?}, which is not known here", made.scheme);
            let hint = Some("give --watermark or --no-watermark for an image without it".to_owned());
            Err(Failure::Usage { message, hint })
        }
    }
}
