//! What people should know of an image that is given out all the same.

use std::fmt;

use calotype_safety::policy::Action;

use crate::error::init;

/// Something to tell. As text it is one line.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Note {
    /// The policy does something with an image.
    Judged {
        /// The image's seed.
        seed: u64,
        /// What is done; never [`Action::Allow`].
        action: Action,
        /// The scores that ask for that.
        reasons: String,
    },
    /// The image to start from is flagged.
    InitFlagged {
        /// Its file, as the request names it; empty if it has none.
        file: String,
        /// The scores that ask for that.
        reasons: String,
    },
    /// An image's watermark is not as it was asked for.
    Mark(MarkFault),
    /// A file can't hold all that it should say.
    Metadata(calotype::Warning),
    /// The audit log ended in half a line, which was taken away.
    MendedLog {
        /// How many bytes.
        cut_bytes: u64,
    },
}

/// How much a note matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// As was to be expected.
    Note,
    /// Not as it was asked for.
    Warning,
}

impl Note {
    /// How much it matters.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::Mark(MarkFault::TooSmall { .. }) => Severity::Note,
            _ => Severity::Warning,
        }
    }
}

impl Severity {
    /// `note` or `warning`.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Judged { seed, action, reasons } => {
                write!(f, "the image of seed {seed} is {} by the policy: {reasons}", action.done())
            }
            Self::InitFlagged { file, reasons } => write!(f, "{}: flagged by the policy: {reasons}", init(file)),
            Self::Mark(fault) => fault.fmt(f),
            Self::Metadata(warning) => warning.fmt(f),
            Self::MendedLog { cut_bytes } => {
                write!(f, "the audit log ended in half a line, of which {cut_bytes} bytes were taken away")
            }
        }
    }
}

/// What is wrong with an image's watermark.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MarkFault {
    /// There is no room for it.
    TooSmall {
        /// The image's width.
        width: u32,
        /// Its height.
        height: u32,
        /// How large an image must be, in words.
        smallest: &'static str,
    },
    /// It can't be read back from the file, which has none.
    Unreadable {
        /// The image's seed.
        seed: u64,
    },
    /// Not all of it can be read back from the file.
    Damaged {
        /// The name of its scheme.
        scheme: &'static str,
        /// The share of its bits that is right, 0 to 1.
        right: f64,
    },
}

impl fmt::Display for MarkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSmall { width, height, smallest } => write!(
                f,
                "images of {width} x {height} have no watermark: they are too small for one, which takes {smallest} pixels"
            ),
            Self::Unreadable { seed } => {
                write!(f, "no watermark can be read back from the file of the image of seed {seed}, so it has none")
            }
            Self::Damaged { scheme, right } => {
                let right = right * 100.0;
                write!(f, "of the {scheme} watermark {right:.0} % of the bits can be read back from the file")
            }
        }
    }
}
