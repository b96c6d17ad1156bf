//! Pictures as their files have them: grey or in colours, with alpha or without, of 8 or 16 bits.

use image::DynamicImage;

use crate::decode::{Limits, decoded};
use crate::error::{Error, Result};
use crate::png_text::{PngPixels, write_png};
use crate::raster::{RgbImage, check_sides};
use crate::resample::{Filter, resample};

/// What white weighs of red, green and blue (ITU-R BT.601), where a grey picture is made of colours.
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// A picture as its file has it: 1 channel (grey), 2 (grey and alpha), 3 (colours) or 4 (colours and alpha), rows from the top:
/// `(H, W, channels)`, never empty. Alpha is straight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeepImage {
    width: u32,
    height: u32,
    channels: usize,
    samples: Samples,
}

/// The values of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Samples {
    /// Of 8 bits.
    Bytes(Vec<u8>),
    /// Of 16 bits.
    Words(Vec<u16>),
}

impl Samples {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(data) => data.len(),
            Self::Words(data) => data.len(),
        }
    }

    /// As many zeros, of the same depth.
    fn zeros(&self, count: usize) -> Self {
        match self {
            Self::Bytes(_) => Self::Bytes(vec![0; count]),
            Self::Words(_) => Self::Words(vec![0; count]),
        }
    }
}

impl DeepImage {
    /// A picture from its values.
    ///
    /// # Errors
    /// [`Error::Size`] when a side is 0, there are not 1 to 4 channels, or not as many values.
    pub fn new(width: u32, height: u32, channels: usize, samples: Samples) -> Result<Self> {
        let expected = u64::from(width) * u64::from(height) * channels as u64;
        if width == 0 || height == 0 || !(1..=4).contains(&channels) || expected != samples.len() as u64 {
            return Err(Error::Size {
                what: "values of a picture",
                expected: "height x width x 1 to 4 with sides of at least 1".into(),
                got: format!("{} values for {height} x {width} x {channels}", samples.len()),
            });
        }
        Ok(Self { width, height, channels, samples })
    }

    /// The picture of a PNG, JPEG, WebP, GIF, BMP or TIFF file (told by content). Palettes become colours, floats 16 bits; else
    /// nothing is lost. The EXIF orientation is applied, colour profiles are not.
    ///
    /// # Errors
    /// As [`decode_rgba`](crate::decode_rgba).
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self> {
        let picture = decoded(bytes, limits)?;
        let (width, height, channels) =
            (picture.width(), picture.height(), usize::from(picture.color().channel_count()));
        let samples = match picture {
            DynamicImage::ImageLuma8(data) => Samples::Bytes(data.into_raw()),
            DynamicImage::ImageLumaA8(data) => Samples::Bytes(data.into_raw()),
            DynamicImage::ImageRgb8(data) => Samples::Bytes(data.into_raw()),
            DynamicImage::ImageRgba8(data) => Samples::Bytes(data.into_raw()),
            DynamicImage::ImageLuma16(data) => Samples::Words(data.into_raw()),
            DynamicImage::ImageLumaA16(data) => Samples::Words(data.into_raw()),
            DynamicImage::ImageRgb16(data) => Samples::Words(data.into_raw()),
            picture if channels == 3 => Samples::Words(picture.into_rgb16().into_raw()),
            picture => return Self::new(width, height, 4, Samples::Words(picture.into_rgba16().into_raw())),
        };
        Self::new(width, height, channels, samples)
    }

    /// An empty picture of this kind in another size.
    ///
    /// # Errors
    /// [`Error::Size`] when a side is 0.
    pub fn of_size(&self, width: u32, height: u32) -> Result<Self> {
        check_sides(width, height)?;
        let samples = self.samples.zeros(width as usize * height as usize * self.channels);
        Ok(Self { width, height, channels: self.channels, samples })
    }

    /// Width in pixels, at least 1.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, at least 1.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Values of a pixel, 1 to 4.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// How many of them are colours: 1 of a grey picture, or 3.
    #[must_use]
    pub fn colours(&self) -> usize {
        if self.channels < 3 { 1 } else { 3 }
    }

    /// Whether it has alpha, its last channel.
    #[must_use]
    pub fn has_alpha(&self) -> bool {
        self.channels.is_multiple_of(2)
    }

    /// The values, `(H, W, channels)`.
    #[must_use]
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// One channel in a part of the picture, in 0..1; what lies outside is left out.
    #[must_use]
    pub fn unit_part(&self, channel: usize, [left, top, width, height]: [u32; 4]) -> Vec<f32> {
        let (right, bottom) = (left.saturating_add(width).min(self.width), top.saturating_add(height).min(self.height));
        let rows = (top..bottom).flat_map(|y| (left..right).map(move |x| (x, y)));
        let at = |(x, y): (u32, u32)| (y as usize * self.width as usize + x as usize) * self.channels + channel;
        match &self.samples {
            Samples::Bytes(data) => rows.map(|place| f32::from(data[at(place)]) / 255.0).collect(),
            Samples::Words(data) => rows.map(|place| f32::from(data[at(place)]) / 65535.0).collect(),
        }
    }

