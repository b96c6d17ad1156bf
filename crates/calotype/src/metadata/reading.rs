//! What is read of a picture that another program may have made.

use std::fmt;

use super::Metadata;

/// What a picture says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Reading {
    /// The program that made it.
    pub program: Program,
    /// What it says; the rest is as by default.
    pub metadata: Metadata,
    /// Whether that is everything, by which the picture is made again byte for byte; so only of this program's JSON.
    pub is_complete: bool,
    /// Settings in it that are not taken, each a name and its value; a bare word has no value.
    pub unread: Vec<(String, String)>,
    /// What else can't be as it was, a sentence each.
    pub notes: Vec<String>,
    /// How the image came to be by its XMP packet, in IPTC's words: `trainedAlgorithmicMedia`, or whatever is said there.
    pub digital_source_type: Option<String>,
}

/// A program that says in its pictures how they were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Program {
    /// This one.
    Calotype,
    /// AUTOMATIC1111's stable-diffusion-webui, or one that writes its text without saying more.
    #[default]
    A1111,
    /// stable-diffusion-webui-forge and what came of it.
    Forge,
    /// SD.Next.
    SdNext,
    /// ComfyUI.
    ComfyUi,
    /// InvokeAI.
    InvokeAi,
    /// NovelAI.
    NovelAi,
    /// SwarmUI.
    SwarmUi,
    /// Fooocus.
    Fooocus,
    /// Easy Diffusion.
    EasyDiffusion,
    /// Draw Things.
    DrawThings,
}

impl Program {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Calotype => "Calotype",
            Self::A1111 => "A1111",
            Self::Forge => "Forge",
            Self::SdNext => "SD.Next",
            Self::ComfyUi => "ComfyUI",
            Self::InvokeAi => "InvokeAI",
            Self::NovelAi => "NovelAI",
            Self::SwarmUi => "SwarmUI",
            Self::Fooocus => "Fooocus",
            Self::EasyDiffusion => "Easy Diffusion",
            Self::DrawThings => "Draw Things",
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
