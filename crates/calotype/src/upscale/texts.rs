//! What the file of an enlarged picture says: all that the picture's own file said, and what was done.

use calotype_image::{PictureTexts, XMP_KEYWORD, is_png_keyword};

use super::Target;
use crate::metadata::{PARAMETERS_KEYWORD, POSTPROCESSING_KEYWORD as KEYWORD};

/// What EXIF calls the text that is `parameters` in a PNG.
const USER_COMMENT: &str = "UserComment";

/// What was done with a picture.
#[derive(Clone, Copy, Debug)]
pub struct Done<'a> {
    /// The name of the upscaler.
    pub upscaler: &'a str,
    /// How much its network enlarges.
    pub scale: usize,
    /// What was asked for.
    pub target: Target,
    /// A second upscaler that was mixed in, and its share.
    pub second: Option<(&'a str, f32)>,
}

impl Done<'_> {
    /// In A1111's words.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { upscaler, scale, target, second } = self;
        let size = match target {
            Target::Native => format!("Postprocess upscale by: {scale}"),
            Target::Scale(scale) => format!("Postprocess upscale by: {scale}"),
            Target::Size([width, height]) => format!("Postprocess upscale to: {width}x{height}"),
        };
        let mut text = format!("{size}, Postprocess upscaler: {}", quoted(upscaler));
        if let Some((name, share)) = second {
            text += &format!(", Postprocess upscaler 2: {}, Postprocess upscaler 2 visibility: {share}", quoted(name));
        }
        text
    }
}

/// A value as A1111 writes it: one with a comma or a colon is quoted.
fn quoted(text: &str) -> String {
    match text.contains([',', ':', '"', '\n']) {
        true => serde_json::to_string(text).unwrap_or_default(),
        false => text.to_owned(),
    }
}

/// The texts of the new PNG, each a keyword and its text, from the file that the picture came from. What can't be read of it is left out.
#[must_use]
pub fn carried_texts(file: &[u8], done: &Done<'_>) -> Vec<(String, String)> {
    let said = PictureTexts::read(file).unwrap_or_default();
    let mut texts: Vec<(String, String)> = Vec::new();
    for (keyword, text) in said.texts {
        let keyword = if keyword == USER_COMMENT { PARAMETERS_KEYWORD.to_owned() } else { keyword };
        let is_new = texts.iter().all(|(known, _)| *known != keyword);
        if is_new && (keyword == XMP_KEYWORD || is_png_keyword(&keyword)) {
            texts.push((keyword, text));
        }
    }
    let text = done.text();
    match texts.iter_mut().find(|(keyword, _)| keyword == KEYWORD) {
        Some((_, before)) => *before = format!("{before}\n{text}"),
        None => texts.push((KEYWORD.to_owned(), text)),
    }
    texts
}

#[cfg(test)]
mod tests {
    use calotype_image::{DeepImage, FileFormat, RgbImage, encode, read_png_text};

    use super::*;

    #[test]
    fn texts_are_carried_on() {
        let picture = RgbImage::filled(2, 2, [9; 3]);
        let texts = [("parameters", "a fox\nSteps: 3"), ("calotype", "{}"), (XMP_KEYWORD, "<x/>")];
        let done = Done { upscaler: "4x, sharp", scale: 4, target: Target::Scale(2.5), second: Some(("b", 0.25)) };
        let said = "Postprocess upscale by: 2.5, Postprocess upscaler: \"4x, sharp\", Postprocess upscaler 2: b, \
                    Postprocess upscaler 2 visibility: 0.25";
        for format in FileFormat::ALL {
            let file = encode(&picture, format, 90, &texts).unwrap();
            let carried = carried_texts(&file, &done);
            let get = |key: &str| carried.iter().find(|(keyword, _)| keyword == key).map(|(_, text)| text.as_str());
            assert_eq!(get("parameters"), Some("a fox\nSteps: 3"), "{format:?}");
            assert_eq!(get(XMP_KEYWORD), Some("<x/>"), "{format:?}");
            assert_eq!(get("postprocessing"), Some(said), "{format:?}");
            // What is written can be read, and is carried on once more.
            let all: Vec<_> = carried.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect();
            let png = DeepImage::from(picture.clone()).encode_png(&all).unwrap();
            assert_eq!(read_png_text(&png).unwrap().len(), carried.len());
            let again = carried_texts(&png, &Done { target: Target::Size([8, 8]), second: None, ..done });
            let (_, text) = again.iter().find(|(keyword, _)| keyword == KEYWORD).unwrap();
            assert_eq!(*text, format!("{said}\nPostprocess upscale to: 8x8, Postprocess upscaler: \"4x, sharp\""));
        }
        assert_eq!(carried_texts(b"no picture", &done).len(), 1);
    }
}
