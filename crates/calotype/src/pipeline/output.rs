//! What a run gives.

use std::{fmt, path::Path, sync::Arc};

use calotype_diffusion::Latents;
use calotype_formats::write_atomic;
use calotype_image::{FileFormat, RgbImage};
use calotype_tensor::CancelToken;

use crate::{Model, Plan, Precision, Result, adapters::AdapterMetadata, metadata::Metadata};

/// What a run gives.
#[derive(Clone, Debug)]
pub struct Output {
    /// The images, in the order of their seeds.
    pub images: Vec<Image>,
    /// The latents they were decoded from.
    pub latents: Latents,
}

/// An image, and all that its file says of it.
#[derive(Clone)]
pub struct Image {
    /// Its pixels.
    pub pixels: RgbImage,
    /// Which one of its batch it is, from 0.
    pub index: usize,
    pub(super) made: Arc<Made>,
}

/// What the images of a batch were made with.
pub(super) struct Made {
    pub(super) model: Arc<Model>,
    pub(super) plan: Plan,
    pub(super) precision: Precision,
    pub(super) vae_precision: Option<Precision>,
    pub(super) adapters: Vec<AdapterMetadata>,
    /// That of the run.
    pub(super) cancel: CancelToken,
    /// How they were enlarged in the end.
    pub(super) upscaled: Option<String>,
}

impl Image {
    /// What its file says of it: everything that makes it again. The first call for a model hashes its weights.
    ///
    /// # Errors
    /// A file of the model can't be read.
    pub fn metadata(&self) -> Result<Metadata> {
        let Made { model, plan, precision, vae_precision, adapters, upscaled, .. } = &*self.made;
        let metadata = Metadata::new(model, plan, *precision, self.index)?;
        let (adapters, postprocessing, vae_precision) = (adapters.clone(), upscaled.clone(), *vae_precision);
        Ok(Metadata { adapters, postprocessing, vae_precision, ..metadata })
    }

    /// A PNG file with [the metadata](Self::metadata).
    ///
    /// # Errors
    /// As [`Self::metadata`].
    pub fn to_png(&self) -> Result<Vec<u8>> {
        self.metadata()?.encode_png(&self.pixels)
    }

    /// A file with [the metadata](Self::metadata); a JPEG is the more like the image the higher `quality`, 1 to 100.
    ///
    /// # Errors
    /// As [`Self::metadata`], or the format has no such sizes.
    pub fn to_file(&self, format: FileFormat, quality: u8) -> Result<Vec<u8>> {
        Ok(self.metadata()?.encode(&self.pixels, format, quality)?.0)
    }

    /// Writes a PNG file with [the metadata](Self::metadata), whole or not at all.
    ///
    /// # Errors
    /// As [`Self::metadata`], or the file can't be written, or the run's [`CancelToken`] was cancelled.
    pub fn save_png(&self, path: impl AsRef<Path>) -> Result<()> {
        let png = self.to_png()?;
        self.made.cancel.check()?;
        Ok(write_atomic(path.as_ref(), |writer| writer.write_all(&png))?)
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = (self.pixels.width(), self.pixels.height());
        f.debug_struct("Image").field("size", &size).field("index", &self.index).finish_non_exhaustive()
    }
}
