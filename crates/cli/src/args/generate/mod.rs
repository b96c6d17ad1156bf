//! Arguments of the commands that make pictures, in sections. A new option is a member of its section and a line in the
//! section's `apply`.

mod adapters;
mod given;
mod hires;
mod init;
mod marks;
mod noise;
mod output;
mod picture;
mod prompt;
mod safety;
mod sampling;
mod scheduler;
mod settings;
mod tiles;
mod upscaler;

use std::path::PathBuf;

use calotype::Request;
use clap::{Arg, Args};

use super::{DeviceArgs, ModelArgs, PictureCompute};
use crate::failure::Failure;
use adapters::{AdapterArgs, AdapterFolderArgs};
pub(crate) use given::Given;
use hires::HiresArgs;
use init::{InitArgs, MaskArgs, OutpaintArgs, StrengthArgs};
pub(crate) use marks::MarkArgs;
use noise::{LatentsArgs, NoiseArgs};
pub(crate) use output::OutputArgs;
use picture::{PictureArgs, SizeArgs};
pub(crate) use prompt::{PromptArgs, TextArgs};
pub(crate) use safety::SafetyArgs;
use sampling::SamplingArgs;
use scheduler::SchedulerArgs;
use settings::SettingsArgs;
use upscaler::UpscalerArgs;

#[derive(Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "\
Examples:
  calotype txt2img \"a red apple on a blue background\"
  calotype txt2img \"a dog\" --negative-prompt blurry --seed 7 --output dog.png
  calotype txt2img \"a dog in <style>\" --lora ink.safetensors:0.7 --embedding style.pt
  calotype txt2img \"a dog\" --batch-size 4 --batch-count 2 --output dogs"
)]
pub(crate) struct Txt2img {
    #[command(flatten)]
    pub(crate) generate: GenerateArgs,
    #[command(flatten)]
    pub(crate) hires: HiresArgs,
}

#[derive(Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "\
Examples:
  calotype img2img \"a watercolour of a harbour\" --init-img sketch.png
  calotype img2img \"the same in winter\" --init-img photo.jpg --strength 0.5 --width 512 --height 512 --resize-mode crop"
)]
pub(crate) struct Img2img {
    #[command(flatten)]
    pub(crate) init: InitArgs,
    #[command(flatten)]
    pub(crate) generate: GenerateArgs,
}

#[derive(Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "\
A model made for inpainting (9 channels) sees the mask; with any other the latents outside of the mask
are kept at every step.

Examples:
  calotype inpaint \"a wooden bench\" --init-img park.png --mask where.png
  calotype inpaint \"a face\" --init-img crowd.jpg --mask face.png --inpaint-area masked --fill latent-noise"
)]
pub(crate) struct InpaintCommand {
    #[command(flatten)]
    pub(crate) init: InitArgs,
    #[command(flatten)]
    pub(crate) mask: MaskArgs,
    #[command(flatten)]
    pub(crate) generate: GenerateArgs,
}

#[derive(Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "\
Examples:
  calotype outpaint \"a wide valley\" --init-img valley.png --left 128 --right 128"
)]
pub(crate) struct Outpaint {
    #[command(flatten)]
    pub(crate) outpaint: OutpaintArgs,
    #[command(flatten)]
    pub(crate) generate: GenerateArgs,
}

#[derive(Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "\
A picture of this program is made again byte for byte, with the same model and, where it began with
pictures, the same files. Of other programs' pictures (see calotype info --help) as much is honoured
as can be; the rest is said. Options change what they are of; what is not given is as it was.

Examples:
  calotype remake outputs/00000.png --output again.png
  calotype remake outputs/00000.png --seed 7 --steps 40 --output other.png"
)]
#[command(mut_args(as_it_was))]
pub(crate) struct Remake {
    #[command(flatten)]
    pub(crate) given: Given,
    /// Image whose file says how it was made
    pub(crate) file: PathBuf,
    /// A picture or mask that it started from, if that is no longer where it was; any number of them
    #[arg(long, value_name = "FILE")]
    pub(crate) picture: Vec<PathBuf>,
    /// Leave out LoRAs, hypernetworks and embeddings that are not there, with a warning
    #[arg(long)]
    pub(crate) ignore_missing: bool,
    /// Prompt: what to generate
    #[arg(long, value_name = "TEXT", help_heading = "Prompt")]
    pub(crate) prompt: Option<String>,
    #[command(flatten)]
    pub(crate) text: TextArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) folders: AdapterFolderArgs,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
    #[command(flatten)]
    pub(crate) scheduler: SchedulerArgs,
    #[command(flatten)]
    pub(crate) noise: NoiseArgs,
    #[command(flatten)]
    pub(crate) size: SizeArgs,
    #[command(flatten)]
    pub(crate) strength: StrengthArgs,
    #[command(flatten)]
    pub(crate) hires: HiresArgs,
    #[command(flatten)]
    pub(crate) upscaler: UpscalerArgs,
    #[command(flatten)]
    pub(crate) safety: SafetyArgs,
    #[command(flatten)]
    pub(crate) marks: MarkArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    pub(crate) compute: PictureCompute,
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
    pub(crate) scheduler: SchedulerArgs,
    #[command(flatten)]
    pub(crate) noise: NoiseArgs,
    #[command(flatten)]
    pub(crate) latents: LatentsArgs,
    #[command(flatten)]
    pub(crate) picture: PictureArgs,
    #[command(flatten)]
    pub(crate) upscaler: UpscalerArgs,
    #[command(flatten)]
    pub(crate) safety: SafetyArgs,
    #[command(flatten)]
    pub(crate) marks: MarkArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    pub(crate) compute: PictureCompute,
}

