//! JPEG files.

use image::{DynamicImage, GrayImage, ImageBuffer, RgbImage, metadata::Orientation};
use jpeg_decoder::{Decoder, PixelFormat};

use crate::{
    decode::{Limits, check},
    error::{Error, Result, one_line},
};

/// The picture of a JPEG file, not turned yet, and how it is to be turned.
///
/// # Errors
/// [`Error::TooLarge`] or [`Error::Corrupt`].
pub(crate) fn decode(bytes: &[u8], limits: &Limits) -> Result<(DynamicImage, Orientation)> {
    let mut decoder = Decoder::new(bytes);
    decoder.set_max_decoding_buffer_size(usize::try_from(limits.max_bytes).unwrap_or(usize::MAX));
    decoder.read_info().map_err(failed)?;
    let info = decoder.info().ok_or_else(|| corrupt("it has no frame".to_owned()))?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    check(u64::from(width) * u64::from(height), limits.max_pixels, "pixels")?;
    let data = decoder.decode().map_err(failed)?;
    let orientation = decoder.exif_data().and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms);
    let picture = match info.pixel_format {
        PixelFormat::L8 => GrayImage::from_raw(width, height, data).map(DynamicImage::from),
        PixelFormat::RGB24 => RgbImage::from_raw(width, height, data).map(DynamicImage::from),
        PixelFormat::L16 => {
            let values = data.chunks_exact(2).map(|pair| u16::from_ne_bytes([pair[0], pair[1]])).collect();
            ImageBuffer::from_raw(width, height, values).map(DynamicImage::ImageLuma16)
        }
        PixelFormat::CMYK32 => RgbImage::from_raw(width, height, rgb_of_cmyk(&data)).map(DynamicImage::from),
    };
    Ok((picture.ok_or_else(|| corrupt("its rows are cut off".to_owned()))?, orientation))
}

/// The EXIF block of a JPEG file, if it has one. The pixels are not decoded.
///
/// # Errors
/// [`Error::Corrupt`].
pub(crate) fn exif(bytes: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut decoder = Decoder::new(bytes);
    decoder.read_info().map_err(failed)?;
    Ok(decoder.exif_data().map(<[u8]>::to_vec))
}

/// What a JPEG file says before its pixels, beside EXIF.
pub(crate) struct Head {
    pub(crate) size: [u32; 2],
    pub(crate) xmp: Option<Vec<u8>>,
    pub(crate) comments: Vec<String>,
}

/// Reads what comes before the pixels.
///
/// # Errors
/// [`Error::Corrupt`].
pub(crate) fn head(bytes: &[u8]) -> Result<Head> {
    let mut decoder = Decoder::new(bytes);
    decoder.read_info().map_err(failed)?;
    let size = decoder.info().map_or([0; 2], |info| [u32::from(info.width), u32::from(info.height)]);
    Ok(Head { size, xmp: decoder.xmp_data().map(<[u8]>::to_vec), comments: comments(bytes) })
}

/// The comments (`COM`) before the first scan.
fn comments(bytes: &[u8]) -> Vec<String> {
    const COMMENT: u8 = 0xfe;
    const SCAN: u8 = 0xda;
    let (mut comments, mut rest) = (Vec::new(), bytes.get(2..).unwrap_or_default());
    while let [0xff, kind, length @ ..] = rest {
        if *kind == 0xff {
            // A fill byte.
            rest = &rest[1..];
            continue;
        }
        let Some((length, after)) = length.split_first_chunk::<2>().filter(|_| *kind != SCAN) else { break };
        let Some(length) = usize::from(u16::from_be_bytes(*length)).checked_sub(2) else { break };
        let Some((segment, after)) = after.split_at_checked(length) else { break };
        if *kind == COMMENT {
            comments.push(String::from_utf8_lossy(segment).trim_matches('\0').trim().to_owned());
        }
        rest = after;
    }
    comments
}

fn failed(error: jpeg_decoder::Error) -> Error {
    corrupt(one_line(error))
}

fn corrupt(reason: String) -> Error {
    Error::Corrupt { format: "JPEG", reason }
}

/// Ink on white paper, as Pillow mixes it.
fn rgb_of_cmyk(data: &[u8]) -> Vec<u8> {
    let pixel = |inks: &[u8]| {
        let light = |ink: u8| u16::from(255 - ink) * u16::from(255 - inks[3]);
        [inks[0], inks[1], inks[2]].map(|ink| ((light(ink) + 127) / 255) as u8)
    };
    data.chunks_exact(4).flat_map(pixel).collect()
}
