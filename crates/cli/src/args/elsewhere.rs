//! Options that are given to one command and are another's.

use std::ffi::OsString;

use clap::{
    Command, CommandFactory, Error,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::Cli;

/// Which commands have the option that was not known to the one it was given to.
pub(crate) fn owners(error: &Error, args: impl Iterator<Item = OsString>) -> Option<String> {
    let (ErrorKind::UnknownArgument, Some(ContextValue::String(given))) =
        (error.kind(), error.get(ContextKind::InvalidArg))
    else {
        return None;
    };
    let option = given.split(['=', ' ']).next()?.strip_prefix("--")?;
    let root = Cli::command();
    let mut all = Vec::new();
    leaves(&root, "", &mut all);
    let owners: Vec<&str> =
        all.iter().filter(|(_, command)| has(command, option)).map(|(name, _)| name.as_str()).collect();
    (!owners.is_empty()).then(|| {
        let verb = if owners.len() == 1 { "belongs" } else { "is one" };
        let preposition = if owners.len() == 1 { "to" } else { "of" };
        format!("{} has no --{option}: it {verb} {preposition} {}", called(&root, args), listed(&owners))
    })
}

/// Every command that has no commands of its own, and how it is called.
fn leaves<'a>(command: &'a Command, path: &str, all: &mut Vec<(String, &'a Command)>) {
    for below in command.get_subcommands() {
        let name = format!("{path}{}", below.get_name());
        match below.has_subcommands() {
            true => leaves(below, &format!("{name} "), all),
            false => all.push((name, below)),
        }
    }
}

fn has(command: &Command, option: &str) -> bool {
    command.get_arguments().any(|argument| {
        argument.get_long() == Some(option)
            || argument.get_all_aliases().is_some_and(|aliases| aliases.contains(&option))
    })
}

/// The command that was called.
fn called(root: &Command, args: impl Iterator<Item = OsString>) -> String {
    let (mut command, mut path) = (root, Vec::new());
    let mut args = args.skip(1);
    while let Some(arg) = args.next() {
        if arg == "--log" {
            // Its value is no command.
            args.next();
        }
        if let Some(below) = arg.to_str().and_then(|arg| command.find_subcommand(arg)) {
            path.push(below.get_name().to_owned());
            command = below;
        }
        if !command.has_subcommands() {
            break;
        }
    }
    if path.is_empty() { root.get_name().to_owned() } else { path.join(" ") }
}

fn listed(names: &[&str]) -> String {
    match names {
        [all @ .., last] if !all.is_empty() => format!("{} and {last}", all.join(", ")),
        _ => names.concat(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn said(args: &str) -> Option<String> {
        let args: Vec<OsString> = args.split(' ').map(OsString::from).collect();
        let error = Cli::try_parse_from(&args).err()?;
        owners(&error, args.into_iter())
    }

    #[test]
    fn options_of_other_commands_are_told() {
        for (args, message) in [
            (
                "calotype txt2img a --strength 0.5",
                "txt2img has no --strength: it is one of img2img, inpaint, outpaint and remake",
            ),
            (
                "calotype txt2img a --strength=0.5",
                "txt2img has no --strength: it is one of img2img, inpaint, outpaint and remake",
            ),
            (
                "calotype txt2img a --init_img x.png",
                "txt2img has no --init_img: it is one of img2img, inpaint and outpaint",
            ),
            (
                "calotype img2img a --init-img x --hires-scale 2",
                "img2img has no --hires-scale: it is one of txt2img and remake",
            ),
            ("calotype img2img a --init-img x --mask m", "img2img has no --mask: it belongs to inpaint"),
            (
                "calotype --log info outpaint a --init-img x --padding 3",
                "outpaint has no --padding: it belongs to inpaint",
            ),
            (
                "calotype --sampler euler",
                "calotype has no --sampler: it is one of txt2img, img2img, inpaint, outpaint and remake",
            ),
        ] {
            assert_eq!(said(args).as_deref(), Some(message));
        }
        for none in ["calotype txt2img a --stepz 3", "calotype txt2img a --steps x", "calotype txt2img a -x"] {
            assert_eq!(said(none), None, "{none}");
        }
    }
}
