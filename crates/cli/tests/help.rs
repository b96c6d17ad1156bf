//! The help texts, to the letter: `tests/help/*.txt`. Run with `UPDATE_HELP=1` to write them anew.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{fs, path::Path, process::Command};

#[test]
fn help_is_as_written_down() {
    let commands = [
        "",
        "txt2img",
        "img2img",
        "inpaint",
        "outpaint",
        "remake",
        "upscale",
        "compare",
        "info",
        "train",
        "train autoencoder",
        "train diffusion",
        "train lora",
        "train init",
        "models",
        "models inspect",
        "models pull",
        "models verify",
        "models convert",
        "models list",
        "models license",
        "watermark",
        "watermark read",
        "watermark write",
        "audit",
        "audit verify",
        "audit search",
        "audit export",
        "review",
        "review list",
        "review show",
        "review release",
        "review reject",
        "keys",
        "keys list",
        "keys new",
        "keys revoke",
        "keys signing",
        "serve",
        "health",
        "devices",
        "bench",
    ];
    for command in commands {
        let mut program = Command::new(env!("CARGO_BIN_EXE_calotype"));
        let output = program.args(command.split_whitespace()).arg("--help").env_remove("COLUMNS").output().unwrap();
        assert!(output.status.success());
        let name = if command.is_empty() { "calotype".to_owned() } else { command.replace(' ', "-") };
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/help/{name}.txt"));
        if std::env::var_os("UPDATE_HELP").is_some() {
            fs::write(&file, &output.stdout).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{}: UPDATE_HELP=1 writes it", file.display());
    }
}

#[test]
fn version() {
    let output = Command::new(env!("CARGO_BIN_EXE_calotype")).arg("--version").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("calotype {}\n", env!("CARGO_PKG_VERSION")));
}
