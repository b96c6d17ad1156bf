//! Values that are given by name.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

/// A value, its name, and what help says of it; one without a word about it is another name, which help does not list.
pub(crate) type Choice<T> = (T, &'static str, &'static str);

/// Parses the names of values, and lists them in help.
pub(crate) fn choices<T>(all: &'static [Choice<T>]) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    let names = all.iter().map(|(_, name, about)| {
        let about = about.trim();
        let value = PossibleValue::new(*name);
        if about.is_empty() { value.hide(true) } else { value.help(about) }
    });
    PossibleValuesParser::new(names).try_map(move |given| {
        let found = all.iter().find(|(_, name, _)| *name == given);
        found.map(|(value, ..)| *value).ok_or("there is no such choice")
    })
}
