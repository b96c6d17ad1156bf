use std::fs;
use std::path::Path;

use calotype_image::{Limits, RgbaImage, decode_rgba};
use skrifa::bitmap::{BitmapData, BitmapStrikes};
use skrifa::instance::Size;
use skrifa::{FontRef, MetadataProvider};

use crate::error::{Error, Result};

/// Where Debian's package `fonts-noto-color-emoji` puts the font.
pub const DEFAULT_FONT: &str = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf";

/// Largest picture of one character that is read: far above the 136 x 128 of Noto Color Emoji.
const GLYPH_LIMITS: Limits = Limits { max_pixels: 1024 * 1024, max_bytes: 8 << 20 };

/// A font whose characters are PNG pictures.
pub struct EmojiFont {
    bytes: Vec<u8>,
}

impl EmojiFont {
    /// The font in a file.
    ///
    /// # Errors
    /// [`Error::FontFile`] when the file cannot be read, [`Error::InFontFile`] when it is no font with colour bitmaps.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|source| Error::FontFile { path: path.into(), source })?;
        Self::new(bytes).map_err(|error| Error::InFontFile { path: path.into(), error: Box::new(error) })
    }

    /// The font in these bytes of a TrueType or OpenType file.
    ///
    /// # Errors
    /// [`Error::Font`] when the bytes are no font with colour bitmaps.
    pub fn new(bytes: Vec<u8>) -> Result<Self> {
        let font = Self { bytes };
        if BitmapStrikes::new(&font.parsed()?).is_empty() {
            return Err(Error::Font { reason: "it has no bitmaps".into() });
        }
        Ok(font)
    }

    /// The largest picture of a character, `(H, W, 4)`.
    ///
    /// # Errors
    /// [`Error::Glyph`] when there is none, [`Error::Image`] when it is damaged.
    pub fn bitmap(&self, character: char) -> Result<RgbaImage> {
        let missing = || Error::Glyph { codepoint: character.into() };
        let font = self.parsed()?;
        let glyph = font.charmap().map(character).ok_or_else(missing)?;
        let bitmap = BitmapStrikes::new(&font).glyph_for_size(Size::unscaled(), glyph).ok_or_else(missing)?;
        match bitmap.data {
            BitmapData::Png(png) => Ok(decode_rgba(png, &GLYPH_LIMITS)?),
            _ => Err(missing()),
        }
    }

    fn parsed(&self) -> Result<FontRef<'_>> {
        FontRef::new(&self.bytes).map_err(|error| Error::Font { reason: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_font_is_refused() {
        assert!(matches!(EmojiFont::new(Vec::new()), Err(Error::Font { .. })));
        assert!(matches!(EmojiFont::new(b"\0\x01\0\0\0\x05garbage".to_vec()), Err(Error::Font { .. })));
        let message = EmojiFont::open(Path::new("/nowhere/font.ttf")).err().unwrap().to_string();
        assert!(message.contains("/nowhere/font.ttf") && message.contains("fonts-noto-color-emoji"), "{message}");
        let file = tempfile::NamedTempFile::new().unwrap();
        let message = EmojiFont::open(file.path()).err().unwrap().to_string();
        assert!(message.starts_with(&format!("{}: no colour bitmap font", file.path().display())), "{message}");
    }
}
