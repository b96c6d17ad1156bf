//! What images carry so that they are known to be generated: a watermark in their pixels, metadata in their files, and a signature
//! over all of it.

use calotype::{
    RgbImage,
    metadata::{DigitalSourceType, Metadata, PARAMETERS_KEYWORD, WatermarkMetadata},
};
use calotype_image::{Error as ImageError, FileFormat, XMP_KEYWORD, encode};
use calotype_safety::watermark::{Fault, Mark, MarkedFile, Wanted, mark_file};

use crate::{Error, MarkFault, Note, Parents, Publisher, Result, sign::Signing};

/// The quality of JPEG files if nobody says.
pub const DEFAULT_QUALITY: u8 = 95;

/// How a file is written.
#[derive(Clone, Copy, Debug)]
pub struct FileOptions<'a> {
    /// Its format.
    pub format: FileFormat,
    /// Of a JPEG, how much it is like the image: 1 to 100.
    pub quality: u8,
    /// Where the image is that this one began with: a signature names it.
    pub parents: Parents<'a>,
}

impl FileOptions<'_> {
    /// A file of this format, of an image that began with none, or with one that is not looked for on the disk.
    #[must_use]
    pub fn new(format: FileFormat) -> Self {
        Self { format, quality: DEFAULT_QUALITY, parents: Parents::Memory(&[]) }
    }
}

/// What images carry.
pub(crate) struct Marks {
    pub(crate) watermark: Option<Wanted>,
    /// Whether an image without its watermark is an error.
    pub(crate) is_required: bool,
    pub(crate) has_metadata: bool,
    pub(crate) source_as_made: Option<Option<DigitalSourceType>>,
    pub(crate) signing: Option<Signing>,
}

impl Publisher {
    /// Refuses images of a size that has no room for the mark that they must have.
    ///
    /// # Errors
    /// [`Error::WatermarkRequired`].
    pub fn check_size(&self, [width, height]: [usize; 2]) -> Result<()> {
        let Some(wanted) = self.marks.watermark.filter(|_| self.marks.is_required) else { return Ok(()) };
        let [width, height] = [width, height].map(|side| u32::try_from(side).unwrap_or(u32::MAX));
        match wanted.fits(width, height) {
            true => Ok(()),
            false => Err(Error::WatermarkRequired { fault: small(wanted, width, height) }),
        }
    }

    /// The file of an image, of which `metadata` then say the mark that it has.
    ///
    /// # Errors
    /// [`Error::WatermarkRequired`]; [`Error::NoParent`] for a signature; what the encoder and the signer give.
    pub fn file(
        &self,
        image: &RgbImage,
        metadata: &mut Metadata,
        options: &FileOptions<'_>,
    ) -> Result<(Vec<u8>, Vec<Note>)> {
        let mut warned = None;
        let (file, note) = self.marks.finished(image, metadata, options, |image, metadata| {
            let (file, warning) = metadata.encode(image, options.format, options.quality)?;
            warned = warning;
            Ok(file)
        })?;
        Ok((file, note.into_iter().chain(warned.map(Note::Metadata)).collect()))
    }

    /// The file of a grid of images, with A1111's text of the first in it. Its mark, which `metadata` then say, is its own.
    ///
    /// # Errors
    /// As [`Self::file`].
    pub fn grid_file(
        &self,
        grid: &RgbImage,
        metadata: &mut Metadata,
        options: &FileOptions<'_>,
    ) -> Result<(Vec<u8>, Vec<Note>)> {
        let (file, note) = self.marks.finished(grid, metadata, options, |grid, metadata| {
            let (parameters, xmp) = (metadata.parameters(), metadata.xmp());
            let mut texts = vec![(PARAMETERS_KEYWORD, parameters.as_str())];
            texts.extend(xmp.as_deref().map(|xmp| (XMP_KEYWORD, xmp)));
            match encode(grid, options.format, options.quality, &texts) {
                // That it is too long was said of the images.
                Err(ImageError::LongTexts { .. }) => bare(grid, options, &texts[1..]),
                encoded => Ok(encoded.map_err(calotype::Error::from)?),
            }
        })?;
        Ok((file, note.into_iter().collect()))
    }
}

