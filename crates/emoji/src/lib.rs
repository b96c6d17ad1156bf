//! The emoji data set: every object of a list drawn on every background colour, with captions such as
//! `a red apple on a blue background`.
//!
//! The pictures come from a colour font with PNG bitmaps (Noto Color Emoji), the names from Unicode. 200 pairs of
//! object and background are held out: the model never sees them in training and is judged on them.

mod backgrounds;
mod dataset;
mod draw;
mod error;
mod evaluate;
mod font;
mod objects;
mod pairs;

pub use backgrounds::{BACKGROUNDS, Background};
pub use dataset::{Alike, Summary, caption, most_alike, write_dataset};
pub use draw::draw;
pub use error::{Error, Result};
pub use evaluate::{Figures, Judged, evaluate, median_psnr};
pub use font::{DEFAULT_FONT, EmojiFont};
pub use objects::{Object, objects};
pub use pairs::{HELD_OUT, Pair, all_pairs, held_out_pairs};
