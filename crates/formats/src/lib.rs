//! Checkpoint file formats: bytes in, `(name, dtype, shape, data)` out.
//!
//! The crate knows nothing of models or tensors. It reads and writes [safetensors](https://huggingface.co/docs/safetensors)
//! files, single ([`SafeTensors`]) or in shards, reads what PyTorch writes ([`TorchFile`]: `.ckpt`, `.pt`, `.bin`) as data,
//! opens any of them as a model's weights ([`Checkpoint`]), reads the weights of ONNX models ([`OnnxFile`]), and treats every byte it reads as a stranger's: each violation of
//! the format is an [`Error`] of one line that names the file and the tensor, never a panic, and memory use is bounded by
//! the size of the file.
//!
//! ```
//! use calotype_formats::{DType, SafeTensors, encode_f32, to_bytes};
//! use std::{borrow::Cow, collections::BTreeMap};
//!
//! # fn main() -> calotype_formats::Result<()> {
//! let latents = [0.5_f32, -1.0, 2.0, 0.0];
//! let data = encode_f32(&latents, DType::F16)?;
//! let file = to_bytes([("latents", DType::F16, vec![1, 1, 2, 2], Cow::from(data))], &BTreeMap::new())?;
//!
//! let weights = SafeTensors::from_bytes(file)?;
//! assert_eq!(weights.get("latents").map(|t| t.shape.as_slice()), Some(&[1, 1, 2, 2][..]));
//! assert_eq!(weights.read_f32("latents")?, latents);
//! # Ok(())
//! # }
//! ```

mod atomic;
mod checkpoint;
mod convert;
mod dtype;
mod error;
mod float8;
mod header;
mod json;
mod onnx;
mod part;
mod pickle;
mod safetensors;
mod sniff;
mod source;
mod strided;
mod tensors;
mod torch;
mod write;
mod yaml;
mod zip;

pub use atomic::{write_atomic, write_atomic_after, write_new};
pub use checkpoint::Checkpoint;
pub use convert::encode_f32;
pub use dtype::DType;
pub use error::{Error, Result};
pub use onnx::{OnnxFile, OnnxNode};
pub use part::Floats;
pub use safetensors::SafeTensors;
pub use sniff::FileFormat;
pub use tensors::TensorInfo;
pub use torch::{Dict, Extra, Items, TorchFile, TorchTensor, Value};
pub use write::{TensorHead, to_bytes, write_safetensors, write_safetensors_piecewise};
pub use yaml::parse_yaml;
