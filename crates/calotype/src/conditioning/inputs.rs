//! The prompts of a request, parsed for one pass of the sampler.

use calotype_text::{
    Chunk, EmbeddingNames, Emphasis, Grammar, MAX_CHUNKS, MAX_LENGTH, Prompt, PromptStyle, Schedule, Timeline,
    Tokenizer,
};

use crate::{Error, Request, Result};

/// The most chunks of one text.
const MAX_TEXT_CHUNKS: usize = 64;

/// Everything that the contexts of a pass depend on, but for the text encoder and its embeddings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PromptInputs {
    pub(super) prompts: Prompts,
    pub(super) emphasis: Emphasis,
    pub(super) clip_skip: usize,
    /// Those of the regions of tiled diffusion.
    pub(super) regions: Vec<PromptInputs>,
}

/// A prompt, and a negative one where the pass needs it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Prompts {
    Plain { prompt: String, negative: Option<String> },
    A1111 { prompt: Prompt, negative: Option<Schedule> },
}

/// The chunks of each text of a schedule.
pub(super) type ScheduleChunks = Vec<Vec<Chunk>>;

impl PromptInputs {
    /// Parses the prompts of a request, its schedules over `timeline`. `prompt` is the request's without the tags of adapters.
    ///
    /// # Errors
    /// A prompt can't be parsed.
    pub(crate) fn parse(prompt: &str, request: &Request, timeline: Timeline) -> Result<Self> {
        let regions = request.tiles.iter().flat_map(|tiles| &tiles.regions).map(|region| {
            let negative = region.negative_prompt.as_deref().unwrap_or(&request.negative_prompt);
            Self::parse_one(&region.prompt, negative, request, timeline)
        });
        let regions = regions.collect::<Result<_>>()?;
        Ok(Self { regions, ..Self::parse_one(prompt, &request.negative_prompt, request, timeline)? })
    }

    fn parse_one(prompt: &str, negative_prompt: &str, request: &Request, timeline: Timeline) -> Result<Self> {
        let &Request { prompt_style, emphasis, clip_skip, .. } = request;
        let prompts = match prompt_style {
            PromptStyle::Plain => {
                let negative = request.guides().then(|| negative_prompt.to_owned());
                Prompts::Plain { prompt: prompt.to_owned(), negative }
            }
            PromptStyle::A1111 => {
                let grammar = Grammar { timeline, emphasis };
                let prompt = grammar.prompt(prompt)?;
                // A part with a weight of its own pulls away from the negative prompt even where the scale is 1.
                let is_composed = !matches!(prompt.parts.as_slice(), [part] if part.weight == 1.0);
                let negative = (request.guides() || is_composed).then(|| grammar.negative_prompt(negative_prompt));
                Prompts::A1111 { prompt, negative: negative.transpose()? }
            }
        };
        Ok(Self { prompts, emphasis, clip_skip, regions: Vec::new() })
    }

    /// Rows of the longest context that comes of them, found without a text encoder and for embeddings of one token.
    ///
    /// # Errors
    /// A prompt is far too long.
    pub(crate) fn context_length(&self, tokenizer: &Tokenizer) -> Result<usize> {
        let chunks = match &self.prompts {
            Prompts::Plain { .. } => 1,
            Prompts::A1111 { prompt, negative } => {
                let all = lay_out(prompt, negative.as_ref(), tokenizer, &EmbeddingNames::default())?;
                all.iter().map(|texts| texts.first().map_or(0, Vec::len)).max().unwrap_or(1)
            }
        };
        let own = chunks * MAX_LENGTH;
        let mut of_regions = self.regions.iter().map(|region| region.context_length(tokenizer));
        of_regions.try_fold(own, |longest, length| Ok(longest.max(length?)))
    }
}

/// The chunks of the negative prompt, if there is one, and of each part of the prompt after it.
///
/// # Errors
/// They are so many that their keys and values would fill the memory.
pub(super) fn lay_out(
    prompt: &Prompt,
    negative: Option<&Schedule>,
    tokenizer: &Tokenizer,
    embeddings: &EmbeddingNames,
) -> Result<Vec<ScheduleChunks>> {
    let schedules = negative.into_iter().chain(prompt.parts.iter().map(|part| &part.schedule));
    let laid_out: Vec<ScheduleChunks> =
        schedules.map(|schedule| schedule.chunks(tokenizer, embeddings)).collect::<Result<_, _>>()?;
    let longest = laid_out.iter().flatten().map(Vec::len).max().unwrap_or(0);
    let all: usize = laid_out.iter().flatten().map(Vec::len).sum();
    if longest > MAX_TEXT_CHUNKS || all > MAX_CHUNKS {
        return Err(Error::Prompt(format!(
            "the prompts have {all} chunks of 75 tokens in all their texts, {longest} in one: at most {MAX_CHUNKS} and {MAX_TEXT_CHUNKS} are taken"
        )));
    }
    Ok(laid_out)
}
