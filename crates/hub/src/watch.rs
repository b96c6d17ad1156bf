//! What a program learns while it waits.

use std::{ops::ControlFlow, time::Duration};

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The bytes of a file that are already there are read again, for their checksum.
    Checking {
        /// The file, by its path in the repository.
        path: &'a str,
    },
    /// A file goes on, or begins, with `done` of `size` bytes.
    Downloading {
        /// The file, by its path in the repository.
        path: &'a str,
        /// The bytes that are there.
        done: u64,
        /// The bytes that there will be.
        size: u64,
    },
    /// A file is in the cache, with the right checksum.
    Done {
        /// The file, by its path in the repository.
        path: &'a str,
    },
    /// Another process downloads the same file.
    Locked {
        /// The file, by its path in the repository.
        path: &'a str,
    },
    /// Something failed that may work later.
    Retrying {
        /// What failed, on one line.
        problem: &'a str,
        /// How long until the next attempt.
        wait: Duration,
    },
}

/// Gets the events of a pull and may end it.
pub trait Watch {
    /// Called often, also while there is nothing to do but wait. `Break` ends the pull with [`crate::Error::Stopped`];
    /// what is downloaded so far stays, for the next pull to go on with.
    fn event(&mut self, event: Event<'_>) -> ControlFlow<()>;
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Watch for Silent {
    fn event(&mut self, _: Event<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}
