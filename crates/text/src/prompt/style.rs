//! How prompts are read.

use std::{fmt, str::FromStr};

use crate::Error;

/// The grammar of prompts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PromptStyle {
    /// None: all of it is text, cut to 77 tokens, as CompVis' scripts and diffusers do.
    #[default]
    Plain,
    /// A1111's ([`crate::Grammar`]).
    A1111,
}

/// What weights do to the text encoder's output (A1111's "Emphasis mode").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Emphasis {
    /// They multiply it, and its mean is then restored.
    #[default]
    Original,
    /// They multiply it.
    NoNorm,
    /// Nothing.
    Ignore,
    /// Brackets are text.
    None,
}

impl PromptStyle {
    /// Every style.
    pub const ALL: [Self; 2] = [Self::Plain, Self::A1111];

    /// Its id: `plain` or `a1111`.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::A1111 => "a1111",
        }
    }
}

impl Emphasis {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::Original, Self::NoNorm, Self::Ignore, Self::None];

    /// Its id: `original`, `no-norm`, `ignore` or `none`.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Original => "original",
            Self::NoNorm => "no-norm",
            Self::Ignore => "ignore",
            Self::None => "none",
        }
    }

    /// A1111's name of it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Original => "Original",
            Self::NoNorm => "No norm",
            Self::Ignore => "Ignore",
            Self::None => "None",
        }
    }
}

impl fmt::Display for PromptStyle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

impl fmt::Display for Emphasis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

impl FromStr for PromptStyle {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|style| style.id() == text);
        found.ok_or_else(|| Error::unknown("prompt style", text, Self::ALL.map(Self::id).join(", ")))
    }
}

impl FromStr for Emphasis {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|emphasis| emphasis.id() == text);
        found.ok_or_else(|| Error::unknown("emphasis", text, Self::ALL.map(Self::id).join(", ")))
    }
}
