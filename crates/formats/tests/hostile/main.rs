//! The hostile files of `attacks/README.md`: what is said of each, and that nothing else happens.

#![allow(clippy::unwrap_used)]

mod archives;
#[path = "../common/mod.rs"]
mod common;
mod names;
mod onnx;
mod pickles;
mod safetensors;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod sandbox;
