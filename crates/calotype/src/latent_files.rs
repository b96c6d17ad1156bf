//! Latents in files: a safetensors file with one tensor, `latents`, f32 `(B, C, h, w)` as diffusers keeps them.

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use calotype_checkpoint::{hash, show};
use calotype_diffusion::Latents;
use calotype_formats::{DType, SafeTensors, encode_f32, write_safetensors};

use crate::{Error, Result};

/// The tensor's name in files.
const NAME: &str = "latents";
/// Enough for any batch of pictures; more is not latents of this program.
const MAX_ELEMENTS: usize = 1 << 30;

/// Reads a file with one tensor `latents`, f32 `(B, C, h, w)`.
///
/// # Errors
/// The file is damaged or holds something else, no numbers at all, or some that are not finite.
pub fn read_latents(path: impl AsRef<Path>) -> Result<Latents> {
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
    let latents = Latents::from_nchw(shape, &file.read_f32(NAME)?)?;
    if latents.data().is_empty() {
        return Err(refuse(format!("tensor latents has shape {shape:?}, which holds no numbers")));
    }
    if latents.is_finite() { Ok(latents) } else { Err(refuse("latents must be finite numbers".into())) }
}

/// Writes the file that [`read_latents`] reads, whole or not at all.
///
/// # Errors
/// The file can't be written.
pub fn write_latents(path: impl AsRef<Path>, latents: &Latents) -> Result<()> {
    let data = encode_f32(&latents.to_nchw(), DType::F32)?;
    let shape = latents.shape_nchw().to_vec();
    write_safetensors(path, [(NAME, DType::F32, shape, Cow::from(data))], &BTreeMap::new())?;
    Ok(())
}

/// The SHA-256 of the numbers as files have them, `(B, C, h, w)` and little-endian, as 64 hexadecimal digits.
#[must_use]
pub fn latents_sha256(latents: &Latents) -> String {
    let bytes: Vec<u8> = latents.to_nchw().iter().flat_map(|x| x.to_le_bytes()).collect();
    hash::of_bytes(&bytes)
}
