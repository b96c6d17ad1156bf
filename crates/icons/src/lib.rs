//! The data set of icons that the built-in model is trained on: subjects in three styles on plain backgrounds, alone, several, in
//! pairs, in other colours than their own, with captions such as `a red apple left of a cat on a blue background`.
//!
//! The pictures come from SVG icon sets in npm packages ([`Packages`]); nothing of them is in the repository. Combinations that
//! training must not see ([`HeldOut`]) are what a model is judged on.

mod alike;
mod bitmaps;
mod colours;
mod dataset;
mod error;
mod evaluate;
mod held_out;
mod judge;
mod kid;
mod pack;
mod packages;
mod random;
mod scene;
mod subjects;
#[cfg(test)]
mod testing;
mod words;

pub use alike::{Alike, alike};
pub use bitmaps::{Bitmap, bitmaps};
pub use colours::{BACKGROUNDS, Background, COLOURS, Colour};
pub use dataset::{Entry, Plan, Source, Summary};
pub use error::{Error, Result};
pub use evaluate::{Made, autoencoder_psnr, distance, evaluate, held_out};
pub use held_out::{HeldOut, Kind};
pub use judge::{Figures, Judge, Verdict};
pub use kid::{Kid, kid};
pub use pack::pack;
pub use packages::{Packages, STYLES, Style};
pub use scene::{Arrangement, Relation, Scene, Size, Thing};
pub use subjects::{Noun, Subject, subjects};
