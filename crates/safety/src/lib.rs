//! What it takes to show images to people: invisible marks, rules for prompts, classifiers, and a log of what was made.
//!
//! | to | use |
//! |---|---|
//! | mark an image so that it is known again | [`watermark`] |
//! | refuse prompts by words | [`rules`] |
//! | know what an image shows | [`classify`] |
//! | decide what is done with it | [`policy`] |
//! | have a person decide | [`review`] |
//! | keep a record that can't be changed unseen | [`audit`] |
//! | sign a file, so that who made it can be told | `provenance` (feature `c2pa`) |

pub mod audit;
pub mod classify;
mod digest;
mod error;
mod package_file;
pub mod policy;
#[cfg(feature = "c2pa")]
pub mod provenance;
pub mod review;
pub mod rules;
pub mod watermark;

pub use error::{Error, Result};
