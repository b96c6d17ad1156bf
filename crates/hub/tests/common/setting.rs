//! A hub, its clients, and what they have downloaded.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "helpers of several test programs")]

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use calotype_hub::{Environment, Hub, Options, Plan, Result, Selection, Silent, Watch};
use tempfile::TempDir;

use super::{Server, bytes, sha256};

/// The environment of a test: a cache in a folder, and more variables.
pub fn environment(server: &Server, home: &Path, more: &[(&str, &str)]) -> Environment {
    let get = |name: &str| match name {
        "HF_HOME" => Some(home.as_os_str().to_owned()),
        "HF_ENDPOINT" => Some(OsString::from(&server.address)),
        name => more.iter().find(|(own, _)| *own == name).map(|(_, value)| OsString::from(value)),
    };
    Environment::from_variables(get).unwrap()
}

pub fn hub(server: &Server, home: &Path, more: &[(&str, &str)]) -> Hub {
    let options = Options { backoff: Duration::from_millis(1), ..Options::default() };
    Hub::new(&environment(server, home, more), options).unwrap()
}

pub fn plan(hub: &Hub, id: &str, selection: &Selection, watch: &mut dyn Watch) -> Result<Plan> {
    hub.plan(&hub.model(&id.parse()?, watch)?, selection, watch)
}

pub fn pull(hub: &Hub, id: &str) -> Result<PathBuf> {
    hub.download(&plan(hub, id, &Selection::default(), &mut Silent)?, &mut Silent)
}

pub fn only(path: &str) -> Selection {
    Selection { include: vec![path.to_owned()], variant: None }
}

/// One file of the model.
pub fn pull_file(hub: &Hub, path: &str) -> Result<PathBuf> {
    hub.download(&plan(hub, "org/name", &only(path), &mut Silent)?, &mut Silent)
}

pub fn repository(home: &Path) -> PathBuf {
    home.join("hub/models--org--name")
}

pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder)
        .map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect());
    let mut names: Vec<String> = entries.unwrap_or_default();
    names.sort();
    names
}

/// A test of one file of 400 000 bytes that is stored elsewhere.
pub struct Setting {
    pub hub: Server,
    pub storage: Server,
    pub home: TempDir,
    pub content: Vec<u8>,
}

impl Setting {
    pub fn new() -> Self {
        let storage = Server::start();
        let content = bytes(400_000, 1);
        let hub = Server::start().large("a.safetensors", content.clone()).stored_at(&storage);
        Self { hub, storage, home: TempDir::new().unwrap(), content }
    }

    pub fn client(&self) -> Hub {
        hub(&self.hub, self.home.path(), &[("HF_HUB_DOWNLOAD_TIMEOUT", "0.3")])
    }

    pub fn pull(&self) -> Result<PathBuf> {
        pull(&self.client(), "org/name")
    }

    pub fn blob(&self) -> PathBuf {
        repository(self.home.path()).join("blobs").join(sha256(&self.content))
    }

    pub fn incomplete(&self) -> PathBuf {
        self.blob().with_extension("incomplete")
    }

    /// It worked, and the file is right, however often which part was asked for.
    pub fn right(&self, ranges: &[&str]) {
        let path = self.pull().unwrap();
        assert_eq!(fs::read(path).unwrap(), self.content);
        assert_eq!(self.storage.ranges("GET /stored/"), ranges);
        assert_eq!(names(self.blob().parent().unwrap()), [sha256(&self.content)]);
    }

    pub fn wrong(&self) -> String {
        let error = self.pull().unwrap_err().to_string();
        assert!(!error.contains("secret") && error.lines().count() == 1, "{error}");
        assert!(!self.blob().exists());
        error
    }
}
