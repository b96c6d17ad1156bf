//! Arguments of `calotype info`.

use std::path::PathBuf;

use clap::Args;

#[derive(Args)]
#[command(after_help = "\
Reads what Calotype, A1111, Forge, SD.Next, ComfyUI, InvokeAI, NovelAI, SwarmUI, Fooocus,
Easy Diffusion and Draw Things write into their images, and computes nothing. `calotype remake`
takes these settings; what it would not take is named.

Exit status: 0 every file says how its image was made, 1 one does not, or can't be read.

Examples:
  calotype info outputs/00000.png
  calotype info --json *.png")]
pub(crate) struct Info {
    /// Images: PNG, JPEG, WebP or TIFF
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Print a JSON object for each file
    #[arg(long)]
    pub(crate) json: bool,
}
