//! Which pictures a folder has, and what is seen in them: a list beside them, or a text file beside each.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use serde::Deserialize;

use crate::{Error, Result};

/// The longest list of pictures, in bytes: some millions of lines.
const LONGEST_LIST: u64 = 1 << 30;
/// The longest text beside a picture, in bytes.
const LONGEST_CAPTION: u64 = 1 << 20;
/// How deep folders in the folder are searched where there is no list.
const MAX_DEPTH: usize = 8;
/// What the names of pictures end with where there is no list.
const PICTURES: [&str; 8] = ["png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff"];
/// What the names of texts beside pictures end with; the first that is there counts.
const CAPTIONS: [&str; 2] = ["txt", "caption"];

/// The pictures of a folder in their order.
#[derive(Debug, Default)]
pub(crate) struct List {
    /// Paths inside the folder.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) captions: Vec<String>,
    /// Those that have no caption.
    pub(crate) without: Vec<PathBuf>,
    /// Tells this list from others.
    pub(crate) text: String,
}

/// A line of `metadata.jsonl`; other fields are for other readers.
#[derive(Deserialize)]
struct Entry {
    file_name: String,
    text: Option<String>,
    caption: Option<String>,
}

impl List {
    /// Reads `metadata.jsonl` or `metadata.csv`, the Hugging Face imagefolder form, with a column `text` or `caption`; without
    /// either the pictures in the folder and those below, each with the first line of the `.txt` or `.caption` of its name, as
    /// kohya's scripts have them.
    ///
    /// # Errors
    /// A list breaks its rules, or there is no picture. The message names the line.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        for name in ["metadata.jsonl", "metadata.csv"] {
            let path = folder.join(name);
            if path.symlink_metadata().is_ok() {
                let text = calotype_files::read_text(&path, LONGEST_LIST)
                    .map_err(|e| Error::io(&path, "read the list of pictures", e))?;
                let list = match name.ends_with("csv") {
                    true => Self::of_csv(folder, &path, text)?,
                    false => Self::of_json(folder, &path, text)?,
                };
                return match list.files.is_empty() {
                    true => Err(Error::data(&path, "lists no picture: give at least one line")),
                    false => Ok(list),
                };
            }
        }
        Self::of_files(folder)
    }

    fn of_json(folder: &Path, path: &Path, text: String) -> Result<Self> {
        let mut list = Self::default();
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let at = |problem: String| Error::data(path, format!("line {}: {problem}", index + 1));
            let expected = "expected {\"file_name\": \"…\", \"text\": \"…\"}";
            let entry: Entry = calotype_files::json::from_str(line).map_err(|e| at(format!("{expected}: {e}")))?;
            let caption = entry.text.or(entry.caption);
            let caption = caption.ok_or_else(|| at(format!("{expected}: there is no text and no caption")))?;
            list.push(inside(folder, &entry.file_name).map_err(at)?, Some(caption));
        }
        Ok(Self { text, ..list })
    }

    fn of_csv(folder: &Path, path: &Path, text: String) -> Result<Self> {
        let mut list = Self::default();
        let bytes = text.trim_start_matches('\u{feff}').as_bytes();
        let mut table = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::Headers).from_reader(bytes);
        let header = table.headers().map_err(|e| Error::data(path, format!("is no table: {e}")))?.clone();
        let column = |name: &str| header.iter().position(|of| of == name);
        let (Some(name), Some(caption)) = (column("file_name"), column("text").or(column("caption"))) else {
            return Err(Error::data(path, "line 1: expected the columns file_name and text (or caption)"));
        };
        for row in table.records() {
            let row = row.map_err(|e| Error::data(path, format!("is no table: {e}")))?;
            let line = row.position().map_or(0, csv::Position::line);
            let at = |problem: String| Error::data(path, format!("line {line}: {problem}"));
            let cell = |column: usize| row.get(column).ok_or_else(|| at(format!("has no column {}", column + 1)));
            list.push(inside(folder, cell(name)?).map_err(at)?, Some(cell(caption)?.to_owned()));
        }
        Ok(Self { text, ..list })
    }

    /// Those without a list.
    fn of_files(folder: &Path) -> Result<Self> {
        let (mut found, mut list) = (Vec::new(), Self::default());
        collect(folder, Path::new(""), MAX_DEPTH, &mut found)?;
        found.sort_unstable();
        for file in found {
            let mut caption = None;
            for ending in CAPTIONS {
                let path = folder.join(&file).with_extension(ending);
                if caption.is_none() && path.symlink_metadata().is_ok() {
                    let text = calotype_files::read_text(&path, LONGEST_CAPTION)
                        .map_err(|e| Error::io(&path, "read the caption", e))?;
                    let first = text.trim_start_matches('\u{feff}').lines().next().unwrap_or_default();
                    caption = Some(first.trim().to_owned());
                }
            }
            list.push(file, caption);
        }
        if list.files.is_empty() {
            let problem = "has no metadata.jsonl, no metadata.csv and no pictures (PNG, JPEG, WebP, BMP, GIF, TIFF)";
            return Err(Error::data(folder, problem));
        }
        let named = list.files.iter().zip(&list.captions);
        list.text = named.map(|(file, caption)| format!("{}\0{caption}\0", file.display())).collect();
        Ok(list)
    }

    fn push(&mut self, file: PathBuf, caption: Option<String>) {
        if caption.is_none() {
            self.without.push(file.clone());
        }
        self.files.push(file);
        self.captions.push(caption.unwrap_or_default());
    }
}

