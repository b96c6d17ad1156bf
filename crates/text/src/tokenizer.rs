use std::collections::HashMap;
use std::path::Path;
use std::sync::LazyLock;

use crate::EmbeddingNames;
use crate::added::{AddedToken, AddedTokens, Piece};
use crate::bpe::merge;
use crate::error::Error;
use crate::files::{self, TokenizerFiles};
use crate::normalize::normalize;
use crate::split::split;
use crate::vocabulary::{BOS, END_OF_WORD, EOS, Vocabulary, byte_chars, parse_merges, quote};

/// Tokens of an encoded text, BOS, EOS and padding included: the length of CLIP's position embedding.
pub const MAX_LENGTH: usize = 77;

/// CLIP's merges, zlib-compressed: see `data/NOTICE` for their licence.
const CLIP_MERGES: &[u8] = include_bytes!("../data/clip_merges.txt.z");

static CLIP: LazyLock<Tokenizer> = LazyLock::new(|| clip().expect("the embedded merges are CLIP's"));

/// Padded with the first token instead.
static OPEN_CLIP: LazyLock<Tokenizer> =
    LazyLock::new(|| Tokenizer { pad: 0, ..clip().expect("the embedded merges are CLIP's") });

fn clip() -> Result<Tokenizer, String> {
    Tokenizer::new(Vocabulary::from_merges(&parse_merges(&clip_merges()?)?)?, None, Vec::new())
}

/// The text of CLIP's `merges.txt`.
pub(crate) fn clip_merges() -> Result<String, String> {
    let merges = miniz_oxide::inflate::decompress_to_vec_zlib(CLIP_MERGES).map_err(|error| error.to_string())?;
    String::from_utf8(merges).map_err(|error| error.to_string())
}

/// A text as ids for the text encoder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Encoding {
    /// [`MAX_LENGTH`] ids: BOS, at most 75 of the text, EOS, then the pad token.
    pub ids: Vec<u32>,
    /// Number of tokens, BOS and EOS included, had nothing been cut or padded.
    pub len_untruncated: usize,
    /// What was cut from the end, decoded (so in lower case), for a warning; `None` where nothing was.
    pub truncated_text: Option<String>,
}

/// A CLIP byte-pair tokenizer (Radford et al. 2021, <https://arxiv.org/abs/2103.00020>).
#[derive(Debug)]
pub struct Tokenizer {
    vocabulary: Vocabulary,
    bos: u32,
    eos: u32,
    pad: u32,
    /// Those with ids of their own or not, beside BOS, EOS and the pad token.
    added: Vec<AddedToken>,
    /// Looked for before any normalization: the special tokens, and added ones.
    in_text: AddedTokens,
    /// Looked for in what normalization gives.
    in_normalized: AddedTokens,
}

