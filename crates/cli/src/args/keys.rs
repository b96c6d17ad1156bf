//! Arguments of `calotype keys`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub(crate) enum Keys {
    /// Make a key and certificates for trying --sign-key out
    New(KeysNew),
}

#[derive(Args)]
#[command(after_help = "\
Writes key.pem (--sign-key; readable by its owner alone), chain.pem (--sign-cert) and root.pem, the
certificate of the root that they come from. No trust list knows that root: programs that read C2PA call
what is signed valid, by an unknown signer, unless they are told to trust root.pem. To be known, get a
certificate from an authority of the C2PA trust list.

Examples:
  calotype keys new --output keys
  calotype txt2img \"a lighthouse\" --sign-key keys/key.pem --sign-cert keys/chain.pem")]
pub(crate) struct KeysNew {
    /// The folder to write them to; no file is replaced
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub(crate) output: PathBuf,
    /// The signer's name in the certificate
    #[arg(long, value_name = "NAME", default_value = "Calotype test signer")]
    pub(crate) name: String,
}
