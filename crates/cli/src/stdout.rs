//! What goes to stdout: data only, and no panic when nobody reads it.

use std::io::{self, ErrorKind, Write};

use crate::failure::Failure;

/// Prints text and a newline.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::BrokenPipe,
        _ => Failure::Failed(format!("stdout: cannot be written: {error}")),
    })
}
