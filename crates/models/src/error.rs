/// What can go wrong when a network is made. Every message is one line. (Its `forward` fails with a tensor error.)
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A config is not one that this crate can make a network of.
    #[error("{model} config: {problem}")]
    Config {
        /// Which network.
        model: &'static str,
        /// The key, its value, and what was expected.
        problem: String,
    },
    /// A tensor of the network is not there.
    #[error("{source_label}: tensor {tensor}{} missing: {}", and_others(*.others), why_missing(*.by_config))]
    Missing {
        /// The file, or what else the parameters come from.
        source_label: String,
        /// The name of the first.
        tensor: String,
        /// How many more are not there.
        others: usize,
        /// Whether it is a config that says that it belongs there; else the other tensors do.
        by_config: bool,
    },
    /// A tensor is there that the config has no place for.
    #[error("{source_label}: tensor {tensor} is not part of the model that the config describes")]
    Extra {
        /// The file.
        source_label: String,
        /// The tensor's name, quoted.
        tensor: String,
    },
    /// A layer lies inside of an adapter's, where PEFT put it.
    #[error(
        "{source_label}: tensor {tensor} lies inside of an adapter of PEFT (base_layer), which was not merged: save the network after merge_and_unload(), or the adapter by itself"
    )]
    Injected {
        /// The file.
        source_label: String,
        /// The name that it would have as it is.
        tensor: String,
    },
    /// A tensor has another shape, number of elements or dtype than it must have.
    #[error("{source_label}: tensor {tensor} is {got}, {} {expected}", expected_by(*.by_config))]
    Misshapen {
        /// The file, or what else the parameters come from.
        source_label: String,
        /// The tensor's name.
        tensor: String,
        /// What it must be.
        expected: String,
        /// What it is.
        got: String,
        /// Whether it is a config that says so.
        by_config: bool,
    },
    /// An adapter can't be applied to the model.
    #[error("{source_label}: {problem}")]
    Adapter {
        /// The adapter's file.
        source_label: String,
        /// What is wrong, what was expected, what to do.
        problem: String,
    },
    /// A file's upscaler can't be run, or it has none.
    #[error("{source_label}: {problem}")]
    Upscaler {
        /// The file.
        source_label: String,
        /// What is wrong, what was expected, what to do.
        problem: String,
    },
    /// A checkpoint could not be read.
    #[error(transparent)]
    Format(#[from] calotype_formats::Error),
    /// The backend refused.
    #[error(transparent)]
    Tensor(#[from] calotype_tensor::Error),
}

fn and_others(count: usize) -> String {
    match count {
        0 => " is".to_owned(),
        count => format!(" and {count} more are"),
    }
}

fn why_missing(by_config: bool) -> &'static str {
    match by_config {
        true => "this file and the config are not of the same model",
        false => "the file is not whole, or of another kind of model: give another",
    }
}

fn expected_by(by_config: bool) -> &'static str {
    if by_config { "but the config asks for" } else { "expected" }
}

impl Error {
    /// The same, of a file that was held to a config.
    pub(crate) fn by_config(mut self) -> Self {
        if let Self::Missing { by_config, .. } | Self::Misshapen { by_config, .. } = &mut self {
            *by_config = true;
        }
        self
    }
}

/// The result of making a network.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A name out of a file, escaped and cut.
pub(crate) fn quote(name: &str) -> String {
    const LONGEST: usize = 120;
    let escaped: String = name.escape_debug().take(LONGEST).collect();
    format!("\"{escaped}\"")
}
