//! The files that people give: pictures, configs, checkpoints, lists.
//!
//! Two rules that every reader has in common. [`open`] and [`read`] take regular files only: to open a pipe would wait for
//! its writer, and a device may have no end. [`json`] reads JSON as Python's `json` module writes it.

#![forbid(unsafe_code)]

pub mod json;
mod regular;

pub use regular::{open, read, read_text};
