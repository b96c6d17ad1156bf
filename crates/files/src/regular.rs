use std::{
    fs::{self, File, FileType},
    io::{self, Read},
    path::Path,
};

/// Opens a regular file to read it, through links.
///
/// # Errors
/// The system's reason; or, of kind [`io::ErrorKind::InvalidInput`], that it is a folder, a pipe, a socket or a device.
pub fn open(path: &Path) -> io::Result<File> {
    // Asked before opening: to open a pipe waits for its writer, and to open a device may do something to it.
    check(fs::metadata(path)?.file_type())?;
    let file = File::open(path)?;
    check(file.metadata()?.file_type())?;
    Ok(file)
}

/// The bytes of a regular file that has at most `most` of them.
///
/// # Errors
/// As [`open`]; or, of kind [`io::ErrorKind::FileTooLarge`], that it has more bytes.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let problem = format!("it has more than {most} bytes: is it another kind of file?");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    Ok(bytes)
}

/// The text of a regular file that has at most `most` bytes, without a byte order mark.
///
/// # Errors
/// As [`read`]; or, of kind [`io::ErrorKind::InvalidData`], that it is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let text = String::from_utf8(read(path, most)?).map_err(|error| {
        let problem = format!("it is not UTF-8 text at its byte {}", error.utf8_error().valid_up_to());
        io::Error::new(io::ErrorKind::InvalidData, problem)
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(text) => text.to_owned(),
        None => text,
    })
}

fn check(found: FileType) -> io::Result<()> {
    if found.is_file() {
        return Ok(());
    }
    let problem = format!("it is {}, not a regular file", kind(found));
    Err(io::Error::new(io::ErrorKind::InvalidInput, problem))
}

/// What is not a regular file, in words.
fn kind(found: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        match () {
            () if found.is_fifo() => return "a pipe",
            () if found.is_socket() => return "a socket",
            () if found.is_char_device() || found.is_block_device() => return "a device",
            () => {}
        }
    }
    if found.is_dir() { "a folder" } else { "something else" }
}
