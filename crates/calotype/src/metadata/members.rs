//! Members of JSON objects, by which other programs say their settings.

use serde_json::{Map, Value};

use super::draft::Draft;

/// A value as A1111's text would have it; none where it says nothing.
pub(super) fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::Null | Value::Bool(false) => return None,
        Value::Bool(true) => "True".to_owned(),
        Value::Number(number) => match number.as_f64() {
            // Some write all numbers as floats.
            Some(whole) if number.is_f64() && whole.fract() == 0.0 && whole.abs() < 1e15 => (whole as i64).to_string(),
            _ => number.to_string(),
        },
        Value::String(text) if matches!(text.trim(), "" | "None" | "False" | "false" | "none") => return None,
        Value::String(text) if text.trim() == "true" => "True".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(all) if all.is_empty() => return None,
        Value::Object(all) if all.is_empty() => return None,
        other => other.to_string(),
    };
    Some(text)
}

/// The text of a member, if it is one.
pub(super) fn string<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    members.iter().find(|(key, _)| is_same(key, name)).and_then(|(_, value)| value.as_str())
}

/// The number of a member, which may be written as a text.
pub(super) fn number(members: &Map<String, Value>, name: &str) -> Option<f64> {
    let value = members.iter().find(|(key, _)| is_same(key, name)).map(|(_, value)| value)?;
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|number: &f64| number.is_finite())
}

/// Names differ in case and signs: `Guidance Scale` is `guidance_scale`.
pub(super) fn is_same(name: &str, known: &str) -> bool {
    let letters = |name: &str| -> String {
        name.chars().filter(|c| !matches!(c, ' ' | '_' | '-')).map(|c| c.to_ascii_lowercase()).collect()
    };
    letters(name) == letters(known)
}

/// A list of texts: of JSON, or as Python or a comma writes it.
pub(super) fn list(value: &Value) -> Vec<String> {
    let in_text = |text: &str| {
        let inside = text.trim().trim_start_matches(['[', '(']).trim_end_matches([']', ')']);
        let entries = inside.split(',').map(|entry| entry.trim().trim_matches(['\'', '"']).to_owned());
        entries.filter(|entry| !entry.is_empty() && entry != "None").collect()
    };
    match value {
        Value::Array(all) => all.iter().filter_map(text).collect(),
        other => text(other).as_deref().map(in_text).unwrap_or_default(),
    }
}

/// A width and a height in a text, whatever is between them: `(1152, 896)`, `512x768`.
pub(super) fn size(text: &str) -> Option<String> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    let size = format!("{}x{}", numbers.next()?, numbers.next()?);
    numbers.next().is_none().then_some(size)
}

impl Draft {
    /// Takes members over: `table` has the program's names and A1111's, and `silent` what makes no difference to the picture
    /// or is read elsewhere; the rest is unread.
    pub(super) fn members(&mut self, members: &Map<String, Value>, table: &[(&str, &str)], silent: &[&str]) {
        for (name, value) in members {
            let Some(value) = text(value) else { continue };
            match table.iter().find(|(known, _)| is_same(name, known)) {
                Some((_, known)) => self.setting_as(name, known, &value),
                None if silent.iter().any(|known| is_same(name, known)) => {}
                None => self.unread(name, &value),
            }
        }
    }

    /// Takes the size of two members over.
    pub(super) fn size_of(&mut self, members: &Map<String, Value>, width: &str, height: &str) {
        if let (Some(width), Some(height)) = (number(members, width), number(members, height)) {
            self.setting("Size", &format!("{width}x{height}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_as_a1111_writes_them() {
        for (value, expected) in [
            (json!(7.0), Some("7")),
            (json!(7.5), Some("7.5")),
            (json!(18_446_744_073_709_551_615_u64), Some("18446744073709551615")),
            (json!(true), Some("True")),
            (json!("true"), Some("True")),
            (json!(false), None),
            (json!("None"), None),
            (json!(null), None),
            (json!([]), None),
            (json!({"a": 1}), Some("{\"a\":1}")),
        ] {
            assert_eq!(text(&value).as_deref(), expected);
        }
        assert_eq!(list(&json!("['a b', 'c']")), ["a b", "c"]);
        assert_eq!(list(&json!(["a", "b"])), ["a", "b"]);
        assert_eq!(list(&json!("a,b")), ["a", "b"]);
        assert!(list(&json!("None")).is_empty());
        assert_eq!(size("(1152, 896)").as_deref(), Some("1152x896"));
        assert_eq!(size("1152"), None);
    }
}
