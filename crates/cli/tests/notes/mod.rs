//! Small images, which most tests make, stay without a watermark, and the program says so.

/// What was said on stderr, but for that.
#[allow(dead_code, reason = "not every test needs it")]
pub(crate) fn without(said: &str) -> &str {
    let is_note = |line: &str| line.starts_with("note: images of ") && line.contains("too small");
    let said = said.split_once('\n').filter(|(first, _)| is_note(first)).map_or(said, |(_, rest)| rest);
    let start = said.trim_end().rfind('\n').map_or(0, |at| at + 1);
    if is_note(&said[start..]) { &said[..start] } else { said }
}
