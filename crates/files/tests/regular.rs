//! What is not a regular file is told at once.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{fs, io::ErrorKind, path::Path};

use calotype_files::{open, read, read_text};

#[test]
fn files_are_read_up_to_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    fs::write(&path, "\u{feff}four").unwrap();
    assert_eq!(read(&path, 7).unwrap(), "\u{feff}four".as_bytes());
    assert_eq!(read_text(&path, 7).unwrap(), "four");
    assert_eq!(read(&path, 6).unwrap_err().kind(), ErrorKind::FileTooLarge);
    fs::write(&path, b"a\xff").unwrap();
    let error = read_text(&path, 7).unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidData && error.to_string().contains("byte 1"), "{error}");
    assert_eq!(open(&folder.path().join("b")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[cfg(unix)]
#[test]
fn pipes_sockets_devices_and_folders_are_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (pipe, socket) = (folder.path().join("pipe"), folder.path().join("socket"));
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&pipe, &link).unwrap();
    for (path, kind) in [
        (pipe.as_path(), "a pipe"),
        (&link, "a pipe"),
        (&socket, "a socket"),
        (Path::new("/dev/zero"), "a device"),
        (folder.path(), "a folder"),
    ] {
        for error in [open(path).unwrap_err(), read(path, 9).unwrap_err(), read_text(path, 9).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert_eq!(error.to_string(), format!("it is {kind}, not a regular file"));
        }
    }
}
