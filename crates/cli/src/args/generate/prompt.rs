//! What is to be seen.

use std::path::PathBuf;

use calotype::Request;
use clap::Args;

/// What is to be seen.
#[derive(Args)]
#[command(next_help_heading = "Prompt")]
pub(crate) struct PromptArgs {
    /// What is to be seen
    #[arg(help_heading = None, required_unless_present_any = ["from_file", "named_prompt"])]
    pub(crate) prompt: Option<String>,
    /// CompVis' way to give it
    #[arg(long = "prompt", value_name = "TEXT", hide = true, conflicts_with = "prompt")]
    pub(crate) named_prompt: Option<String>,
    /// What is not to be seen
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) negative_prompt: String,
    /// Prompts, one on each line; - for stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "named_prompt"], alias = "from_file")]
    pub(crate) from_file: Option<PathBuf>,
}

impl PromptArgs {
    /// The prompt that is not in a file.
    fn given(&self) -> Option<String> {
        self.prompt.clone().or(self.named_prompt.clone())
    }

    pub(super) fn apply(&self, request: &mut Request) {
        request.prompt = self.given().unwrap_or_default();
        request.negative_prompt.clone_from(&self.negative_prompt);
    }
}
