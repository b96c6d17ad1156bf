//! Arguments of `calotype models pull`.

use clap::Args;

#[derive(Args)]
#[command(after_help = "\
Of a diffusers model the weights of text encoder, UNet and VAE are taken (safetensors before
pickles), with configs, tokenizer and scheduler; of others the one .safetensors or .ckpt file.
They go into the cache that Python's huggingface_hub uses too, each checked by its checksum.
A download that was stopped goes on with the same command. The model's licence is shown and
asked for once.

Environment: HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_TOKEN_PATH, HF_ENDPOINT, HF_HUB_OFFLINE,
HF_HUB_DISABLE_PROGRESS_BARS, HF_HUB_DISABLE_IMPLICIT_TOKEN, HF_HUB_DOWNLOAD_TIMEOUT,
SSL_CERT_FILE, HTTPS_PROXY.

Examples:
  calotype models pull stable-diffusion-v1-5/stable-diffusion-v1-5 --variant fp16
  calotype txt2img \"a lighthouse\" --model stable-diffusion-v1-5/stable-diffusion-v1-5
  calotype models pull org/name@v2 --include \"*-emaonly.safetensors\" --accept-license")]
pub(crate) struct Pull {
    /// The model: org/name, or org/name@revision for a branch, tag or commit
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Take the files whose path is this, or matches with * and ?; may be given several times
    #[arg(long, value_name = "GLOB")]
    pub(crate) include: Vec<String>,
    /// Take weights of this variant where there are some: fp16, non_ema
    #[arg(long, value_name = "NAME", conflicts_with = "include")]
    pub(crate) variant: Option<String>,
    /// Accept the model's licence without being asked
    #[arg(long)]
    pub(crate) accept_license: bool,
    /// Print a JSON object in place of the path
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress bar, no path
    #[arg(long, short)]
    pub(crate) quiet: bool,
}
