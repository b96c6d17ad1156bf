//! Folding: texts that look alike become the same text.

use decancer::{Options, cure};
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};
use unicode_security::confusable_detection::skeleton;

/// The ways a text may be meant, each once: cured by `decancer` as it lies in memory and as it is shown (right-to-left marks turn
/// the letters around), and by Unicode's own table of confusable characters (UTS #39), for what decancer doesn't know.
pub(super) fn fold(text: &str) -> Vec<String> {
    let mut folded = vec![plain(text)];
    let mut add = |text: String| {
        if !folded.contains(&text) {
            folded.push(text);
        }
    };
    if text.is_ascii() {
        return folded;
    }
    if let Ok(shown) = cure(text, Options::default()) {
        add(shown.to_lowercase());
    }
    add(plain(&text.split_inclusive(char::is_whitespace).map(skeleton_of).collect::<String>()));
    folded
}

/// The text as it lies in memory, in small letters without marks and invisible characters.
pub(super) fn plain(text: &str) -> String {
    let visible: String = text.nfkd().filter(|&c| !is_combining_mark(c) && !is_invisible(c)).collect();
    match cure(&visible, Options::default().disable_bidi()) {
        Ok(cured) => cured.to_lowercase(),
        Err(_) => visible.to_lowercase(),
    }
}

/// Of a word with letters that are not ASCII what Unicode says it can be taken for. In ASCII alone `m` would become `rn`.
fn skeleton_of(word: &str) -> String {
    if word.is_ascii() { word.to_owned() } else { skeleton(word).collect() }
}

/// Characters without a shape of their own (`Default_Ignorable_Code_Point`, and controls that are no space).
fn is_invisible(c: char) -> bool {
    let ignorable = matches!(u32::from(c),
        0xad | 0x34f | 0x61c | 0x115f..=0x1160 | 0x17b4..=0x17b5 | 0x180b..=0x180f | 0x200b..=0x200f | 0x202a..=0x202e
        | 0x2060..=0x206f | 0x3164 | 0xfe00..=0xfe0f | 0xfeff | 0xffa0 | 0xfff0..=0xfff8 | 0x1bca0..=0x1bca3
        | 0x1d173..=0x1d17a | 0xe0000..=0xe0fff);
    ignorable || (c.is_control() && !c.is_whitespace())
}