impl Marks {
    /// The file that `write` makes of an image with its mark, signed. Without metadata it is the image alone.
    fn finished(
        &self,
        image: &RgbImage,
        metadata: &mut Metadata,
        options: &FileOptions<'_>,
        mut write: impl FnMut(&RgbImage, &Metadata) -> Result<Vec<u8>>,
    ) -> Result<(Vec<u8>, Option<Note>)> {
        if let Some(source) = self.source_as_made {
            metadata.digital_source_type = source;
        }
        let (file, mark, fault) = self.marked(image, metadata, |image, metadata| match self.has_metadata {
            true => write(image, metadata),
            false => bare(image, options, &[]),
        })?;
        let note = match fault {
            Some(fault) if self.is_required => return Err(Error::WatermarkRequired { fault }),
            fault => fault.map(Note::Mark),
        };
        let file = match &self.signing {
            // Nothing may change the file after this.
            Some(signing) => signing.sign(&file, metadata, mark, options.parents)?,
            None => file,
        };
        Ok((file, note))
    }

    /// The file that `write` makes of an image with its mark.
    fn marked(
        &self,
        image: &RgbImage,
        metadata: &mut Metadata,
        mut write: impl FnMut(&RgbImage, &Metadata) -> Result<Vec<u8>>,
    ) -> Result<(Vec<u8>, Option<Mark>, Option<MarkFault>)> {
        metadata.watermark = None;
        let Some(wanted) = self.watermark else { return Ok((write(image, metadata)?, None, None)) };
        let MarkedFile { file, mark, fault } = mark_file(image, wanted, |image, mark| {
            write(image, &Metadata { watermark: mark.map(to_metadata), ..metadata.clone() })
        })?;
        metadata.watermark = mark.map(to_metadata);
        let fault = fault.map(|fault| match fault {
            Fault::TooSmall => small(wanted, image.width(), image.height()),
            Fault::Unreadable => MarkFault::Unreadable { seed: metadata.request.seed },
            Fault::Damaged { right } => MarkFault::Damaged { scheme: wanted.scheme(), right },
        });
        Ok((file, mark, fault))
    }
}

fn bare(image: &RgbImage, options: &FileOptions<'_>, texts: &[(&str, &str)]) -> Result<Vec<u8>> {
    Ok(encode(image, options.format, options.quality, texts).map_err(calotype::Error::from)?)
}

fn small(wanted: Wanted, width: u32, height: u32) -> MarkFault {
    MarkFault::TooSmall { width, height, smallest: wanted.smallest() }
}

fn to_metadata(mark: Mark) -> WatermarkMetadata {
    match mark {
        Mark::Tiled { id, strength } => {
            WatermarkMetadata { scheme: "tiled".to_owned(), id: Some(format!("{id:016x}")), strength }
        }
        Mark::Package(scheme) => WatermarkMetadata { scheme: scheme.name().to_owned(), ..WatermarkMetadata::default() },
    }
}

/// The mark that an image had, by what its file says, for one that is made again as it was.
///
/// # Errors
/// [`Error::UnknownScheme`].
pub fn wanted_as_made(metadata: &Metadata) -> Result<Option<Wanted>> {
    let Some(made) = &metadata.watermark else { return Ok(None) };
    match Wanted::of_scheme(&made.scheme) {
        Some(Wanted::Tiled { .. }) => Ok(Some(Wanted::Tiled { strength: made.strength })),
        Some(wanted) => Ok(Some(wanted)),
        None => Err(Error::UnknownScheme { scheme: made.scheme.clone() }),
    }
}
