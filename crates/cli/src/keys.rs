//! `calotype keys`.

use crate::{args::Keys, failure::Failure};

#[cfg(not(feature = "c2pa"))]
pub(crate) fn run(command: &Keys) -> Result<(), Failure> {
    let Keys::New(_) = command;
    Err(Failure::usage(calotype_publish::Error::NoC2pa.to_string()))
}

#[cfg(feature = "c2pa")]
pub(crate) fn run(command: &Keys) -> Result<(), Failure> {
    use std::{
        fs::{self, OpenOptions},
        io::Write,
    };

    use calotype_safety::provenance::keys::TestKeys;

    use crate::{failure::line, stdout};

    let Keys::New(args) = command;
    let keys = TestKeys::new(&args.name)?;
    let failed =
        |path: &std::path::Path, error: std::io::Error| Failure::Failed(format!("{}: {error}", path.display()));
    fs::create_dir_all(&args.output).map_err(|error| failed(&args.output, error))?;
    let files = [("root.pem", &keys.root, false), ("chain.pem", &keys.chain, false), ("key.pem", &keys.key, true)];
    let paths = files.map(|(name, ..)| args.output.join(name));
    if let Some(there) = paths.iter().find(|path| path.exists()) {
        let problem = "is there already: give another folder with --output";
        return Err(Failure::Failed(format!("{}: {problem}", there.display())));
    }
    for (path, (_, text, is_secret)) in paths.iter().zip(files) {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, if is_secret { 0o600 } else { 0o644 });
        let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()).and(file.sync_all()));
        written.map_err(|error| failed(path, error))?;
    }
    line(
        "note",
        "these are for trying out: no trust list knows their root, so readers need root.pem to trust what they sign",
    );
    let shown: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    stdout::print(&shown.join("\n"))
}
