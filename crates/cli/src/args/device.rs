//! What to compute on.

use clap::Args;

/// What to compute on.
#[derive(Args)]
#[command(next_help_heading = "Compute")]
pub(crate) struct DeviceArgs {
    /// What to compute on: auto (a graphics card if there is one), cpu, gpu, or one that calotype devices lists, as gpu:1
    #[arg(long, value_name = "DEVICE", value_parser = device, default_value = "auto")]
    pub(crate) device: DeviceArg,
}

/// A device, as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceArg {
    /// A card if one is there, else the processor.
    Auto,
    /// The processor.
    Cpu,
    /// A card: any, or one by its number.
    Gpu(Option<usize>),
}

/// `auto`, `cpu`, `gpu` or `gpu:N`.
pub(crate) fn device(text: &str) -> Result<DeviceArg, String> {
    let number = |text: &str| text.parse().ok().map(|number| DeviceArg::Gpu(Some(number)));
    let found = match text {
        "auto" => Some(DeviceArg::Auto),
        "cpu" => Some(DeviceArg::Cpu),
        "gpu" => Some(DeviceArg::Gpu(None)),
        other => other.strip_prefix("gpu:").and_then(number),
    };
    found.ok_or_else(|| "expected auto, cpu, gpu or gpu:N".to_owned())
}

/// `calotype devices`.
#[derive(Args)]
#[command(after_help = "\
Exit status: 0, also where there is no card.")]
pub(crate) struct Devices {
    /// Print JSON, one line for each device
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read() {
        for (text, expected) in [
            ("auto", DeviceArg::Auto),
            ("cpu", DeviceArg::Cpu),
            ("gpu", DeviceArg::Gpu(None)),
            ("gpu:12", DeviceArg::Gpu(Some(12))),
        ] {
            assert_eq!(device(text), Ok(expected));
        }
        for text in ["", "GPU", "gpu:", "gpu:-1", "gpu:x", "cuda"] {
            assert!(device(text).is_err(), "{text}");
        }
    }
}