    /// Writes one channel of the part at column `left`, row `top`, in rows of `width`: values of 0..1 as they are nearest to, others
    /// as the nearest end. What is no number is 0, and what lies outside is left out.
    pub fn put_unit(&mut self, channel: usize, [left, top]: [u32; 2], width: u32, values: &[f32]) {
        let (own_width, own_height, channels) = (self.width, self.height, self.channels);
        for (y, row) in (top..own_height).zip(values.chunks(width.max(1) as usize)) {
            let first = (y as usize * own_width as usize + left as usize) * channels + channel;
            let columns = own_width.saturating_sub(left) as usize;
            let places = (first..).step_by(channels).take(columns).zip(row);
            match &mut self.samples {
                Samples::Bytes(data) => places.for_each(|(at, x)| data[at] = (x.clamp(0.0, 1.0) * 255.0).round() as u8),
                Samples::Words(data) => {
                    places.for_each(|(at, x)| data[at] = (x.clamp(0.0, 1.0) * 65535.0).round() as u16);
                }
            }
        }
    }

    /// The luma of pixels in red, green and blue, as a grey picture has it.
    #[must_use]
    pub fn luma(rgb: &[f32]) -> Vec<f32> {
        rgb.chunks_exact(3).map(|pixel| pixel.iter().zip(LUMA).map(|(x, weight)| x * weight).sum()).collect()
    }

    /// The picture in another size; of 8 bits bit by bit as Pillow does it. The sides' ratio is not kept.
    ///
    /// # Errors
    /// [`Error::Size`] when a side is 0.
    pub fn resized(&self, width: u32, height: u32, filter: Filter) -> Result<Self> {
        check_sides(width, height)?;
        let from = [self.width as usize, self.height as usize];
        let to = [width as usize, height as usize];
        let samples = match &self.samples {
            Samples::Bytes(data) => Samples::Bytes(resample(data, self.channels, from, to, filter)),
            Samples::Words(data) => Samples::Words(resample(data, self.channels, from, to, filter)),
        };
        Self::new(width, height, self.channels, samples)
    }

    /// The part at column `left`, row `top`; of what lies outside nothing, but at least one pixel.
    #[must_use]
    pub fn crop(&self, left: u32, top: u32, width: u32, height: u32) -> Self {
        let (left, top) = (left.min(self.width - 1), top.min(self.height - 1));
        let (width, height) = (width.clamp(1, self.width - left), height.clamp(1, self.height - top));
        let samples = match &self.samples {
            Samples::Bytes(data) => Samples::Bytes(self.rows_of(data, [left, top, width, height])),
            Samples::Words(data) => Samples::Words(self.rows_of(data, [left, top, width, height])),
        };
        Self { width, height, channels: self.channels, samples }
    }

    fn rows_of<T: Copy>(&self, data: &[T], [left, top, width, height]: [u32; 4]) -> Vec<T> {
        let row = |y: u32| {
            let from = (y as usize * self.width as usize + left as usize) * self.channels;
            &data[from..from + width as usize * self.channels]
        };
        (top..top + height).flat_map(row).copied().collect()
    }

    /// `(1 - weight) · self + weight · other`, rounded, of pictures of one kind.
    ///
    /// # Errors
    /// [`Error::Size`] when they differ in size or kind.
    pub fn mixed(&self, other: &Self, weight: f32) -> Result<Self> {
        let mix = |a: f32, b: f32| (a + (b - a) * weight).round();
        let samples = match (&self.samples, &other.samples) {
            (Samples::Bytes(a), Samples::Bytes(b)) if a.len() == b.len() => {
                Samples::Bytes(a.iter().zip(b).map(|(&a, &b)| mix(a.into(), b.into()) as u8).collect())
            }
            (Samples::Words(a), Samples::Words(b)) if a.len() == b.len() => {
                Samples::Words(a.iter().zip(b).map(|(&a, &b)| mix(a.into(), b.into()) as u16).collect())
            }
            _ => {
                let shape = |of: &Self| format!("{} x {} x {}", of.width, of.height, of.channels);
                let (what, expected, got) = ("mixture of two pictures", shape(self), shape(other));
                return Err(Error::Size { what, expected, got });
            }
        };
        Self::new(self.width, self.height, self.channels, samples)
    }

    /// The picture as a PNG file with texts, as [`encode_png`](crate::encode_png) writes them.
    ///
    /// # Errors
    /// As there.
    pub fn encode_png(&self, texts: &[(&str, &str)]) -> Result<Vec<u8>> {
        let colour = match self.channels {
            1 => png::ColorType::Grayscale,
            2 => png::ColorType::GrayscaleAlpha,
            3 => png::ColorType::Rgb,
            _ => png::ColorType::Rgba,
        };
        let words;
        let (depth, data) = match &self.samples {
            Samples::Bytes(data) => (png::BitDepth::Eight, data),
            Samples::Words(data) => {
                words = data.iter().flat_map(|word| word.to_be_bytes()).collect();
                (png::BitDepth::Sixteen, &words)
            }
        };
        write_png(&PngPixels { size: [self.width, self.height], colour, depth, data }, texts)
    }
}

