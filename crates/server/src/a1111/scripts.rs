//! Scripts of A1111 and its extensions, none of which is here: one that is on is named, or refused where it makes another image.

use axum::http::StatusCode;
use serde_json::Value;

use super::fields::{Fields, Warnings};
use crate::problem::{Problem, Result};

/// Those that only touch up what was made, or save memory.
const TOUCHING_UP: [&str; 4] = ["adetailer", "after detailer", "face editor ex", "tiled vae"];

/// Refuses scripts that make another image, and names those that touch one up.
pub(super) fn check(fields: &Fields<'_>, warnings: &Warnings) -> Result<()> {
    if let Some(name) = fields.word("script_name")?.filter(|name| !name.eq_ignore_ascii_case("none")) {
        return Err(missing("script_name", &format!("Script '{}' not found", shown(&name))));
    }
    let Some(scripts) = fields.object("alwayson_scripts")? else { return Ok(()) };
    for (name, script) in scripts.iter().filter(|(name, script)| is_on(name, &script["args"])) {
        let _ = script;
        if TOUCHING_UP.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            warnings.add(format!("the script {} is not here: images are as they were before it", shown(name)));
        } else {
            return Err(missing("alwayson_scripts", &format!("always on script {} not found", shown(name))));
        }
    }
    Ok(())
}

fn missing(param: &str, detail: &str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_script", detail)
        .param(param)
        .hint("this server runs no scripts, and the image would be another without it")
}

fn shown(name: &str) -> String {
    name.chars().take(100).collect()
}

/// Whether arguments ask for something: clients send `[]`, `[false]` and units that are not enabled to say that they don't.
fn is_on(name: &str, args: &Value) -> bool {
    let args: Vec<&Value> = match args {
        Value::Null => return false,
        Value::Array(args) => args.iter().collect(),
        // Newer clients give arguments by their names.
        Value::Object(args) => args.values().collect(),
        one => vec![one],
    };
    let enabled = |unit: &Value| unit.get("enabled").or(unit.get("enable")).and_then(Value::as_bool);
    match args.first() {
        None | Some(Value::Bool(false) | Value::Null) => false,
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => false,
        // Without a word a unit of ControlNet is off; anything else is on.
        Some(Value::Object(_)) => {
            let otherwise = !name.eq_ignore_ascii_case("controlnet");
            args.iter().filter(|unit| unit.is_object()).any(|unit| enabled(unit).unwrap_or(otherwise))
        }
        Some(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_off_is_known() {
        for (name, args, expected) in [
            ("ControlNet", json!([]), false),
            ("ControlNet", json!([{"enabled": false, "module": "canny"}]), false),
            ("ControlNet", json!([{"module": "canny"}]), false),
            ("controlnet", json!([{"enabled": false}, {"enabled": true}]), true),
            ("ADetailer", json!([false]), false),
            ("ADetailer", json!([false, {"ad_model": "face"}]), false),
            ("ADetailer", json!([true, {"ad_model": "face"}]), true),
            ("animatediff", json!([{"enable": false}]), false),
            ("animatediff", json!([{"enable": true}]), true),
            ("roop", json!(["data:image/png;base64,", true]), true),
            ("Seed", json!(null), false),
            ("Tiled VAE", json!(["False", 512]), false),
            ("Tiled VAE", json!(["True", 512]), true),
        ] {
            assert_eq!(is_on(name, &args), expected, "{name} {args}");
        }
    }

    #[test]
    fn scripts_that_are_on_are_refused_or_named() {
        for (body, refused, warned) in [
            (json!({"script_name": null, "script_args": [], "alwayson_scripts": {}}), false, 0),
            (json!({"script_name": "None"}), false, 0),
            (json!({"script_name": "X/Y/Z plot"}), true, 0),
            (json!({"alwayson_scripts": {"ControlNet": {"args": [{"enabled": true}]}}}), true, 0),
            (json!({"alwayson_scripts": {"ADetailer": {"args": [true, {}]}, "ControlNet": {"args": []}}}), false, 1),
            (json!({"alwayson_scripts": {"Self Attention Guidance": {"args": [true, 0.7]}}}), true, 0),
        ] {
            let warnings = Warnings::default();
            let Value::Object(map) = &body else { continue };
            let checked = check(&Fields::new(map), &warnings);
            assert_eq!((checked.is_err(), warnings.take().len()), (refused, warned), "{body}");
        }
    }
}
