//! Arguments of `calotype serve` and `calotype health`.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use super::{DeviceArg, device};

#[derive(Args)]
#[command(after_help = "\
With no options it serves the model inside this program to this machine alone, without a login, and opens at
http://127.0.0.1:7860/ on a page that makes images. On any other address it starts only when there is a key:
calotype keys new. Behind a name of its own and TLS: docs/serving.md.

It speaks three APIs: its own at /v1 (described at /openapi.json), AUTOMATIC1111's at /sdapi/v1, and OpenAI's
images at /v1/images. Jobs are kept in --data: what was taken in is made, also after a crash or a power cut.
SIGTERM or Ctrl-C ends it in good order: the running job ends or goes back to the queue. A second one ends it at once.

Examples:
  calotype serve
  calotype serve --models ~/models --safety policy.toml
  calotype keys new alice && calotype serve --listen 0.0.0.0:7860")]
pub(crate) struct Serve {
    /// The address to listen on; port 0 lets the system choose [default: 127.0.0.1:7860]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// A folder of models and adapters, of A1111 or ComfyUI too; can be given several times
    #[arg(long, value_name = "DIR")]
    pub(crate) models: Vec<PathBuf>,
    /// What to compute on: auto (a graphics card if there is one), cpu, gpu, or one that calotype devices lists, as gpu:1 [default: auto]
    #[arg(long, value_name = "DEVICE", value_parser = device)]
    pub(crate) device: Option<DeviceArg>,
    /// The folder for jobs, images, keys and the audit log [default: calotype/server in the user's data folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// A file with these and all other settings (docs/serving.md)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// What is done with images by what they show: off, flag, blur, hold, block, or a policy file (docs/safety.md)
    #[arg(long, value_name = "POLICY")]
    pub(crate) safety: Option<String>,
    /// The safety checker for --safety flag, blur, hold or block
    #[arg(long, value_name = "PATH")]
    pub(crate) safety_checker: Option<PathBuf>,
    /// Rules for prompts (docs/safety.md)
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Option<PathBuf>,
    /// Write the log as lines of JSON
    #[arg(long)]
    pub(crate) log_json: bool,
}

#[derive(Args)]
#[command(after_help = "\
Exit status: 0 the server is ready, 1 it is not. For HEALTHCHECK in a container, where there is no shell.

Example:
  calotype health --url http://127.0.0.1:7860")]
pub(crate) struct Health {
    /// The server
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7860")]
    pub(crate) url: String,
}
