//! A1111's styles: rows of a table that stand in for parts of prompts.

use std::path::Path;

use calotype::Request;

use crate::failure::Failure;

/// The largest table, in bytes.
const MAX_TABLE: u64 = 16 << 20;
/// Where the prompt goes, if a style says so.
const PROMPT: &str = "{prompt}";

/// A row of the table.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Style {
    name: String,
    prompt: String,
    negative_prompt: String,
}

/// A table: `name,prompt,negative_prompt`, in its older form `name,text`.
#[derive(Debug, Default)]
pub(crate) struct Styles {
    file: String,
    rows: Vec<Style>,
}

impl Styles {
    pub(crate) fn open(file: &Path) -> Result<Self, Failure> {
        let name = file.display().to_string();
        let failed = |problem: String| Failure::Failed(format!("{name}: {problem}"));
        let text = super::read_text(file, MAX_TABLE)?;
        let rows = rows(text.strip_prefix('\u{feff}').unwrap_or(&text)).map_err(failed)?;
        Ok(Self { file: name, rows })
    }

    /// The styles of these names.
    pub(crate) fn named(&self, names: &[String]) -> Result<Vec<Style>, Failure> {
        let find = |name: &String| {
            // Of equal names the last counts, as in A1111.
            self.rows.iter().rev().find(|style| style.name == *name).cloned().ok_or_else(|| {
                Failure::usage(format!("there is no style {name:?} among the {} of {}", self.rows.len(), self.file))
            })
        };
        names.iter().map(find).collect()
    }
}

fn rows(text: &str) -> Result<Vec<Style>, String> {
    let mut table = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::Headers).from_reader(text.as_bytes());
    let unreadable = |error: csv::Error| format!("not a table of styles: {error}");
    let header = table.headers().map_err(unreadable)?.clone();
    let column = |name: &str| header.iter().position(|of| of == name);
    let (Some(name), Some(prompt)) = (column("name"), column("prompt").or(column("text"))) else {
        return Err("not a table of styles: its first row must be name,prompt,negative_prompt".to_owned());
    };
    let negative = column("negative_prompt");
    let mut styles = Vec::new();
    for row in table.records() {
        let row = row.map_err(unreadable)?;
        let cell = |at: Option<usize>| at.and_then(|at| row.get(at)).unwrap_or_default().trim_start().to_owned();
        let style = Style { name: cell(Some(name)), prompt: cell(Some(prompt)), negative_prompt: cell(negative) };
        if !style.name.is_empty() && !style.name.starts_with('#') {
            styles.push(style);
        }
    }
    Ok(styles)
}

impl Style {
    /// Lets it change the prompts of a request.
    pub(crate) fn apply(&self, request: &mut Request) {
        request.prompt = merged(&self.prompt, &request.prompt);
        request.negative_prompt = merged(&self.negative_prompt, &request.negative_prompt);
    }
}

/// The prompt in its place in the style, else before it.
fn merged(style: &str, prompt: &str) -> String {
    if style.contains(PROMPT) {
        return style.replace(PROMPT, prompt);
    }
    let parts: Vec<&str> = [prompt.trim(), style.trim()].into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_are_merged_as_in_a1111() {
        let text = "name,prompt,negative_prompt\n# a,b,c\nink,\"ink drawing, {prompt}, lines\",\"photo, 3d\"\n\
                    soft,soft light,\nink two,a,b\n";
        let styles = Styles { file: "x".into(), rows: rows(text).unwrap() };
        assert_eq!(styles.rows.len(), 3);
        let mut request = Request { prompt: " a cat ".into(), negative_prompt: "ugly".into(), ..Request::default() };
        for style in styles.named(&["soft".into(), "ink".into()]).unwrap() {
            style.apply(&mut request);
        }
        assert_eq!(request.prompt, "ink drawing, a cat, soft light, lines");
        assert_eq!(request.negative_prompt, "ugly, photo, 3d");
        assert!(styles.named(&["nope".into()]).is_err());
        assert_eq!(rows("name,text\nold,words").unwrap()[0].prompt, "words");
        assert!(rows("a,b\n1,2").unwrap_err().contains("first row"));
        assert!(rows("").is_err());
    }
}
