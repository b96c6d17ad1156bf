//! Makes the images of jobs: models, a worker, results. No HTTP, and no networks of its own.
//!
//! ```text
//! Submission ──check──▶ queue ──worker──▶ Pipeline::run ──▶ Publisher ──▶ results ──▶ succeeded, or held for a person
//!                                │
//!                                └──▶ Notice: events, progress, how long it took
//! ```
//!
//! | to | use |
//! |---|---|
//! | take jobs in, look at them, end them | [`Engine`] |
//! | say what a job is to make | [`Order`] |
//! | know which models there are | [`Catalogue`] |
//! | be told what happens | [`Notice`] |
//!
//! One job is worked on at a time, with all processor cores; the images of a job are one batch. A model stays in memory until
//! another needs its room. A job that was worked on when the process died is worked on again, with the same seed, and so
//! makes the same images.

mod card;
mod catalogue;
mod engine;
mod error;
mod housekeeping;
mod jobs;
mod live;
mod loaded;
mod notice;
mod options;
mod order;
mod publication;
mod rates;
mod shared;
mod submission;
mod worker;

pub use card::Card;
pub use catalogue::{BUILT_IN, Catalogue, Entry};
pub use engine::Engine;
pub use error::{Error, Result};
pub use jobs::Input;
pub use live::{Preview, Progress};
pub use notice::Notice;
pub use options::EngineOptions;
pub use order::{Asked, Format, Limits, Order, OutputFormat, random_seed};
pub use submission::{Preparation, Submission};
