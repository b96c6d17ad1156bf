//! Arguments of the commands that make pictures, in sections. A new option is a member of its section and a line in the
//! section's `apply`.

mod adapters;
mod noise;
mod output;
mod picture;
mod prompt;
mod sampling;
mod settings;

use calotype::Request;
use clap::Args;

use super::{Compute, ModelArgs};
use adapters::AdapterArgs;
use noise::NoiseArgs;
use output::OutputArgs;
use picture::PictureArgs;
use prompt::PromptArgs;
use sampling::SamplingArgs;
use settings::SettingsArgs;

#[derive(Args)]
#[command(after_help = "\
Examples:
  calotype txt2img \"a red apple on a blue background\"
  calotype txt2img \"a dog\" --negative-prompt blurry --seed 7 --output dog.png
  calotype txt2img \"a dog in <style>\" --lora ink.safetensors:0.7 --embedding style.pt
  calotype txt2img \"a dog\" --batch-size 4 --batch-count 2 --output dogs")]
pub(crate) struct Txt2img {
    #[command(flatten)]
    pub(crate) generate: GenerateArgs,
}

/// What every command takes that makes pictures.
#[derive(Args)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    pub(crate) prompt: PromptArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) adapters: AdapterArgs,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
    #[command(flatten)]
    pub(crate) noise: NoiseArgs,
    #[command(flatten)]
    pub(crate) picture: PictureArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) compute: Compute,
}

impl GenerateArgs {
    /// What the sections say of every batch. What a batch has of its own (its seed, its size, what comes from files) is
    /// left as by default.
    pub(crate) fn request(&self) -> Request {
        let mut request = Request::default();
        self.prompt.apply(&mut request);
        self.adapters.apply(&mut request, self.model.model.as_deref());
        self.sampling.apply(&mut request);
        self.settings.apply(&mut request);
        self.noise.apply(&mut request);
        self.picture.apply(&mut request);
        request
    }
}
