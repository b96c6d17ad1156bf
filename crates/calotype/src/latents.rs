//! Latents in files: a safetensors file with one tensor, `latents`.

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use calotype_checkpoint::{hash, show};
use calotype_formats::{DType, SafeTensors, encode_f32, write_safetensors};

use crate::{Error, Result};

/// The tensor's name in files.
const NAME: &str = "latents";
/// Enough for any batch of pictures; more is not latents of this program.
const MAX_ELEMENTS: usize = 1 << 30;

/// Latents `(B, C, h, w)` as diffusers keeps them: starting noise of unit variance, or the result of a run
/// (`output_type="latent"`, before the division by the VAE's scaling factor).
#[derive(Clone, Debug, PartialEq)]
pub struct Latents {
    shape: [usize; 4],
    data: Vec<f32>,
}

impl Latents {
    /// Latents from their numbers.
    ///
    /// # Errors
    /// `data` does not have the shape's number of elements, or there are none, or one is not finite.
    pub fn new(shape: [usize; 4], data: Vec<f32>) -> Result<Self> {
        let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if count != Some(data.len()) || data.is_empty() {
            let problem = format!("{} numbers were given for latents of shape {shape:?}", data.len());
            return Err(Error::Request(problem));
        }
        if !data.iter().all(|x| x.is_finite()) {
            return Err(Error::Request("latents must be finite numbers".into()));
        }
        Ok(Self { shape, data })
    }

    /// Reads a file with one tensor `latents`, f32 `(B, C, h, w)`.
    ///
    /// # Errors
    /// The file is damaged or holds something else.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = SafeTensors::open(path)?;
        let refuse = |problem: String| Error::file(show(path), problem);
        let tensor = file.get(NAME).filter(|_| file.tensors().len() == 1);
        let tensor = tensor.ok_or_else(|| refuse("expected one tensor, named latents".into()))?;
        let shape: [usize; 4] = tensor
            .shape
            .as_slice()
            .try_into()
            .map_err(|_| refuse(format!("tensor latents has shape {:?}, expected (B, C, h, w)", tensor.shape)))?;
        if tensor.dtype != DType::F32 {
            return Err(refuse(format!("tensor latents is {}, expected F32", tensor.dtype)));
        }
        if tensor.element_count() > MAX_ELEMENTS {
            return Err(refuse(format!("tensor latents has shape {shape:?}, too large")));
        }
        Self::new(shape, file.read_f32(NAME)?).map_err(|error| refuse(error.to_string()))
    }

    /// Writes the file that [`Self::open`] reads, whole or not at all.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let data = encode_f32(&self.data, DType::F32)?;
        write_safetensors(path, [(NAME, DType::F32, self.shape.to_vec(), Cow::from(data))], &BTreeMap::new())?;
        Ok(())
    }

    /// `[B, C, h, w]`.
    #[must_use]
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// The numbers, row-major.
    #[must_use]
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// Pictures `start..start + count` of the batch, or `None` when there are not so many.
    #[must_use]
    pub fn slice(&self, start: usize, count: usize) -> Option<Self> {
        let [batch, c, h, w] = self.shape;
        let end = start.checked_add(count).filter(|&end| end <= batch && count > 0)?;
        let data = self.data.get(start * c * h * w..end * c * h * w)?;
        Some(Self { shape: [count, c, h, w], data: data.to_vec() })
    }

    /// Several batches as one.
    ///
    /// # Errors
    /// There are none, or they differ in more than their number of pictures.
    pub fn concat(batches: &[Self]) -> Result<Self> {
        let [_, c, h, w] = batches.first().map_or([0; 4], Self::shape);
        if let Some(other) = batches.iter().find(|batch| batch.shape[1..] != [c, h, w]) {
            return Err(Error::Request(format!(
                "latents {:?} can't be joined with others of {:?}",
                other.shape,
                [c, h, w]
            )));
        }
        let pictures = batches.iter().map(|batch| batch.shape[0]).sum();
        Self::new([pictures, c, h, w], batches.iter().flat_map(|batch| &batch.data).copied().collect())
    }

    /// The SHA-256 of the numbers, little-endian, as 64 hexadecimal digits.
    #[must_use]
    pub fn hash(&self) -> String {
        let bytes: Vec<u8> = self.data.iter().flat_map(|x| x.to_le_bytes()).collect();
        hash::of_bytes(&bytes)
    }
}
