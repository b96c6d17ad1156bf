//! Which program's reader reads a picture: the first that finds what its program writes.

use calotype_image::{Limits, PictureTexts, decode_rgba};
use serde_json::{Map, Value};

use super::{
    JSON_KEYWORD, Metadata, PARAMETERS_KEYWORD, Program, Reading, comfyui, draft::Draft, draw_things, easy_diffusion,
    fooocus, invokeai, novelai, parameters, swarmui, xmp,
};
use crate::{Error, Result};

/// Reads what a program wrote; none if it wrote nothing.
type Reader = fn(&Picture) -> Option<Result<Draft>>;

/// The readers of other programs, in the order in which they are tried: one that looks for what only its program writes comes
/// before those that take more. A1111's text, which nodes of ComfyUI write too, says more plainly what a graph says.
const READERS: &[Reader] = &[
    swarmui::read,
    fooocus::read,
    easy_diffusion::read,
    invokeai::read,
    novelai::read,
    draw_things::read,
    a1111,
    comfyui::read,
    unknown,
];

/// What is known of a picture before its settings are read.
pub(super) struct Picture {
    /// Its width and height, if they are known.
    pub(super) size: Option<[usize; 2]>,
    texts: PictureTexts,
}

impl Picture {
    fn new(texts: PictureTexts) -> Self {
        let size = [texts.width, texts.height].map(|side| side as usize);
        Self { size: Some(size).filter(|size| !size.contains(&0)), texts }
    }

    /// The first text of one of these keywords that is not empty.
    pub(super) fn text(&self, keywords: &[&str]) -> Option<&str> {
        self.texts_of(keywords).next()
    }

    fn texts_of(&self, keywords: &[&str]) -> impl Iterator<Item = &str> {
        let text = |keyword: &&str| self.texts.get(keyword).map(str::trim).filter(|text| !text.is_empty());
        keywords.iter().filter_map(text)
    }

    /// The first JSON object under one of these keywords for which `is_it` holds. Some say before it what it is: `prompt:{…}`.
    pub(super) fn json(
        &self,
        keywords: &[&str],
        is_it: impl Fn(&Map<String, Value>) -> bool,
    ) -> Option<Map<String, Value>> {
        let object = |text: &str| {
            let (before, _) = text.split_once('{')?;
            let is_named = before.trim().trim_end_matches(':').chars().all(char::is_alphanumeric);
            is_named.then(|| calotype_files::json::from_str(&text[before.len()..]).ok()).flatten()
        };
        self.texts_of(keywords).filter_map(object).find(|object| is_it(object))
    }

    /// All texts, the first of each keyword.
    pub(super) fn all(&self) -> Map<String, Value> {
        let texts = self.texts.texts.iter().rev();
        texts.map(|(keyword, text)| (keyword.clone(), Value::from(text.as_str()))).collect()
    }

    pub(super) fn xmp(&self) -> Option<&str> {
        self.texts.xmp()
    }

    /// What the readers make of it.
    fn read(&self) -> Option<Result<Draft>> {
        let mut problem = None;
        for reader in READERS {
            match reader(self) {
                Some(Ok(draft)) if draft.has_essentials() => return Some(Ok(draft)),
                Some(Ok(draft)) => {
                    let message = format!("there are no settings in what {} wrote", draft.program);
                    problem.get_or_insert(Error::NoSettings(message));
                }
                Some(Err(error)) => {
                    problem.get_or_insert(error);
                }
                None => {}
            }
        }
        problem.map(Err)
    }
}

/// What a picture's file says of how it was made, by this program or another.
///
/// # Errors
/// It is no such file, says nothing, or says it in a way that is not known here.
pub fn read(bytes: &[u8]) -> Result<Reading> {
    let texts = PictureTexts::read(bytes)?;
    let digital_source_type = texts.xmp().and_then(xmp::source_type).map(str::to_owned);
    Ok(Reading { digital_source_type, ..read_settings(bytes, texts)? })
}

fn read_settings(bytes: &[u8], texts: PictureTexts) -> Result<Reading> {
    if let Some(json) = own_json(&texts) {
        let metadata = Metadata::from_json(json)?;
        return Ok(Reading { program: Program::Calotype, metadata, is_complete: true, ..Reading::default() });
    }
    let picture = Picture::new(texts);
    let found = picture.read().or_else(|| hidden(bytes, &picture.texts)?.read());
    let nothing = || Err(Error::NoSettings("the file does not say how the picture was made".to_owned()));
    Ok(found.unwrap_or_else(nothing)?.finish())
}

/// This program's JSON: of a JPEG or WebP file it is in the maker's note, with its keyword.
fn own_json(texts: &PictureTexts) -> Option<&str> {
    let mut notes = texts.get("MakerNote").unwrap_or_default().split('\0');
    let in_note = move || notes.find_map(|note| note.strip_prefix(JSON_KEYWORD)?.strip_prefix(": "));
    texts.get(JSON_KEYWORD).or_else(in_note)
}

/// The picture with the texts that are hidden in its pixels.
fn hidden(bytes: &[u8], said: &PictureTexts) -> Option<Picture> {
    let text = decode_rgba(bytes, &Limits::default()).ok()?.stealth_text()?;
    let texts = match serde_json::from_str::<Map<String, Value>>(&text) {
        Ok(members) => {
            let text = |value: Value| if let Value::String(text) = value { text } else { value.to_string() };
            members.into_iter().map(|(keyword, value)| (keyword, text(value))).collect()
        }
        Err(_) => vec![(PARAMETERS_KEYWORD.to_owned(), text)],
    };
    Some(Picture::new(PictureTexts { texts, ..said.clone() }))
}

/// A1111's text, which others write too.
fn a1111(picture: &Picture) -> Option<Result<Draft>> {
    let text = |keyword: &str| picture.text(&[keyword]).filter(|text| !is_json(text));
    let draft = |text: &str| parameters::draft(text, picture.size);
    // Cameras and others comment too.
    let in_comment = || text("UserComment").map(draft).filter(Draft::has_essentials);
    text(PARAMETERS_KEYWORD)
        .map(draft)
        .filter(Draft::has_essentials)
        .or_else(in_comment)
        .or_else(|| text(PARAMETERS_KEYWORD).map(draft))
        .map(Ok)
}

/// JSON is never a prompt.
fn unknown(picture: &Picture) -> Option<Result<Draft>> {
    picture.texts_of(&[PARAMETERS_KEYWORD, "UserComment", "Comment", "Description"]).find(|text| is_json(text))?;
    Some(Err(Error::NoSettings("the settings are JSON of a program that is not known here".to_owned())))
}

/// Whether a text is JSON, though it may be cut short.
fn is_json(text: &str) -> bool {
    let is_whole =
        || calotype_files::json::from_str::<Value>(text).is_ok_and(|value| value.is_object() || value.is_array());
    text.starts_with("{\"") || text.starts_with("{\n") || text.starts_with(['{', '[']) && is_whole()
}
