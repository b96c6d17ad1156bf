//! `calotype keys`.

use calotype_server::{Config, Key, KeyStore, NewKey, Quotas};
use serde_json::json;

use crate::{
    args::{DataFolder, Keys, KeysList, KeysNew, KeysRevoke},
    failure::{Failure, line},
    stdout,
};

pub(crate) fn run(command: &Keys) -> Result<(), Failure> {
    match command {
        Keys::New(args) => new(args),
        Keys::List(args) => list(args),
        Keys::Revoke(args) => revoke(args),
        Keys::Signing(args) => signing(args),
    }
}

fn open(folder: &DataFolder) -> Result<KeyStore, Failure> {
    let data = folder.data.clone().unwrap_or_else(|| Config::default().data);
    Ok(KeyStore::open(&data)?)
}

fn new(args: &KeysNew) -> Result<(), Failure> {
    let store = open(&args.folder)?;
    let is_first = store.all()?.is_empty();
    let quotas = Quotas {
        images_per_day: args.images_per_day,
        mega_pixel_steps_per_hour: args.mega_pixel_steps_per_hour,
        max_running: args.max_running,
        max_queued: args.max_queued,
    };
    let (name, scopes) = (args.name.clone(), args.scope.clone());
    let (key, secret) = store.new_key(NewKey { name, scopes, expires_in_days: args.expires_in_days, quotas })?;
    line("note", &format!("this is shown once: {} of {:?}, for {}", key.id, key.name, scopes_of(&key)));
    if is_first {
        line("note", "it is the first key: a server that runs without a login asks for it after its next start");
    }
    match args.json {
        true => {
            stdout::print(&json!({"id": key.id, "name": key.name, "scopes": key.scopes, "key": secret}).to_string())
        }
        false => stdout::print(&secret),
    }
}

fn scopes_of(key: &Key) -> String {
    key.scopes.iter().map(|scope| scope.id()).collect::<Vec<_>>().join(",")
}

fn list(args: &KeysList) -> Result<(), Failure> {
    let now = calotype_queue::wall_clock()();
    for key in open(&args.folder)?.all()?.iter() {
        let state = match key {
            Key { revoked: Some(_), .. } => "revoked",
            key if !key.is_valid(now) => "ended",
            _ => "valid",
        };
        if args.json {
            let Key { id, name, scopes, created, expires, revoked, quotas, .. } = key;
            let shown = json!({"id": id, "name": name, "scopes": scopes, "state": state, "created": created, "expires": expires, "revoked": revoked, "quotas": quotas});
            stdout::print(&shown.to_string())?;
        } else {
            stdout::print(&format!("{}  {state:7}  {}  {}", key.id, scopes_of(key), key.name))?;
        }
    }
    Ok(())
}

fn revoke(args: &KeysRevoke) -> Result<(), Failure> {
    let key = open(&args.folder)?.revoke(&args.id)?;
    stdout::print(&format!("{} of {:?} counts no more", key.id, key.name))
}

#[cfg(not(feature = "c2pa"))]
fn signing(_: &crate::args::KeysSigning) -> Result<(), Failure> {
    Err(Failure::usage(calotype_publish::Error::NoC2pa.to_string()))
}

#[cfg(feature = "c2pa")]
fn signing(args: &crate::args::KeysSigning) -> Result<(), Failure> {
    use std::{
        fs::{self, OpenOptions},
        io::Write,
    };

    use calotype_safety::provenance::keys::TestKeys;

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