impl Tokenizer {
    /// The tokenizer of Stable Diffusion v1: 49408 tokens, BOS 49406, EOS 49407, padded with EOS.
    /// Built at the first call, in some tens of milliseconds.
    pub fn clip() -> &'static Self {
        &CLIP
    }

    /// The tokenizer of Stable Diffusion v2, OpenCLIP's: as [`Self::clip`], padded with 0. (That is `!`, which in a text
    /// is a token like any other, unlike in transformers.)
    pub fn open_clip() -> &'static Self {
        &OPEN_CLIP
    }

    /// From a `vocab.json` and a `merges.txt`, padded with EOS.
    ///
    /// # Errors
    /// A file that cannot be read or is larger than 32 MiB; ids that are not 0, 1, 2, … each once; no
    /// `<|startoftext|>` or `<|endoftext|>`; a merge whose parts or whole the vocabulary lacks.
    pub fn from_files(vocab: &Path, merges: &Path) -> Result<Self, Error> {
        let vocabulary = files::read_pair(vocab, merges)?;
        Self::new(vocabulary, None, Vec::new()).map_err(|problem| files::invalid(vocab, problem))
    }

    /// From a diffusers `tokenizer` folder: `vocab.json` and `merges.txt`, or else `tokenizer.json`. The pad token is
    /// that of `special_tokens_map.json` or `tokenizer_config.json` (Stable Diffusion v2: `!`, id 0), else EOS.
    /// As in transformers, the pad token is then special wherever a text has it. Added tokens are those of
    /// `tokenizer.json`, `tokenizer_config.json` and `added_tokens.json`; of one that several name the first counts.
    ///
    /// # Errors
    /// As [`Tokenizer::from_files`], and a pad token that the vocabulary lacks, added tokens that are none, or a
    /// `model_max_length` other than [`MAX_LENGTH`].
    pub fn from_folder(folder: &Path) -> Result<Self, Error> {
        Self::from_tokenizer_files(&TokenizerFiles::on_disk(folder))
    }

    /// As [`Self::from_folder`], from files in memory: `read` gives the bytes of the file of a name, none if there is no
    /// such file. `label` is what messages call the folder.
    ///
    /// # Errors
    /// As [`Self::from_folder`].
    pub fn from_memory(label: &str, read: &dyn Fn(&str) -> Option<Vec<u8>>) -> Result<Self, Error> {
        Self::from_tokenizer_files(&TokenizerFiles::in_memory(label, read))
    }

    fn from_tokenizer_files(files: &TokenizerFiles<'_>) -> Result<Self, Error> {
        let vocabulary = files.vocabulary()?;
        let (pad, added) = (files.pad_token()?, files.added_tokens()?);
        files.check_length()?;
        Self::new(vocabulary, pad.as_deref(), added).map_err(|problem| files.invalid_folder(problem))
    }

    fn new(vocabulary: Vocabulary, pad: Option<&str>, added: Vec<AddedToken>) -> Result<Self, String> {
        let of_added = |token: &str| added.iter().find(|added| added.content == token).map(|added| added.id);
        let id = |token: &str| {
            let id = vocabulary.id(token).or_else(|| of_added(token));
            id.ok_or_else(|| format!("the vocabulary lacks {}", quote(token)))
        };
        let (bos, eos) = (id(BOS)?, id(EOS)?);
        let mut specials = vec![AddedToken::literal(BOS, bos), AddedToken::literal(EOS, eos)];
        let mut pad_id = eos;
        if let Some(pad) = pad.filter(|pad| !pad.is_empty()) {
            pad_id = id(pad)?;
            specials.push(AddedToken::literal(pad, pad_id));
        }
        let added: Vec<AddedToken> =
            added.into_iter().filter(|added| specials.iter().all(|known| known.content != added.content)).collect();
        let (normalized, raw): (Vec<_>, Vec<_>) = added.iter().cloned().partition(|added| added.normalized);
        specials.extend(raw);
        let (in_text, in_normalized) = (AddedTokens::new(specials), AddedTokens::new(normalized));
        Ok(Self { bos, eos, pad: pad_id, added, in_text, in_normalized, vocabulary })
    }

    /// Number of tokens, the added ones included; every id is below it.
    pub fn vocab_size(&self) -> usize {
        let added = self.added.iter().map(|added| added.id as usize + 1).max();
        self.vocabulary.tokens.len().max(added.unwrap_or(0))
    }

    /// The added tokens that the vocabulary lacks, by id.
    pub fn added_tokens(&self) -> Vec<(&str, u32)> {
        let own = self.added.iter().filter(|added| added.id as usize >= self.vocabulary.tokens.len());
        let mut own: Vec<(&str, u32)> = own.map(|added| (added.content.as_str(), added.id)).collect();
        own.sort_by_key(|(_, id)| *id);
        own
    }

    /// Whether its vocabulary, without added tokens, is that of `other`.
    pub fn has_vocabulary_of(&self, other: &Self) -> bool {
        self.vocabulary.tokens == other.vocabulary.tokens
    }

    /// A token as the vocabulary file writes it: bytes as characters, `</w>` where it ends a word.
    pub fn token(&self, id: u32) -> Option<&str> {
        let own = self.vocabulary.tokens.get(id as usize).map(String::as_str);
        own.or_else(|| self.added.iter().find(|added| added.id == id).map(|added| added.content.as_str()))
    }

    /// The id of a token as the vocabulary file writes it.
    pub(crate) fn id(&self, token: &str) -> Option<u32> {
        self.vocabulary.id(token)
    }

    /// The token that begins every text.
    pub fn bos(&self) -> u32 {
        self.bos
    }

    /// The token that ends every text.
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// The token that follows the end.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// The text for the text encoder: [`MAX_LENGTH`] ids, cut or padded to it.
    pub fn encode(&self, text: &str) -> Encoding {
        self.encode_with(text, &EmbeddingNames::default())
    }

    /// [`Self::encode`], with the ids of vectors in the place of embeddings' names.
    pub fn encode_with(&self, text: &str, embeddings: &EmbeddingNames) -> Encoding {
        let raw = embeddings.encode_raw(self, text);
        let (kept, cut) = raw.split_at(raw.len().min(MAX_LENGTH - 2));
        let mut ids = Vec::with_capacity(MAX_LENGTH);
        ids.push(self.bos);
        ids.extend(kept);
        ids.push(self.eos);
        ids.resize(MAX_LENGTH, self.pad);
        let truncated_text = (!cut.is_empty()).then(|| self.decode(cut));
        Encoding { ids, len_untruncated: raw.len() + 2, truncated_text }
    }

    /// The text's own ids, however many: no BOS, no EOS, no padding. A special or an added token in the text is its id.
    pub fn encode_raw(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        for piece in self.in_text.pieces(text) {
            match piece {
                Piece::Token(id) => ids.push(id),
                Piece::Text(text) => self.encode_plain(text, &mut ids),
            }
        }
        ids
    }

    /// The text of these ids, a space after each word, none at the ends; special tokens as they are written.
    /// Ids that the vocabulary lacks are skipped, bytes that are not UTF-8 are U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let chars: HashMap<char, u8> = byte_chars().into_iter().zip(0..=255).collect();
        let mut bytes = Vec::new();
        for &id in ids {
            match self.vocabulary.tokens.get(id as usize) {
                Some(_) => self.vocabulary.token_bytes(id, &chars, &mut bytes),
                None => bytes.extend(self.token(id).map(|added| format!("{added} ")).unwrap_or_default().bytes()),
            }
        }
        let text = String::from_utf8_lossy(&bytes).replace(END_OF_WORD, " ");
        // U+001C to U+001F: whitespace to the reference here (Python's `strip`), though not to Unicode.
        text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '\x1c'..='\x1f')).to_string()
    }

    fn encode_plain(&self, text: &str, ids: &mut Vec<u32>) {
        for piece in self.in_normalized.pieces(&normalize(text)) {
            match piece {
                Piece::Token(id) => ids.push(id),
                Piece::Text(text) => self.encode_words(text, ids),
            }
        }
    }

    fn encode_words(&self, normalized: &str, ids: &mut Vec<u32>) {
        let mut tokens = Vec::new();
        split(normalized, |word| {
            let mut bytes = word.bytes().map(|byte| self.vocabulary.bytes[usize::from(byte)]);
            tokens.clear();
            tokens.extend(bytes.clone().map(|(inside, _)| inside));
            if let (Some(token), Some((_, last))) = (tokens.last_mut(), bytes.next_back()) {
                *token = last;
            }
            merge(&mut tokens, &self.vocabulary.merges);
            ids.append(&mut tokens);
        });
    }
}
