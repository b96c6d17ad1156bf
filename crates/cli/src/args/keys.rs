//! Arguments of `calotype keys`.

use std::path::PathBuf;

use calotype_server::Scope;
use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub(crate) enum Keys {
    /// Make a key for calotype serve; it is shown this once
    New(KeysNew),
    /// List the keys of calotype serve
    List(KeysList),
    /// Revoke a key of calotype serve: it counts no more
    Revoke(KeysRevoke),
    /// Make a key and certificates for trying --sign-key out
    Signing(KeysSigning),
}

#[derive(Args)]
pub(crate) struct DataFolder {
    /// The server's data folder [default: calotype/server in the user's data folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_help = "\
Whoever has the key sends it as Authorization: Bearer calo_…, as the password of Basic (A1111's clients), or logs
in with it on the page. The server keeps a hash of it alone. It need not be running, and need not be restarted
but for its first key.

Scopes: generate (make images), read (see one's own jobs, and what there is), review (decide on held images),
audit (read the audit log), admin (everything, everybody's jobs, keys).

Examples:
  calotype keys new alice
  calotype keys new reviewer --scope read,review,audit --expires-in-days 90
  calotype keys new kiosk --images-per-day 200 --max-queued 4")]
pub(crate) struct KeysNew {
    /// Whose it is, or what for
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// What it is for [default: generate,read]
    #[arg(long, value_name = "SCOPE", value_delimiter = ',')]
    pub(crate) scope: Vec<Scope>,
    /// Days after which it ends
    #[arg(long, value_name = "DAYS")]
    pub(crate) expires_in_days: Option<u64>,
    /// Images in 24 hours
    #[arg(long, value_name = "N")]
    pub(crate) images_per_day: Option<u64>,
    /// Millions of pixels times steps in an hour: an image of 512 x 512 in 20 steps has 5.2
    #[arg(long, value_name = "N")]
    pub(crate) mega_pixel_steps_per_hour: Option<u32>,
    /// Jobs that are worked on at once
    #[arg(long, value_name = "N")]
    pub(crate) max_running: Option<u64>,
    /// Jobs that wait
    #[arg(long, value_name = "N")]
    pub(crate) max_queued: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) folder: DataFolder,
}

#[derive(Args)]
pub(crate) struct KeysList {
    /// Print JSON, one line for each key
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) folder: DataFolder,
}

#[derive(Args)]
pub(crate) struct KeysRevoke {
    /// Its id, as calotype keys list shows it
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) folder: DataFolder,
}

#[derive(Args)]
#[command(after_help = "\
Writes key.pem (--sign-key; readable by its owner alone), chain.pem (--sign-cert) and root.pem, the
certificate of the root that they come from. No trust list knows that root: programs that read C2PA call
what is signed valid, by an unknown signer, unless they are told to trust root.pem. To be known, get a
certificate from an authority of the C2PA trust list.

Examples:
  calotype keys signing --output keys
  calotype txt2img \"a lighthouse\" --sign-key keys/key.pem --sign-cert keys/chain.pem")]
pub(crate) struct KeysSigning {
    /// The folder to write them to; no file is replaced
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub(crate) output: PathBuf,
    /// The signer's name in the certificate
    #[arg(long, value_name = "NAME", default_value = "Calotype test signer")]
    pub(crate) name: String,
}
