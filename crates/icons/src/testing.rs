//! Small packages for tests.

use std::{fs, path::Path};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::packages::STYLES;

/// The code points, names and colours of the subjects that [`packages`] has, and of all in `subjects.txt` where `all` is set.
fn write(folder: &Path, subjects: &[(String, String)]) {
    let put = |path: &str, value: Value| {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value.to_string()).unwrap();
    };
    for (index, style) in STYLES.iter().enumerate() {
        let side = [32, 32, 128][index];
        let mut icons = serde_json::Map::new();
        for (place, (_, name)) in subjects.iter().enumerate() {
            let colour = format!("#{:02x}{:02x}aa", 40 * place % 256, place % 256);
            let (x, y) = (side / 4, side / 4 + index);
            let body = format!("<path fill='{colour}' d='M{x} {y}h{}v{}h-{}z'/>", side / 2, side / 4, side / 2);
            icons.insert(name.clone(), json!({"body": body}));
        }
        let table: serde_json::Map<String, Value> =
            subjects.iter().map(|(code, name)| (code.to_lowercase(), json!(name))).collect();
        put(&format!("{}/icons.json", style.package), json!({"icons": icons, "width": side, "height": side}));
        put(&format!("{}/chars.json", style.package), if index == 0 { json!({}) } else { Value::Object(table) });
    }
    let emoji: Vec<Value> =
        subjects.iter().map(|(code, name)| json!({"hexcode": code, "label": name.replace('-', " ")})).collect();
    put("emojibase-data/en/data.json", Value::Array(emoji));
}

/// A folder of packages with an airplane and an apple.
pub(crate) fn packages() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("2708".into(), "airplane".into()), ("1F34E".into(), "red-apple".into())]);
    folder
}
