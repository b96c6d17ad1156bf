//! The YAML of configs: CompVis' model configs, ComfyUI's `extra_model_paths.yaml`.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

use crate::{Error, Result, error::quote};

/// The longest text taken, in bytes: the configs it is for have some thousands.
const MAX_LENGTH: usize = 64 * 1024;
/// The deepest nesting taken.
const MAX_DEPTH: usize = 32;

/// Reads one YAML document as the JSON value it stands for; `label` is what messages call it.
///
/// Anchors, aliases and tags are refused, so that a short text can't stand for a long one. Plain scalars are as in
/// YAML 1.2's core schema, and `1.e-6` is a number, as in Python's reader.
///
/// # Errors
/// It is longer than 64 KiB, nested deeper than 32, not YAML, or has a key twice.
pub fn parse_yaml(text: &str, label: &str) -> Result<Value> {
    let fail = |problem: String| Error::file(label, problem);
    if text.len() > MAX_LENGTH {
        return Err(fail(format!("{} bytes, a YAML config has at most {MAX_LENGTH}: give a config", text.len())));
    }
    let mut builder = Builder { open: Vec::new(), root: None };
    for event in Parser::new_from_str(text) {
        let (event, place) = event.map_err(|error| {
            let mark = error.marker();
            fail(format!("not valid YAML at line {} column {}: {}", mark.line(), mark.col() + 1, brief(error.info())))
        })?;
        builder.take(event).map_err(|problem| fail(format!("line {}: {problem}", place.start.line())))?;
    }
    builder.root.ok_or_else(|| fail("there is nothing in it: give a config".to_owned()))
}

/// What the parser says, which may quote the text.
fn brief(text: &str) -> String {
    text.chars().take(120).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What is wrong with an event, if anything.
type Taken = std::result::Result<(), String>;

/// A list or a map that is not yet closed.
enum Open {
    List(Vec<Value>),
    /// With the key whose value comes next.
    Map(Map<String, Value>, Option<String>),
}

struct Builder {
    open: Vec<Open>,
    root: Option<Value>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>) -> Taken {
        let (anchor, tag) = match &event {
            Event::Alias(_) => return Err("an alias (*name) is not supported: write the value out".to_owned()),
            Event::Scalar(_, _, anchor, tag) => (*anchor, tag.is_some()),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => (*anchor, tag.is_some()),
            _ => (0, false),
        };
        if anchor != 0 || tag {
            return Err("anchors (&name) and tags (!name) are not supported: remove them".to_owned());
        }
        match event {
            Event::Scalar(text, style, ..) => self.scalar(text.into_owned(), style == ScalarStyle::Plain),
            Event::SequenceStart(..) => self.open(Open::List(Vec::new())),
            Event::MappingStart(..) => self.open(Open::Map(Map::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List(values)) => self.value(Value::Array(values)),
                Some(Open::Map(map, None)) => self.value(Value::Object(map)),
                _ => Err("a key without a value".to_owned()),
            },
            _ => Ok(()),
        }
    }

    fn open(&mut self, container: Open) -> Taken {
        if matches!(self.open.last(), Some(Open::Map(_, None))) {
            return Err("a key that is a list or a map: keys are texts".to_owned());
        }
        if self.open.len() == MAX_DEPTH {
            return Err(format!("nested deeper than {MAX_DEPTH}: give a config"));
        }
        self.open.push(container);
        Ok(())
    }

    fn scalar(&mut self, text: String, plain: bool) -> Taken {
        if let Some(Open::Map(map, key @ None)) = self.open.last_mut() {
            if map.contains_key(&text) {
                return Err(format!("the key {} is there twice: remove one", quote(&text)));
            }
            *key = Some(text);
            return Ok(());
        }
        self.value(if plain { plain_scalar(text) } else { Value::String(text) })
    }

    fn value(&mut self, value: Value) -> Taken {
        match self.open.last_mut() {
            Some(Open::List(values)) => values.push(value),
            Some(Open::Map(map, key)) => match key.take() {
                Some(key) => drop(map.insert(key, value)),
                None => return Err("a key that is a list or a map: keys are texts".to_owned()),
            },
            None if self.root.is_some() => return Err("a second document: give one".to_owned()),
            None => self.root = Some(value),
        }
        Ok(())
    }
}

/// What a scalar without quotes is.
fn plain_scalar(text: String) -> Value {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) {
        return Value::String(text);
    }
    if let Ok(number) = text.parse::<i64>() {
        return Value::Number(number.into());
    }
    let float = text.parse().ok().filter(|_| text.contains(|c: char| c.is_ascii_digit())).and_then(Number::from_f64);
    float.map_or(Value::String(text), Value::Number)
}
