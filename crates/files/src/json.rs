//! JSON as Python's `json` module writes and reads it.
//!
//! Python writes the floats that JSON has no form for as the bare words `NaN`, `Infinity` and `-Infinity`, and reads them
//! again; configs of diffusers' schedulers have them. Here they become texts of these letters: where a number is expected
//! they are refused by name, and where one of them has a meaning [`float`] gives the number. [`to_string_pretty`] writes
//! them bare again.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// The words, a minus before its word.
const WORDS: [(&str, f64); 3] = [("-Infinity", f64::NEG_INFINITY), ("Infinity", f64::INFINITY), ("NaN", f64::NAN)];

/// Reads a text; one byte order mark before it is passed over.
///
/// # Errors
/// It is not JSON, even as Python has it, or not of the type asked for.
pub fn from_str<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    serde_json::from_str(&quoted(text.strip_prefix('\u{feff}').unwrap_or(text)))
}

/// [`from_str`], of bytes.
///
/// # Errors
/// As there, and where the bytes are not UTF-8.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    match std::str::from_utf8(bytes) {
        Ok(text) => from_str(text),
        // Says where.
        Err(_) => serde_json::from_slice(bytes),
    }
}

/// The number that a value is, one of the three words among them.
#[must_use]
pub fn float(value: &Value) -> Option<f64> {
    match value {
        Value::String(word) => WORDS.iter().find(|(known, _)| known == word).map(|(_, number)| *number),
        value => value.as_f64(),
    }
}

/// A value as text of several lines, the three words bare.
#[must_use]
pub fn to_string_pretty(value: &Value) -> String {
    let text = format!("{value:#}");
    if !WORDS.iter().any(|(word, _)| text.contains(word)) {
        return text;
    }
    // Each text is looked at whole: such a word within one stays. A key is one as well, but has a colon after it.
    let mut bare = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(start) = rest.find('"') {
        let end = start + string_length(&rest[start..]);
        let (before, string, after) = (&rest[..start], &rest[start..end], &rest[end..]);
        bare.push_str(before);
        let inside = string.trim_matches('"');
        let is_word = string.len() == inside.len() + 2 && WORDS.iter().any(|(word, _)| *word == inside);
        bare.push_str(if is_word && !after.starts_with(':') { inside } else { string });
        rest = after;
    }
    bare.push_str(rest);
    bare
}

/// The text with the bare words in quotes.
fn quoted(text: &str) -> Cow<'_, str> {
    if !text.contains("NaN") && !text.contains("Infinity") {
        return text.into();
    }
    let mut whole = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some(at) = rest.find(['"', 'N', 'I', '-']) {
        let (before, here) = rest.split_at(at);
        whole.push_str(before);
        let length = if here.starts_with('"') {
            let length = string_length(here);
            whole.push_str(&here[..length]);
            length
        } else if let Some((word, _)) = WORDS.iter().find(|(word, _)| here.starts_with(word)) {
            whole.extend(["\"", word, "\""]);
            word.len()
        } else {
            whole.push_str(&here[..1]);
            1
        };
        rest = &here[length..];
    }
    whole.push_str(rest);
    whole.into()
}

/// Bytes of the string that `text` begins with, its quotes included; of one without an end, all.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_words_of_python_are_read_and_written() {
        let text = r#"{"a": -Infinity, "b": [NaN, Infinity, -1, 2.5], "c": "-Infinity \" NaN", "NaN": {"d":NaN}}"#;
        let value: Value = from_str(text).unwrap();
        assert_eq!(float(&value["a"]), Some(f64::NEG_INFINITY));
        assert!(float(&value["b"][0]).unwrap().is_nan() && float(&value["NaN"]["d"]).unwrap().is_nan());
        assert_eq!((float(&value["b"][1]), float(&value["b"][3])), (Some(f64::INFINITY), Some(2.5)));
        assert_eq!(value["c"], json!("-Infinity \" NaN"));
        let written = to_string_pretty(&value);
        assert!(written.contains("\"a\": -Infinity,") && written.contains("\"NaN\": {"), "{written}");
        assert_eq!(from_str::<Value>(&written).unwrap(), value);
    }

    #[test]
    fn where_a_number_is_expected_they_are_refused_by_name() {
        let error = from_str::<f64>("NaN").unwrap_err().to_string();
        assert!(error.contains("string \"NaN\""), "{error}");
        for wrong in ["nan", "-NaN", "+Infinity", "Infinityx", "{\"a\": inf}", "NaN NaN", "{NaN: 1", "\"NaN"] {
            assert!(from_str::<Value>(wrong).is_err(), "{wrong}");
        }
        assert!(from_slice::<Value>(b"\"\xff\"").is_err());
    }

    #[test]
    fn a_byte_order_mark_is_passed_over() {
        assert_eq!(from_str::<Value>("\u{feff}{\"a\": NaN}").unwrap(), json!({ "a": "NaN" }));
    }

    proptest! {
        #[test]
        fn plain_json_is_read_as_ever(text in ".{0,40}", number in any::<i64>()) {
            let value = json!({ &text: [text.clone(), format!("NaN{text}Infinity"), number, null, true] });
            prop_assert_eq!(&from_str::<Value>(&value.to_string()).unwrap(), &value);
            prop_assert_eq!(&from_str::<Value>(&to_string_pretty(&value)).unwrap(), &value);
        }

        #[test]
        fn nothing_panics(text in "[\"\\\\NaInfinity:{}\\[\\], 0-9é-]{0,60}") {
            let _ = from_str::<Value>(&text);
        }
    }
}
