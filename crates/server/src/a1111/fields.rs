//! Members of bodies as A1111's server (FastAPI with pydantic 1) takes them: numbers may be texts, null is as if it were left out,
//! and what nobody knows is passed over.

use std::cell::RefCell;

use axum::http::StatusCode;
use calotype_queue::wall_clock;
use serde_json::{Map, Value};

use crate::problem::{Problem, Result};

/// The members of a body, or of a part of it.
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(map: &'a Map<String, Value>) -> Self {
        Self { map }
    }

    /// A member, if it is there and not null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>> {
        self.read(name, "str", "str type expected", |value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
    }

    /// A text that says something.
    pub(super) fn word(&self, name: &str) -> Result<Option<String>> {
        Ok(self.text(name)?.filter(|text| !text.trim().is_empty()))
    }

    /// A whole number; what is behind a point is cut off.
    pub(super) fn int(&self, name: &str) -> Result<Option<i64>> {
        self.read(name, "integer", "value is not a valid integer", |value| match value {
            Value::Number(number) => {
                let cut = number.as_f64().filter(|number| number.abs() < 9e15).map(|number| number.trunc() as i64);
                number.as_i64().or(cut)
            }
            Value::String(text) => text.trim().parse().ok(),
            Value::Bool(flag) => Some(i64::from(*flag)),
            _ => None,
        })
    }

    /// A number of things, which is not negative.
    pub(super) fn count(&self, name: &str) -> Result<Option<usize>> {
        let Some(number) = self.int(name)? else { return Ok(None) };
        let count = usize::try_from(number);
        count.map(Some).map_err(|_| Problem::invalid(name, format!("{name} {number} is out of range: give 0 or more")))
    }

    pub(super) fn float(&self, name: &str) -> Result<Option<f64>> {
        self.read(name, "float", "value is not a valid float", |value| match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
            _ => None,
        })
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool> {
        let read = self.read(name, "bool", "value could not be parsed to a boolean", |value| match value {
            Value::Bool(flag) => Some(*flag),
            Value::Number(number) => number.as_f64().filter(|n| *n == 0.0 || *n == 1.0).map(|n| n == 1.0),
            Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "on" | "yes" | "t" | "y" => Some(true),
                "false" | "0" | "off" | "no" | "f" | "n" | "" => Some(false),
                _ => None,
            },
            _ => None,
        })?;
        Ok(read.unwrap_or(false))
    }

    /// A list of texts.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>> {
        let read = self.read(name, "list", "value is not a valid list", |value| {
            let text = |value: &Value| value.as_str().map(str::to_owned);
            value.as_array()?.iter().filter(|value| !value.is_null()).map(text).collect()
        })?;
        Ok(read.unwrap_or_default())
    }

    /// An object.
    pub(super) fn object(&self, name: &str) -> Result<Option<&'a Map<String, Value>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(object)),
            Some(_) => Err(wrong_type(name, "dict", "value is not a valid dict")),
        }
    }

    fn read<T>(
        &self,
        name: &str,
        kind: &str,
        message: &'static str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| wrong_type(name, kind, message))
    }
}

fn wrong_type(name: &str, kind: &str, message: &'static str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_type", message)
        .param(name)
        .hint(format!("type_error.{kind}"))
}

/// What is not done as it was asked for, in sentences.
#[derive(Default)]
pub(super) struct Warnings(RefCell<Vec<String>>);

impl Warnings {
    pub(super) fn add(&self, warning: impl Into<String>) {
        self.0.borrow_mut().push(warning.into());
    }

    pub(super) fn take(self) -> Vec<String> {
        self.0.into_inner()
    }
}

/// A time as `YYYYmmddHHMMSS`; now if none is given.
pub(super) fn timestamp(ms: Option<u64>) -> String {
    let since = std::time::Duration::from_millis(ms.unwrap_or_else(|| wall_clock()()));
    let text = calotype_safety::audit::rfc3339(std::time::SystemTime::UNIX_EPOCH + since);
    text.chars().filter(char::is_ascii_digit).take(14).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_are_read_as_pydantic_reads_them() {
        let Value::Object(map) = json!({
            "i": 20, "i_text": "20", "i_float": 20.7, "i_wrong": "twenty", "i_list": [1], "f": "7.5", "f_int": 7, "f_wrong": {},
            "t": true, "t_text": "True", "t_one": 1, "t_wrong": 2, "s": "x", "s_number": 5, "s_wrong": [], "null": null, "big": 1e300,
            "negative": -1, "l": ["a", "b"], "l_null": ["a", null], "l_wrong": "a"
        }) else {
            return;
        };
        let fields = Fields::new(&map);
        for (name, number) in [("i", 20), ("i_text", 20), ("i_float", 20), ("t", 1), ("negative", -1)] {
            assert_eq!(fields.int(name).ok(), Some(Some(number)), "{name}");
        }
        for name in ["i_wrong", "i_list", "big", "l"] {
            assert!(fields.int(name).is_err(), "{name}");
        }
        assert_eq!([fields.int("null").ok(), fields.int("missing").ok()], [Some(None); 2]);
        assert!(fields.count("negative").is_err());
        assert_eq!([fields.float("f").ok(), fields.float("f_int").ok()], [Some(Some(7.5)), Some(Some(7.0))]);
        assert!(fields.float("f_wrong").is_err());
        for (name, flag) in [("t", true), ("t_text", true), ("t_one", true), ("null", false), ("missing", false)] {
            assert_eq!(fields.flag(name).ok(), Some(flag), "{name}");
        }
        assert!(fields.flag("t_wrong").is_err());
        assert_eq!(fields.text("s_number").ok().flatten().as_deref(), Some("5"));
        assert!(fields.text("s_wrong").is_err());
        assert_eq!(fields.texts("l").ok().map(|list| list.len()), Some(2));
        assert_eq!(fields.texts("l_null").ok().map(|list| list.len()), Some(1));
        assert!(fields.texts("l_wrong").is_err());
    }

    #[test]
    fn a_time_is_fourteen_digits() {
        assert_eq!(timestamp(Some(951_782_399_007)), "20000228235959");
    }
}
