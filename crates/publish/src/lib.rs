//! What is done with every image before anybody sees it. The command line and the server do it by one [`Publisher`], and so alike.
//!
//! The order is fixed, for each step is about the result of the one before:
//!
//! 1. **Refuse** ([`Publisher::check_prompts`], [`Publisher::check_init`]), before the work: rules for prompts, the policy on the image to
//!    start from.
//! 2. **Judge** ([`Publisher::judge`]): classifiers give scores, and the policy says whether the image is given as it is, blurred, held for
//!    a person, or blocked.
//! 3. **Mark, write, sign** ([`Publisher::file`]): the watermark in the pixels, the metadata in the file, whose mark is read back, and the
//!    signature over all of it, after which nothing may change the file.
//! 4. **Record** ([`Publisher::record`], [`Publisher::stage`] with [`Publisher::hold`], [`Publisher::record_held`]): the line of the audit
//!    log, which is on the disk before the file has its name.
//!
//! Nothing is printed: what people should know comes back as [`Note`]s and [`Error`]s, which say no names of options.
//!
//! ```no_run
//! use calotype::{CpuDevice, CpuDeviceOptions, Model, Pipeline, PipelineOptions, Request};
//! use calotype_image::FileFormat;
//! use calotype_publish::{FileOptions, Made, Options, Origin, Parents, Publisher, policy};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let policy = policy("block", Some("sd15/safety_checker".as_ref()), None)?;
//! let options = Options { policy, audit: Some("audit.jsonl".into()), ..Options::default() };
//! let publisher = Publisher::open(options, &CpuDevice::new(CpuDeviceOptions::default())?)?;
//!
//! let (request, origin) = (Request::new("a lighthouse"), Origin::default());
//! publisher.check_prompts(&request, &origin)?;
//! let mut run = Pipeline::load(Model::open("sd15")?, PipelineOptions::default())?.generate(request)?;
//! run.by_ref().try_for_each(|event| event.map(drop))?;
//! for image in run.finish()?.images {
//!     let mut metadata = image.metadata()?;
//!     let judged = publisher.judge(image.pixels, &mut metadata, &origin)?;
//!     let Some(shown) = judged.shown else { continue };
//!     let options = FileOptions { parents: Parents::Files(&[]), ..FileOptions::new(FileFormat::Png) };
//!     let (file, _notes) = publisher.file(&shown, &mut metadata, &options)?;
//!     let made = Made { metadata: &metadata, file: &file };
//!     publisher.record(made, judged.verdict.as_ref(), "lighthouse.png".as_ref(), &origin)?;
//!     std::fs::write("lighthouse.png", file)?;
//! }
//! # Ok(())
//! # }
//! ```

mod error;
mod held;
mod marks;
mod note;
mod options;
mod parents;
mod publisher;
mod record;
mod sign;

pub use calotype_safety::{
    audit::Entry,
    policy::{Policy, Verdict, blurred},
    review::Decision,
    rules::Rules,
    watermark::Wanted,
};
pub use error::{Error, Result};
pub use held::HeldImage;
pub use marks::{DEFAULT_QUALITY, FileOptions, wanted_as_made};
pub use note::{MarkFault, Note, Severity};
pub use options::{Options, SigningOptions, policy};
pub use parents::{InputFile, Parents};
pub use publisher::{Judged, Publisher};
pub use record::{Made, Origin};
