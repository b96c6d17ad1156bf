//! The npm packages that icons and names come from, unpacked in a folder.

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, de::DeserializeOwned};

use crate::error::{Error, Result};

/// An icon set: the look of everything in a picture, and the words for it in captions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Its name.
    pub name: &'static str,
    /// The npm package with the icons.
    pub package: &'static str,
    /// The words in captions.
    pub words: [&'static str; 2],
}

/// The styles. A caption that names none is of the first.
pub const STYLES: [Style; 3] = [
    Style {
        name: "gradient",
        package: "@iconify-json/fluent-emoji",
        words: ["in gradient style", "as a gradient icon"],
    },
    Style { name: "flat", package: "@iconify-json/fluent-emoji-flat", words: ["in flat style", "as a flat icon"] },
    Style { name: "cartoon", package: "@iconify-json/noto", words: ["in cartoon style", "as a cartoon"] },
];

/// The package with the names of emoji.
const NAMES: &str = "emojibase-data";

/// The icons of a set in Iconify's form (`IconifyJSON`, iconify.design/docs/types/iconify-json.html).
#[derive(Deserialize)]
struct IconSet {
    icons: BTreeMap<String, Icon>,
    #[serde(default)]
    width: Option<f32>,
    #[serde(default)]
    height: Option<f32>,
}

/// One icon: the inside of an SVG document.
#[derive(Deserialize)]
struct Icon {
    body: String,
    width: Option<f32>,
    height: Option<f32>,
}

/// An emoji in emojibase's `data.json`.
#[derive(Deserialize)]
struct Emoji {
    hexcode: String,
    label: String,
}

/// The icon sets, and the names of what they show.
pub struct Packages {
    sets: Vec<IconSet>,
    /// Names of icons by code points in lower case, one table for each set.
    codes: Vec<BTreeMap<String, String>>,
    labels: BTreeMap<String, String>,
}

impl Packages {
    /// Reads the packages in `folder`, which is what `npm install` calls `node_modules`.
    ///
    /// # Errors
    /// [`Error::Package`] when a package is missing, [`Error::Contents`] when a file is not what it should be.
    pub fn open(folder: &Path) -> Result<Self> {
        let (mut sets, mut codes) = (Vec::new(), Vec::new());
        for style in STYLES {
            sets.push(read::<IconSet>(folder, style.package, "icons.json")?);
            codes.push(read::<BTreeMap<String, String>>(folder, style.package, "chars.json")?);
        }
        // The set with gradients has no table of its own: it is drawn from the same names as the flat one.
        let with_table = codes.iter().position(|table| !table.is_empty()).unwrap_or_default();
        let names = codes[with_table].clone();
        codes.iter_mut().filter(|table| table.is_empty()).for_each(|table| table.clone_from(&names));
        let emoji: Vec<Emoji> = read(folder, NAMES, "en/data.json")?;
        let labels = emoji.into_iter().map(|e| (key(&e.hexcode), e.label)).collect();
        Ok(Self { sets, codes, labels })
    }

    /// The name of an emoji, `red apple`.
    #[must_use]
    pub fn label(&self, code: &str) -> Option<&str> {
        self.labels.get(&key(code)).map(String::as_str)
    }

    /// The SVG document of an emoji in a style, by its place in [`STYLES`].
    ///
    /// # Errors
    /// [`Error::Missing`] when the set does not have it.
    pub fn svg(&self, style: usize, code: &str) -> Result<String> {
        let missing = || Error::Missing { set: STYLES[style].package, code: code.into() };
        let (set, codes) = (&self.sets[style], &self.codes[style]);
        let icon = codes.get(&key(code)).and_then(|name| set.icons.get(name)).ok_or_else(missing)?;
        // Iconify's default side is 16.
        let side = |own: Option<f32>, common: Option<f32>| own.or(common).unwrap_or(16.0);
        let (width, height) = (side(icon.width, set.width), side(icon.height, set.height));
        let names = "xmlns=\"http://www.w3.org/2000/svg\" xmlns:xlink=\"http://www.w3.org/1999/xlink\"";
        Ok(format!("<svg {names} viewBox=\"0 0 {width} {height}\">{}</svg>", icon.body))
    }
}

/// Code points as the tables have them: in lower case, without the sign that asks for a colour picture.
fn key(code: &str) -> String {
    code.to_ascii_lowercase().replace("-fe0f", "")
}

fn read<T: DeserializeOwned>(folder: &Path, package: &'static str, file: &str) -> Result<T> {
    let path = folder.join(package).join(file);
    let text = fs::read(&path).map_err(|source| Error::Package { path: path.clone(), package, source })?;
    serde_json::from_slice(&text).map_err(|e| Error::Contents { path, reason: format!("not as {package} has it: {e}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::packages;

    #[test]
    fn an_icon_is_found_by_its_code_points() {
        let folder = packages();
        let packages = Packages::open(folder.path()).unwrap();
        assert_eq!(packages.label("1F34E"), Some("red apple"));
        let svg = packages.svg(2, "2708").unwrap();
        assert!(svg.contains("viewBox=\"0 0 128 128\"") && svg.contains("#0000aa"), "{svg}");
        // By the flat set's table.
        assert!(packages.svg(0, "1F34E").unwrap().contains("viewBox=\"0 0 32 32\""));
        assert!(matches!(packages.svg(1, "1F34F"), Err(Error::Missing { .. })));
    }

    #[test]
    fn a_missing_package_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let message = Packages::open(folder.path()).err().unwrap().to_string();
        assert!(message.contains("@iconify-json/fluent-emoji") && !message.contains('\n'), "{message}");
    }
}
