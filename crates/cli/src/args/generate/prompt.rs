//! What to generate.

use std::path::PathBuf;

use calotype::{
    Request,
    request::{Emphasis, PromptStyle},
};
use clap::Args;

use super::Given;

/// What to generate.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(next_help_heading = "Prompt")]
pub(crate) struct PromptArgs {
    /// Prompt: what to generate
    #[arg(help_heading = None)]
    pub(crate) prompt: Option<String>,
    /// CompVis' name of the prompt
    #[arg(long = "prompt", value_name = "TEXT", hide = true, conflicts_with = "prompt")]
    pub(crate) named_prompt: Option<String>,
    #[command(flatten)]
    pub(crate) text: TextArgs,
    /// Prompts, one on each line; - for stdin. With --seed-per batch the lines fill batches, one image for each, as in CompVis'
    /// scripts. A line may have options of its own, as A1111's "Prompts from file":
    /// --prompt "a cat" --negative_prompt dog --steps 20 --seed 7 --cfg_scale 5 --sampler_name Euler
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "named_prompt"], alias = "from_file")]
    pub(crate) from_file: Option<PathBuf>,
    /// Apply a style of --styles: its text comes after the prompt, or around it where it says {prompt}; any number of them
    #[arg(long, value_name = "NAME")]
    pub(crate) style: Vec<String>,
    /// Table of styles, as A1111's styles.csv
    #[arg(long, value_name = "FILE", default_value = "styles.csv")]
    pub(crate) styles: PathBuf,
}

/// What is not to be generated, and how prompts are read.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(next_help_heading = "Prompt")]
pub(crate) struct TextArgs {
    /// Negative prompt: what not to generate
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) negative_prompt: String,
    /// How prompts are read: plain, 77 tokens of text, or a1111, with (weights:1.2), [from:to:0.5], [a|b], AND, BREAK
    #[arg(long, value_name = "NAME", default_value_t = PromptStyle::Plain)]
    pub(crate) prompt_style: PromptStyle,
    /// What weights of a1111 do (Emphasis mode): original (the mean restored), no-norm, ignore, or none (brackets are text)
    #[arg(long, value_name = "NAME", default_value_t = Emphasis::Original)]
    pub(crate) emphasis: Emphasis,
    /// In [from:to:when] a when below 1 is a part of the steps and any other a step, as in A1111 before 1.6 (Use old prompt
    /// editing timelines); else it is a part if it has a point
    #[arg(long)]
    pub(crate) old_prompt_editing: bool,
    /// Take the text encoder's Nth output from the end, as A1111's "Clip skip"; 1 is the last
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) clip_skip: usize,
}

impl PromptArgs {
    /// The prompt that is not in a file.
    pub(super) fn given(&self) -> Option<&String> {
        self.prompt.as_ref().or(self.named_prompt.as_ref())
    }

    pub(super) fn apply(&self, request: &mut Request) {
        request.prompt = self.given().cloned().unwrap_or_default();
        self.text.apply(request, &Given::all());
    }
}

impl TextArgs {
    pub(super) fn apply(&self, request: &mut Request, given: &Given) {
        given.set("negative_prompt", &mut request.negative_prompt, self.negative_prompt.clone());
        given.set("prompt_style", &mut request.prompt_style, self.prompt_style);
        given.set("emphasis", &mut request.emphasis, self.emphasis);
        given.set("old_prompt_editing", &mut request.old_prompt_editing, self.old_prompt_editing);
        given.set("clip_skip", &mut request.clip_skip, self.clip_skip);
    }
}
