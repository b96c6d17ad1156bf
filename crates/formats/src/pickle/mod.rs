//! Python's pickles, read as data.
//!
//! A pickle is a program for a stack machine. Here every opcode only moves, groups or names values: a name that is not on
//! the closed list of [`globals`] ends the reading, and there is no opcode that calls anything, since there is nothing to
//! call. What `torch.save` writes as calls (a tensor from a storage, a dict from pairs) is recognised and turned into the
//! value it would give. Rules as in CPython's `pickletools.py` and `Lib/pickle.py`, protocols 0 to 5.

mod construct;
mod globals;
mod machine;
mod reader;
mod text;
mod tree;

pub(crate) use machine::{Flavor, load};
pub(crate) use reader::Reader;
pub(crate) use tree::{Node, Slot, StorageRef, TensorNode, Tree};

/// Why a pickle was not read.
#[derive(Debug)]
pub(crate) enum Problem {
    /// It asks for what no weights need.
    Refused(String),
    /// It breaks a rule of the format, or is too much.
    Broken(String),
    /// The file can't be read.
    Read(crate::Error),
}

impl Problem {
    /// It breaks a rule of the format; `what` is a sentence on "the pickle".
    pub(crate) fn broken(what: impl Into<String>) -> Self {
        Self::Broken(format!("the pickle is damaged: {}: download the file again", what.into()))
    }

    /// It is more than anyone needs.
    pub(crate) fn limit(what: impl Into<String>) -> Self {
        Self::Refused(format!("refused: {}, as no checkpoint does: do not load this file", what.into()))
    }

    /// It asks for the name `name`, which is not on the list.
    pub(crate) fn global(module: &str, name: &str) -> Self {
        let full = show_name(&format!("{module}.{name}"));
        if let Some(what) = globals::Global::unsupported(module, name) {
            return Self::Refused(format!(
                "it holds {what} ({full}), which is not supported: load it with torch, make it a plain tensor and save it as safetensors"
            ));
        }
        Self::Refused(format!(
            "refused: it asks for {full}, which is none of the names that weights are made of: do not load this file, here or elsewhere; look for a safetensors copy of the model"
        ))
    }
}

impl From<crate::Error> for Problem {
    fn from(error: crate::Error) -> Self {
        Self::Read(error)
    }
}

/// A dotted name, bare if it is one, else quoted.
fn show_name(name: &str) -> String {
    let plain = name.len() <= 120 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '_');
    if plain { name.to_owned() } else { crate::error::quote(name) }
}
