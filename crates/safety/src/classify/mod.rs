//! Classifiers of images: what they say are scores with names, from 0 to 1 or around 0, as each documents.
//!
//! ```no_run
//! use std::path::Path;
//! use calotype_safety::classify::{Classifier, SafetyChecker};
//! use calotype_tensor::cpu::CpuDevice;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let checker = SafetyChecker::open(&CpuDevice::new(Default::default())?, Path::new("sd15/safety_checker"))?;
//! let image = calotype_image::decode(&std::fs::read("picture.png")?, &Default::default())?;
//! for score in checker.scores(&image)? {
//!     println!("{} {}", score.name, score.value);
//! }
//! # Ok(())
//! # }
//! ```

mod checker;
mod encoder;
mod heads;
mod jpeg_loss;
mod open_nsfw;
mod preprocess;
mod vit;

use calotype_image::RgbImage;

pub use checker::SafetyChecker;
pub use heads::ClipHeads;
pub use open_nsfw::OpenNsfwClassifier;
pub use vit::VitClassifier;

use crate::Result;

/// One score of an image.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Score {
    /// What it is a score of, such as `nsfw`.
    pub name: String,
    /// How much of it.
    pub value: f32,
}

/// Something that gives images scores.
pub trait Classifier: Send + Sync {
    /// What kind of classifier it is: `safety_checker`, `vit`, `clip_heads`, `open_nsfw`.
    fn kind(&self) -> &'static str;

    /// The SHA-256 of its weights, 64 hexadecimal digits, which tells one version from another.
    fn version(&self) -> &str;

    /// The names of its scores, in the order in which [`scores`](Self::scores) has them.
    fn names(&self) -> Vec<String>;

    /// The scores of an image.
    ///
    /// # Errors
    /// The network can't be computed (no memory is left), or gives no finite numbers.
    fn scores(&self, image: &RgbImage) -> Result<Vec<Score>>;
}