impl From<RgbImage> for DeepImage {
    fn from(picture: RgbImage) -> Self {
        let (width, height) = (picture.width(), picture.height());
        Self { width, height, channels: 3, samples: Samples::Bytes(picture.into_data()) }
    }
}

impl DeepImage {
    /// The picture in 8 bits of red, green and blue, if it is that.
    #[must_use]
    pub fn into_rgb(self) -> Option<RgbImage> {
        match self.samples {
            Samples::Bytes(data) if self.channels == 3 => RgbImage::new(self.width, self.height, data).ok(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of every kind, its values by formula.
    fn kinds() -> Vec<DeepImage> {
        let mut kinds = Vec::new();
        for channels in 1..=4 {
            let count = 5 * 3 * channels;
            let words: Vec<u16> = (0..count).map(|n| (n * 7919 % 65536) as u16).collect();
            let bytes = words.iter().map(|&word| (word >> 8) as u8).collect();
            for samples in [Samples::Bytes(bytes), Samples::Words(words)] {
                kinds.push(DeepImage::new(5, 3, channels, samples).unwrap());
            }
        }
        kinds
    }

    #[test]
    fn every_kind_comes_back_from_its_file() {
        for picture in kinds() {
            let png = picture.encode_png(&[("parameters", "a fox")]).unwrap();
            assert_eq!(DeepImage::decode(&png, &Limits::default()).unwrap(), picture);
            assert_eq!(crate::read_png_text(&png).unwrap(), [("parameters".to_owned(), "a fox".to_owned())]);
        }
    }

    #[test]
    fn parts_go_out_and_in() {
        for picture in kinds() {
            let mut copy = picture.of_size(5, 3).unwrap();
            for channel in 0..picture.channels() {
                copy.put_unit(channel, [0, 0], 2, &picture.unit_part(channel, [0, 0, 2, 3]));
                copy.put_unit(channel, [2, 0], 3, &picture.unit_part(channel, [2, 0, 9, 2]));
                copy.put_unit(channel, [2, 2], 3, &picture.unit_part(channel, [2, 2, 3, 1]));
            }
            assert_eq!(copy, picture);
            // Outside, beyond the range, and no number.
            copy.put_unit(0, [4, 2], 2, &[2.0, 0.5, 0.5, 0.5]);
            assert_eq!(copy.unit_part(0, [4, 2, 1, 1]), [1.0]);
            copy.put_unit(0, [4, 2], 1, &[f32::NAN]);
            assert_eq!(copy.unit_part(0, [4, 2, 1, 1]), [0.0]);
            assert_eq!(picture.crop(1, 1, 9, 1).unit_part(0, [0, 0, 4, 1]), picture.unit_part(0, [1, 1, 4, 1]));
        }
    }

    #[test]
    fn sizes_and_mixtures_keep_the_kind() {
        for picture in kinds() {
            let small = picture.resized(3, 2, Filter::Lanczos).unwrap();
            assert_eq!((small.width(), small.height(), small.channels()), (3, 2, picture.channels()));
            assert_eq!(picture.resized(5, 3, Filter::Lanczos).unwrap(), picture);
            assert!(picture.resized(0, 3, Filter::Lanczos).is_err() && picture.of_size(3, 0).is_err());
            assert_eq!(picture.mixed(&picture, 0.3).unwrap(), picture);
            assert_eq!(picture.mixed(&picture.of_size(5, 3).unwrap(), 0.0).unwrap(), picture);
            assert!(picture.mixed(&small, 0.5).is_err());
        }
        // The same values in 8 and in 16 bits, in another size.
        let bytes: Vec<u8> = (0..40 * 30u32).map(|n| (n * 77 % 256) as u8).collect();
        let words = bytes.iter().map(|&byte| u16::from(byte) * 257).collect();
        let [bytes, words] = [Samples::Bytes(bytes), Samples::Words(words)]
            .map(|samples| DeepImage::new(40, 30, 1, samples).unwrap().resized(17, 50, Filter::Lanczos).unwrap());
        let all = [0, 0, 17, 50];
        for (a, b) in bytes.unit_part(0, all).iter().zip(words.unit_part(0, all)) {
            assert!((a - b).abs() < 1.1 / 255.0, "{a} {b}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(DeepImage::new(2, 2, 3, Samples::Bytes(vec![0; 11])).is_err());
        assert!(DeepImage::new(2, 2, 5, Samples::Bytes(vec![0; 20])).is_err());
        assert!(DeepImage::new(0, 2, 1, Samples::Words(vec![])).is_err());
        assert_eq!(DeepImage::luma(&[1.0, 1.0, 1.0, 0.0, 1.0, 0.0]), [1.0, 0.587]);
    }
}
