//! CLIP byte-pair encoding: text in, token ids out; and A1111's prompt grammar ([`Grammar`]) over it.
//!
//! [`Tokenizer::clip`] is the tokenizer of Stable Diffusion v1, its vocabulary embedded; [`Tokenizer::from_folder`]
//! and [`Tokenizer::from_files`] read another one. Ids are equal to those of transformers' `CLIPTokenizer` on any text.
//! The way of a text: special and added tokens are cut out, the rest is normalized (NFC, whitespace, lower case), split into
//! words, and each word's bytes are merged pair by pair, in the order of the merges file.

mod added;
mod bpe;
mod characters;
mod error;
mod export;
mod files;
mod normalize;
mod prompt;
mod split;
mod tokenizer;
mod vocabulary;

pub use error::Error;
pub use export::{ReducedClip, TokenizerFolder, clip_files, reduced_clip};
pub use prompt::{
    Chunk, EmbeddingNames, Emphasis, Entries, ExtraNetworkTag, Grammar, MAX_CHUNKS, MAX_PROMPT_BYTES, Part, Prompt,
    PromptStyle, Schedule, Timeline, extra_networks_of, plain_texts,
};
pub use tokenizer::{Encoding, MAX_LENGTH, Tokenizer};