/// The sections that a line of `--from-file` may have options of.
#[derive(Args, Clone, Debug, PartialEq)]
pub(crate) struct LineArgs {
    #[command(flatten)]
    pub(crate) prompt: PromptArgs,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    scheduler: SchedulerArgs,
    #[command(flatten)]
    pub(crate) noise: NoiseArgs,
    #[command(flatten)]
    pub(crate) picture: PictureArgs,
}

impl LineArgs {
    /// Lets a request be as the sections say.
    pub(crate) fn apply(&self, request: &mut Request) {
        let given = Given::all();
        self.prompt.apply(request);
        self.sampling.apply(request, &given);
        self.settings.apply(request, &given);
        self.scheduler.apply(request);
        self.noise.apply(request, &given);
        self.picture.size.apply(request, &given);
        self.picture.tiles.apply(request, &given);
    }
}

/// An option that changes how an image was made has no value by default.
fn as_it_was(arg: Arg) -> Arg {
    let heading = arg.get_help_heading().unwrap_or_default();
    let headings = ["Prompt", "Sampling", "Noise", "Picture", "Settings of some", "Second, larger pass"];
    let changes = headings.iter().any(|start| heading.starts_with(start));
    if changes { arg.hide_default_value(true) } else { arg }
}

impl Remake {
    /// Whether what prompts call for may be other than it was.
    pub(crate) fn changes_prompts(&self) -> bool {
        self.prompt.is_some() || ["negative_prompt", "prompt_style"].iter().any(|id| self.given.has(id))
    }

    /// Changes a request as the options say; `size` is that of its first pass, of a model that makes multiples of `multiple`.
    ///
    /// # Errors
    /// An option is of something that the picture was not made with.
    pub(crate) fn change(&self, request: &mut Request, size: [usize; 2], multiple: usize) -> Result<(), Failure> {
        let given = &self.given;
        if let Some(prompt) = &self.prompt {
            request.prompt.clone_from(prompt);
        }
        self.text.apply(request, given);
        self.sampling.apply(request, given);
        self.settings.apply(request, given);
        self.scheduler.apply(request);
        self.noise.apply(request, given);
        self.size.apply(request, given);
        let size = [request.width.unwrap_or(size[0]), request.height.unwrap_or(size[1])];
        self.hires.change(request, given, size, multiple);
        match &mut request.init {
            Some(init) => self.strength.change(init, given),
            None if given.has("strength") || given.has("strength_rule") => {
                return Err(Failure::usage("--strength is for images that were made from another image"));
            }
            None => {}
        }
        let of_hires = ["hires_steps", "hires_strength", "hires_upscaler"].iter().any(|id| given.has(id));
        match request.hires.is_none() && of_hires {
            true => Err(Failure::usage("there is no second pass: give --hires-scale or --hires-size too")),
            false => Ok(()),
        }
    }
}

impl GenerateArgs {
    /// What a line of `--from-file` changes.
    pub(crate) fn for_lines(&self) -> LineArgs {
        let Self { prompt, sampling, settings, scheduler, noise, picture, .. } = self;
        LineArgs {
            prompt: prompt.clone(),
            sampling: sampling.clone(),
            settings: settings.clone(),
            scheduler: scheduler.clone(),
            noise: noise.clone(),
            picture: picture.clone(),
        }
    }

    /// What the sections say of every batch. What a batch has of its own (its size, what comes from files) is left as by
    /// default.
    ///
    /// # Errors
    /// An option is missing.
    pub(crate) fn request(&self) -> Result<Request, Failure> {
        let missing = |what: &str| {
            let message = format!("the following required arguments were not provided: {what}");
            Err(Failure::Usage { message, hint: Some("see calotype --help".to_owned()) })
        };
        if self.prompt.given().is_none() && self.prompt.from_file.is_none() {
            return missing("<PROMPT>");
        }
        match (self.noise.variation_seed, self.noise.variation_strength) {
            (Some(_), None) => return missing("--variation-strength <X>"),
            (None, Some(_)) => return missing("--variation-seed <N>"),
            _ => {}
        }
        let mut request = Request::default();
        self.for_lines().apply(&mut request);
        self.adapters.apply(&mut request, self.model.model.as_deref());
        Ok(request)
    }
}
