//! What is to be seen.

use calotype::{Emphasis, PromptStyle, Request};
use clap::Args;

/// What is to be seen.
#[derive(Args)]
#[command(next_help_heading = "Prompt")]
pub(crate) struct PromptArgs {
    /// What is to be seen
    #[arg(help_heading = None)]
    pub(crate) prompt: String,
    /// What is not to be seen
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) negative_prompt: String,
    /// How prompts are read: plain, 77 tokens of text, or a1111, with (weights:1.2), [from:to:0.5], [a|b], AND, BREAK
    #[arg(long, value_name = "NAME", default_value_t = PromptStyle::Plain)]
    pub(crate) prompt_style: PromptStyle,
    /// What weights of a1111 do: original (the mean restored), no-norm, ignore, or none (brackets are text)
    #[arg(long, value_name = "NAME", default_value_t = Emphasis::Original)]
    pub(crate) emphasis: Emphasis,
    /// Take the text encoder's Nth output from the end, as A1111's "Clip skip"; 1 is the last
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) clip_skip: usize,
}

impl PromptArgs {
    pub(super) fn apply(&self, request: &mut Request) {
        request.prompt.clone_from(&self.prompt);
        request.negative_prompt.clone_from(&self.negative_prompt);
        request.prompt_style = self.prompt_style;
        request.emphasis = self.emphasis;
        request.clip_skip = self.clip_skip;
    }
}
