//! What it takes to show pictures to people.

mod error;
pub mod watermark;

pub use error::{Error, Result};
