//! What is to be seen.

use calotype::Request;
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
}

impl PromptArgs {
    pub(super) fn apply(&self, request: &mut Request) {
        request.prompt.clone_from(&self.prompt);
        request.negative_prompt.clone_from(&self.negative_prompt);
    }
}
