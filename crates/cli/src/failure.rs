//! How the program ends when it does not end well: a line `error: …`, perhaps a line `hint: …`, and an exit status.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};

/// The exit status of a run that was stopped by Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was asked for what can't be: exit 2.
    Usage { message: String, hint: Option<String> },
    /// It failed: exit 1.
    Failed(String),
    /// The same, because of what computes.
    OfDevice(String),
    /// It was stopped: exit 130.
    Interrupted(String),
    /// Nobody reads what it prints: no fault of its own, so exit 0.
    BrokenPipe,
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: None }
    }

    /// Whether both say the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Usage { message, .. }, Self::Usage { message: other, .. })
            | (Self::Failed(message), Self::Failed(other))
            | (Self::OfDevice(message), Self::OfDevice(other)) => message == other,
            _ => false,
        }
    }

    /// The same, said of a place such as a line of a file.
    pub(crate) fn at(self, place: &str) -> Self {
        let at = |message: String| format!("{place}: {message}");
        match self {
            Self::Usage { message, hint } => Self::Usage { message: at(message), hint },
            Self::Failed(message) => Self::Failed(at(message)),
            Self::OfDevice(message) => Self::OfDevice(at(message)),
            other => other,
        }
    }

    /// Prints the lines and gives the exit status.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::Usage { message, hint } => {
                line("error", &message);
                if let Some(hint) = hint {
                    line("hint", &hint);
                }
                ExitCode::from(2)
            }
            Self::Failed(message) | Self::OfDevice(message) => {
                line("error", &message);
                ExitCode::FAILURE
            }
            Self::Interrupted(message) => {
                line("interrupted", &message);
                ExitCode::from(INTERRUPTED)
            }
            Self::BrokenPipe => ExitCode::SUCCESS,
        }
    }
}

/// A line on stderr. When it can't be written there is nobody left to tell.
pub(crate) fn line(label: &str, message: &str) {
    use std::io::Write;
    let one_line: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let _ = writeln!(std::io::stderr(), "{label}: {one_line}");
}

impl From<calotype::Error> for Failure {
    /// The flag to use is said here: the library has none.
    fn from(error: calotype::Error) -> Self {
        let folder = match &error {
            calotype::Error::UnknownName { kind: "LoRA", .. } => Some("--lora-dir"),
            calotype::Error::UnknownName { kind: "hypernetwork", .. } => Some("--hypernetwork-dir"),
            _ => None,
        };
        if let calotype::Error::UnknownName { kind: "network", .. } = &error {
            let hint = Some("give the network by --upscaler FILE, or a filter by --hires-upscaler".to_owned());
            return Self::Usage { message: error.to_string(), hint };
        }
        if let Some(flag) = folder {
            let hint = format!("say where such files are by {flag}");
            return Self::Usage { message: error.to_string(), hint: Some(hint) };
        }
        match error.is_request() {
            true => Self::usage(error.to_string()),
            false if error.is_of_device() => Self::OfDevice(error.to_string()),
            false => Self::Failed(error.to_string()),
        }
    }
}

impl From<calotype_checkpoint::Error> for Failure {
    fn from(error: calotype_checkpoint::Error) -> Self {
        calotype::Error::from(error).into()
    }
}

impl From<calotype_hub::Error> for Failure {
    fn from(error: calotype_hub::Error) -> Self {
        if error.is_request() { Self::usage(error.to_string()) } else { Self::Failed(error.to_string()) }
    }
}

impl From<calotype_formats::Error> for Failure {
    fn from(error: calotype_formats::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<calotype_safety::Error> for Failure {
    fn from(error: calotype_safety::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<calotype_server::Error> for Failure {
    fn from(error: calotype_server::Error) -> Self {
        use calotype_server::Error;
        match &error {
            Error::NoKey(_) => {
                Self::Usage { message: error.to_string(), hint: Some("calotype keys new NAME".to_owned()) }
            }
            Error::Config(_) => Self::usage(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<calotype_train::Error> for Failure {
    fn from(error: calotype_train::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<clap::Error> for Failure {
    /// clap's message, whose first paragraph may have several lines, and its tip.
    fn from(error: clap::Error) -> Self {
        if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            let hint = Some("see calotype --help".to_owned());
            return Self::Usage { message: "a command is missing".to_owned(), hint };
        }
        let text = error.render().to_string();
        let mut paragraphs = text.split("\n\n").map(|paragraph| {
            let words: Vec<&str> = paragraph.split_whitespace().collect();
            words.join(" ")
        });
        let first = paragraphs.next().unwrap_or_default();
        let message = first.strip_prefix("error: ").unwrap_or(&first).to_owned();
        let tip = paragraphs.find_map(|paragraph| paragraph.strip_prefix("tip: ").map(str::to_owned));
        let tip = tip.or_else(|| match error.get(ContextKind::InvalidValue) {
            Some(ContextValue::String(value)) => {
                with_point(value).map(|number| format!("a decimal has a point: {number}"))
            }
            _ => None,
        });
        Self::Usage { message, hint: Some(tip.unwrap_or_else(|| "see calotype --help".to_owned())) }
    }
}

/// A number that is written with a comma, with a point: of `0,8` it is `0.8`.
pub(crate) fn with_point(text: &str) -> Option<String> {
    let (whole, decimals) = text.split_once(',')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let is_number = digits(whole.trim_start_matches(['-', '+'])) && digits(decimals);
    is_number.then(|| format!("{whole}.{decimals}"))
}