/// The path inside the folder that a list names, with `./` before it or Windows' separators in it or not.
fn inside(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let refused = || format!("file_name {name:?} must be a path inside the folder");
    let separated = name.contains('\\') && folder.join(name).symlink_metadata().is_err();
    let path = PathBuf::from(if separated { name.replace('\\', "/") } else { name.to_owned() });
    let parts = path.components().filter(|part| !matches!(part, Component::CurDir));
    let clean: PathBuf = parts.clone().collect();
    match !clean.as_os_str().is_empty() && parts.into_iter().all(|part| matches!(part, Component::Normal(_))) {
        true => Ok(clean),
        false => Err(refused()),
    }
}

/// The pictures in `folder/below`, and those in the folders there, hidden ones left out.
fn collect(folder: &Path, below: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    let here = if below.as_os_str().is_empty() { folder.to_owned() } else { folder.join(below) };
    let failed = |e| Error::io(&here, "list the pictures", e);
    for entry in fs::read_dir(&here).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name.as_encoded_bytes().first() == Some(&b'.') {
            continue;
        }
        let file = below.join(&name);
        let ending = file.extension().unwrap_or_default();
        let path = folder.join(&file);
        // Links count as what they lead to; a ring of them ends at the depth.
        if path.is_dir() {
            if depth > 0 {
                collect(folder, &file, depth - 1, found)?;
            }
        } else if PICTURES.iter().any(|known| ending.eq_ignore_ascii_case(known)) {
            found.push(file);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn read(files: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
        let folder = place(files);
        let list = List::read(folder.path()).map_err(|error| error.to_string())?;
        let files = list.files.iter().map(|file| file.display().to_string());
        Ok(files.zip(list.captions).collect())
    }

    fn pairs(pairs: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
        Ok(pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect())
    }

    #[test]
    fn lists_are_read_as_people_write_them() {
        let jsonl = "\u{feff}{\"file_name\": \"./a.png\", \"text\": \"one\"}\r\n\r\n\
            {\"file_name\": \"sub\\\\b.png\", \"caption\": \"two\", \"width\": NaN}\r\n\
            {\"file_name\": \"sub/./c.png\", \"caption\": \"no\", \"text\": \"three\"}";
        let expected = pairs(&[("a.png", "one"), ("sub/b.png", "two"), ("sub/c.png", "three")]);
        assert_eq!(read(&[("metadata.jsonl", jsonl), ("metadata.csv", "not looked at")]), expected);
        let csv = "\u{feff}width, file_name,caption\r\n1,./a.png,one\r\n2,sub\\b.png,two\r\n3,sub/c.png,three\r\n";
        assert_eq!(read(&[("metadata.csv", csv)]), expected);
        let quoted = "text,file_name\n\"a \"\"red\"\", field\nof two lines\",x.png\n";
        assert_eq!(read(&[("metadata.csv", quoted)]), pairs(&[("x.png", "a \"red\", field\nof two lines")]));
    }

    #[test]
    fn texts_beside_pictures_are_captions() {
        let files = [
            ("b.PNG", ""),
            ("b.txt", "\u{feff}a bee \r\nmore"),
            ("a/z.jpeg", ""),
            ("a/z.caption", "a zebra"),
            ("c.webp", ""),
            ("d.txt", "of no picture"),
            (".hidden.png", ""),
        ];
        assert_eq!(read(&files), pairs(&[("a/z.jpeg", "a zebra"), ("b.PNG", "a bee"), ("c.webp", "")]));
        let folder = place(&files);
        let list = List::read(folder.path()).unwrap();
        assert_eq!(list.without, [PathBuf::from("c.webp")]);
        fs::write(folder.path().join("c.txt"), "").unwrap();
        assert!(List::read(folder.path()).unwrap().without.is_empty(), "an empty caption is one");
        fs::write(folder.path().join("c.txt"), "sea").unwrap();
        assert!(List::read(folder.path()).unwrap().text != list.text);
    }

    #[test]
    fn a_bad_list_is_an_error_that_names_the_line() {
        for (files, expected) in [
            (("metadata.jsonl", ""), "metadata.jsonl: lists no picture"),
            (("metadata.jsonl", "{\"file_name\":\"a.png\"}"), "line 1: expected {\"file_name\""),
            (
                ("metadata.jsonl", "\n{\"file_name\":\"../a.png\",\"text\":\"\"}"),
                "line 2: file_name \"../a.png\" must be a path inside",
            ),
            (("metadata.jsonl", "{\"file_name\":\"..\\\\a.png\",\"text\":\"\"}"), "must be a path inside"),
            (("metadata.jsonl", "{\"file_name\":\"/a.png\",\"text\":\"\"}"), "must be a path inside"),
            (("metadata.jsonl", "{\"file_name\":\"./\",\"text\":\"\"}"), "must be a path inside"),
            (("metadata.jsonl", "{\"file_name\":\"\",\"text\":\"\"}"), "must be a path inside"),
            (("metadata.csv", "a,b\n1,2"), "metadata.csv: line 1: expected the columns file_name and text"),
            (("metadata.csv", "file_name,text\nx.png"), "line 2: has no column 2"),
            (("metadata.csv", "file_name,text\n../x.png,a"), "line 2: file_name \"../x.png\" must be"),
            (("metadata.csv", "file_name,text\n"), "metadata.csv: lists no picture"),
            (("notes.md", ""), "has no metadata.jsonl, no metadata.csv and no pictures"),
        ] {
            let message = read(&[files]).unwrap_err();
            assert!(message.contains(expected) && !message.contains('\n'), "{message}");
        }
    }
}
