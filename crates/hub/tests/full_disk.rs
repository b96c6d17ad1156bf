//! Disks without room.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;

use std::{
    cell::Cell,
    ffi::OsString,
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::Path,
};

use calotype_hub::{Disk, Environment, Hub, Options, Selection, Silent};
use common::{Server, bytes, sha256};
use tempfile::TempDir;

/// A disk that has room for some writes, and says of itself what it is told to.
struct SmallDisk {
    writes: Cell<usize>,
    says: Option<u64>,
    fails_with: ErrorKind,
}

impl Disk for SmallDisk {
    fn available(&self, _: &Path) -> Option<u64> {
        self.says
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        if self.writes.get() == 0 {
            // As the system does: what fits is written.
            file.write_all(&bytes[..bytes.len() / 2])?;
            return Err(self.fails_with.into());
        }
        self.writes.set(self.writes.get() - 1);
        file.write_all(bytes)
    }
}

fn pull(server: &Server, home: &Path, disk: impl Disk + 'static) -> Result<(), String> {
    let get = |name: &str| match name {
        "HF_HOME" => Some(home.as_os_str().to_owned()),
        "HF_ENDPOINT" => Some(OsString::from(&server.address)),
        _ => None,
    };
    let environment = Environment::from_variables(get).unwrap();
    let hub = Hub::new(&environment, Options { disk: Box::new(disk), ..Options::default() }).unwrap();
    let model = hub.model(&"org/name".parse().unwrap(), &mut Silent).unwrap();
    let plan = hub.plan(&model, &Selection::default(), &mut Silent).unwrap();
    hub.download(&plan, &mut Silent).map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn a_disk_that_says_so_is_not_written() {
    let server = Server::start().large("a.safetensors", bytes(1_500_000, 0));
    let home = TempDir::new().unwrap();
    let disk = |says| SmallDisk { writes: Cell::new(100), says, fails_with: ErrorKind::StorageFull };
    let error = pull(&server, home.path(), disk(Some(1_400_000))).unwrap_err();
    let expected =
        "the disk is full: org/name needs 1.5 MB and there are 1.4 MB: make room, or set HF_HOME to another disk";
    assert_eq!(error, format!("{}: {expected}", home.path().join("hub").display()));
    assert_eq!(server.requests("GET /org").len(), 0);
    // What an earlier download left is not needed again.
    let blobs = home.path().join("hub/models--org--name/blobs");
    fs::write(blobs.join(format!("{}.incomplete", sha256(&bytes(1_500_000, 0)))), &bytes(1_500_000, 0)[..200_000])
        .unwrap();
    pull(&server, home.path(), disk(Some(1_400_000))).unwrap();
}

#[test]
fn a_disk_that_fills_up_keeps_what_fits() {
    for fails_with in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
        let content = bytes(1_500_000, 0);
        let server = Server::start().large("a.safetensors", content.clone());
        let home = TempDir::new().unwrap();
        for says in [None, Some(u64::MAX)] {
            let before = server.ranges("GET /stored").len();
            let error = pull(&server, home.path(), SmallDisk { writes: Cell::new(2), says, fails_with }).unwrap_err();
            let folder = home.path().join("hub/models--org--name/blobs");
            let end =
                "the disk is full: make room; what is downloaded is kept, and the same command goes on from there";
            assert_eq!(error, format!("{}: {end}", folder.display()));
            assert_eq!(server.ranges("GET /stored").len(), before + 1, "it is not tried again");
        }
        let there =
            fs::metadata(home.path().join(format!("hub/models--org--name/blobs/{}.incomplete", sha256(&content))))
                .unwrap()
                .len();
        assert!(there > 0);
        pull(&server, home.path(), SmallDisk { writes: Cell::new(100), says: None, fails_with }).unwrap();
        assert_eq!(server.ranges("GET /stored")[2], format!("bytes={there}-"));
        let file = home.path().join("hub/models--org--name/snapshots").join(common::COMMIT).join("a.safetensors");
        assert_eq!(fs::read(file).unwrap(), content);
    }
}
