//! Pictures: decoding with limits, PNG with text, grids and charts.
//!
//! Everything works on one plain type, [`Raster`]: 8 bits per channel, rows from the top, channels last. It is [`GrayImage`],
//! [`RgbImage`] and [`RgbaImage`], `(H, W)`, `(H, W, 3)` and `(H, W, 4)`. Values are sRGB as stored in files; no function here changes the
//! gamma, as the tools around Stable Diffusion do not either.
//!
//! | to | use |
//! |---|---|
//! | read a PNG, JPEG, WebP, GIF, BMP or TIFF | [`open`], [`decode`], [`decode_rgba`] |
//! | go to and from the autoencoder | [`RgbImage::from_unit_f32`], [`RgbImage::to_unit_f32`] |
//! | keep what a file has: grey, alpha, 16 bits | [`DeepImage`] |
//! | change the size | [`resize`], [`RgbaImage::resize`], [`centre_crop_square`], [`fit`], [`interpolate`] |
//! | change what a mask covers | [`GrayImage`], [`fill_masked`], [`blend`] |
//! | write a PNG, JPEG or WebP with text | [`encode`], [`encode_png`] |
//! | read the text | [`read_png_text`] |
//! | read the comment of a JPEG or WebP, or all texts of a file | [`read_user_comment`], [`PictureTexts`] |
//! | show many pictures or curves in one | [`grid`], [`line_chart`] |
//! | compare | [`mse`], [`psnr`], [`ssim`], [`seam_ratio`] |

mod axis;
mod blur;
mod chart;
mod compare;
mod decode;
mod deep;
mod encode;
mod error;
mod exif;
mod exif_block;
mod fit;
mod font;
mod gray;
mod grid;
mod interpolate;
mod jpeg;
mod masking;
mod png_text;
mod raster;
mod resample;
mod resize;
mod rgb;
mod rgba;
mod ssim;
mod stealth;
mod texts;

pub use blur::blurred;
pub use chart::{ChartOptions, Series, line_chart};
pub use compare::{mse, psnr};
pub use decode::{Limits, decode, decode_rgba, open, read_limited};
pub use deep::{DeepImage, Samples};
pub use encode::{FileFormat, encode};
pub use error::{Error, Result};
pub use exif::read_user_comment;
pub use fit::{Fit, fit};
pub use grid::grid;
pub use interpolate::{Interpolation, interpolate};
pub use masking::{blend, fill_masked};
pub use png_text::{encode_png, is_png_keyword, read_png_text};
pub use raster::{GrayImage, Raster, RgbImage, RgbaImage};
pub use resample::Filter;
pub use resize::{centre_crop_square, resize, resize_with};
pub use rgb::Rounding;
pub use ssim::{seam_ratio, ssim};
pub use texts::{PictureTexts, XMP_KEYWORD};
