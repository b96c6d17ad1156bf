//! Text hidden in the last bits of a picture, by which it outlives programs that drop what files say beside their pixels
//! (`stealth_pnginfo`; NovelAI's pictures have it too).

use miniz_oxide::inflate::decompress_to_vec_with_limit;

use crate::raster::RgbaImage;

/// Longest text that is read, in bytes.
const MAX_TEXT_BYTES: usize = 4 << 20;
/// What the bits begin with: those of alpha, or of red, green and blue; plain or compressed by gzip.
const SIGNATURES: [(&[u8], Bits, bool); 4] = [
    (b"stealth_pnginfo", Bits::Alpha, false),
    (b"stealth_pngcomp", Bits::Alpha, true),
    (b"stealth_rgbinfo", Bits::Colours, false),
    (b"stealth_rgbcomp", Bits::Colours, true),
];

#[derive(Clone, Copy, PartialEq)]
enum Bits {
    Alpha,
    Colours,
}

impl RgbaImage {
    /// The text that is hidden in the last bits, if there is one.
    #[must_use]
    pub fn stealth_text(&self) -> Option<String> {
        SIGNATURES.into_iter().find_map(|(signature, bits, is_compressed)| {
            let mut bytes = self.hidden(bits);
            if !signature.iter().all(|&byte| bytes.next() == Some(byte)) {
                return None;
            }
            let length: Vec<u8> = bytes.by_ref().take(4).collect();
            // In bits.
            let length = u32::from_be_bytes(length.try_into().ok()?) as usize / 8;
            if length > MAX_TEXT_BYTES {
                return None;
            }
            let data: Vec<u8> = bytes.take(length).collect();
            let text = if is_compressed { gunzip(&data)? } else { data };
            Some(String::from_utf8_lossy(&text).into_owned()).filter(|_| !text.is_empty())
        })
    }

    /// The bytes that last bits make, from the left column to the right, each from the top.
    fn hidden(&self, bits: Bits) -> impl Iterator<Item = u8> {
        let (width, height, data) = (self.width() as usize, self.height() as usize, self.data());
        let channels = if bits == Bits::Alpha { 3..4 } else { 0..3 };
        let pixels = (0..width).flat_map(move |x| (0..height).map(move |y| (y * width + x) * 4));
        let mut values = pixels.flat_map(move |at| channels.clone().map(move |channel| data[at + channel] & 1));
        std::iter::from_fn(move || {
            let mut byte = 0;
            for _ in 0..8 {
                byte = byte << 1 | values.next()?;
            }
            Some(byte)
        })
    }
}

/// What gzip compressed (RFC 1952); the checksum is not looked at.
fn gunzip(data: &[u8]) -> Option<Vec<u8>> {
    const HEADER_CHECKSUM: u8 = 2;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    let rest = data.strip_prefix(&[0x1f, 0x8b, 8])?;
    let (&flags, rest) = rest.split_first()?;
    // Time, kind and system.
    let mut rest = rest.get(6..)?;
    if flags & EXTRA != 0 {
        let (length, after) = rest.split_first_chunk::<2>()?;
        rest = after.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    for flag in [NAME, COMMENT] {
        if flags & flag != 0 {
            rest = rest.get(rest.iter().position(|&byte| byte == 0)? + 1..)?;
        }
    }
    if flags & HEADER_CHECKSUM != 0 {
        rest = rest.get(2..)?;
    }
    decompress_to_vec_with_limit(rest, MAX_TEXT_BYTES).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use miniz_oxide::deflate::compress_to_vec;

    use super::*;

    fn hide(bytes: &[u8], bits: Bits) -> RgbaImage {
        let (width, height) = (64, 48);
        let mut data = vec![254; width * height * 4];
        let channels: &[usize] = if bits == Bits::Alpha { &[3] } else { &[0, 1, 2] };
        let places = (0..width).flat_map(|x| (0..height).map(move |y| (y * width + x) * 4));
        let places = places.flat_map(|at| channels.iter().map(move |channel| at + channel));
        let values = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
        places.zip(values).for_each(|(at, value)| data[at] |= value);
        RgbaImage::new(width as u32, height as u32, data).unwrap()
    }

    fn with_length(signature: &[u8], data: &[u8], length: u32) -> Vec<u8> {
        [signature, &length.to_be_bytes(), data].concat()
    }

    #[test]
    fn hidden_texts_are_found() {
        let text = "a cat, 猫\nSteps: 20, Sampler: Euler a";
        for flags in [0, 2 | 4 | 8 | 16] {
            let more: &[u8] = if flags == 0 { b"" } else { b"\x02\0xxname\0comment\0cc" };
            let header = [&[0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3], more].concat();
            let zipped = [header, compress_to_vec(text.as_bytes(), 6), vec![0; 8]].concat();
            for (signature, bits, is_compressed) in SIGNATURES {
                let data = if is_compressed { &zipped } else { text.as_bytes() };
                let whole = with_length(signature, data, data.len() as u32 * 8);
                assert_eq!(hide(&whole, bits).stealth_text().as_deref(), Some(text));
            }
        }
    }

    #[test]
    fn what_hides_nothing_is_no_panic() {
        for data in
            [&b"stealth_pnginfo"[..], b"stealth_pngcomp\0\0\0\x08\x1f", b"stealth", b"", b"stealth_pnginfo\0\0\0\0"]
        {
            assert_eq!(hide(data, Bits::Alpha).stealth_text(), None);
        }
        let all = with_length(b"stealth_pngcomp", &[0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 3, 0xff, 0xff], u32::MAX);
        assert_eq!(hide(&all, Bits::Alpha).stealth_text(), None);
        // More than there are bits is what there is.
        let longer = with_length(b"stealth_pnginfo", b"abc", 1 << 20);
        assert!(hide(&longer, Bits::Alpha).stealth_text().unwrap().starts_with("abc"));
        assert_eq!(RgbaImage::new(1, 1, vec![0; 4]).unwrap().stealth_text(), None);
    }
}
