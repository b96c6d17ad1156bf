//! Which options a command line has, for a command that changes a request that there is already.

use std::collections::BTreeSet;

use clap::{ArgMatches, Args, Command, Error, FromArgMatches, parser::ValueSource};

/// The options that were given, by their ids. It must be the first member of its struct: reading a value takes it out.
#[derive(Clone, Debug)]
pub(crate) struct Given(Option<BTreeSet<String>>);

impl Given {
    /// Every option, if only by its default: for a request that is made by them.
    pub(crate) fn all() -> Self {
        Self(None)
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        self.0.as_ref().is_none_or(|ids| ids.contains(id))
    }

    /// Takes the value of an option over, if it was given.
    pub(super) fn set<T>(&self, id: &str, to: &mut T, value: T) {
        if self.has(id) {
            *to = value;
        }
    }
}

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let is_given = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        Ok(Self(Some(matches.ids().map(|id| id.as_str()).filter(is_given).map(str::to_owned).collect())))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Given {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}
