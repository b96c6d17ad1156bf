//! Larger pictures by networks for super-resolution.
//!
//! ```no_run
//! use calotype::{CpuDevice, upscale::{Target, UpscaleOptions, Upscaler, UpscalerOptions}};
//! use calotype_image::{DeepImage, Limits};
//!
//! # fn main() -> calotype::Result<()> {
//! let upscaler = Upscaler::open(&CpuDevice::new(Default::default())?, "RealESRGAN_x4plus.pth", UpscalerOptions::default())?;
//! let picture = DeepImage::decode(&std::fs::read("small.png").unwrap_or_default(), &Limits::default())?;
//! let large = upscaler.upscale(&picture, Target::Scale(2.0), &UpscaleOptions::default(), &mut |_, _| {})?;
//! # Ok(())
//! # }
//! ```

mod network;
mod texts;
mod tiles;

use std::{fmt, path::Path, sync::Arc};

use calotype_checkpoint::show;
use calotype_formats::Checkpoint;
use calotype_image::{DeepImage, Filter, RgbImage};
use calotype_models::{UpscalerConfig, UpscalerFile};
use calotype_tensor::{CancelToken, Device, Precision};

use network::{Network, OnDevice};
pub use texts::{Done, carried_texts};
use tiles::Plan;

use crate::{Error, Result, memory::MemoryBudget};

/// How often a network is run over its own result, until the picture is large enough; A1111's number.
const MOST_PASSES: usize = 3;
/// The longest side of a picture.
const MAX_SIDE: u32 = 1 << 20;
/// Bytes of tensors that are in memory at a time, where nothing else is said: tiles are as large as fits into it.
const ARENA: u64 = 512 << 20;
/// Beside the tensors: what threads hold, and the program.
const OVERHEAD: u64 = 64 << 20;

/// How an upscaler computes.
#[derive(Clone, Debug, Default)]
pub struct UpscalerOptions {
    /// The number types.
    pub precision: Precision,
    /// The memory that it reserves; by default that of the whole program.
    pub memory: MemoryBudget,
}

/// How large the result is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Target {
    /// As the network makes it.
    #[default]
    Native,
    /// So many times as wide and high.
    Scale(f64),
    /// Of this width and height, whose middle it is cut out of where they have another ratio; a side of 0 is as the other one says.
    Size([u32; 2]),
}

/// How one picture is enlarged.
#[derive(Clone, Debug, Default)]
pub struct UpscaleOptions {
    /// The longest side of a tile of the picture, without what is seen around it; 0 for no tiles. If not given, as memory allows.
    pub tile: Option<u32>,
    /// How many pixels around a tile are seen. If not given, as far as the network sees, but at most 64.
    pub overlap: Option<u32>,
    /// Stops it.
    pub cancel: CancelToken,
}

/// A network that enlarges pictures, in memory on a device. Cloning shares it.
#[derive(Clone)]
pub struct Upscaler {
    network: Arc<dyn Network>,
    name: String,
    memory: MemoryBudget,
}

impl fmt::Debug for Upscaler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upscaler").field("name", &self.name).field("config", self.config()).finish_non_exhaustive()
    }
}

impl Upscaler {
    /// Reads the network in a file: PyTorch's or safetensors, in any naming of its tensors.
    ///
    /// # Errors
    /// The file can't be read, or has no upscaler that is known; the message names what it has.
    pub fn open<D: Device>(device: &D, path: impl AsRef<Path>, options: UpscalerOptions) -> Result<Self> {
        let path = path.as_ref();
        let file = Checkpoint::open(path, "")?;
        let of_it = UpscalerFile::of(&file)?;
        let config = of_it.config();
        if !matches!(config.colours(), 1 | 3 | 4) || config.outputs() != config.colours() {
            let (from, to) = (config.colours(), config.outputs());
            let problem =
                format!("it makes {to} channels of {from}, expected 1, 3 or 4 of as many: give another upscaler");
            return Err(Error::file(show(path), problem));
        }
        let network = OnDevice::new(device, &of_it, &file, options.precision)?;
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self { network: Arc::new(network), name, memory: options.memory })
    }

    /// Its file's name without the ending.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is done with a picture that it enlarges so.
    #[must_use]
    pub fn done(&self, target: Target) -> Done<'_> {
        Done { upscaler: self.name(), scale: self.config().scale(), target, second: None }
    }

    /// What it is.
    #[must_use]
    pub fn config(&self) -> &UpscalerConfig {
        self.network.config()
    }

    /// Enlarges a picture. Grey pictures, alpha and 16 bits stay what they are: a network of colours sees grey and alpha as three equal
    /// colours. `progress` is told how many tiles of how many are done.
    ///
    /// What the network makes larger or smaller than the `target` is brought to it by Lanczos' window, as A1111 does; it is run again
    /// on its own result, three times at most, where that is too small.
    ///
    /// # Errors
    /// The target is none, there is not enough memory, or it was cancelled.
    pub fn upscale(
        &self,
        picture: &DeepImage,
        target: Target,
        options: &UpscaleOptions,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<DeepImage> {
        let [width, height] = target.size(picture, self.config().scale())?;
        let mut large = self.enlarge(picture, options, progress)?;
        for _ in 1..MOST_PASSES {
            if self.config().scale() < 2 || (large.width() >= width && large.height() >= height) {
                break;
            }
            large = self.enlarge(&large, options, progress)?;
        }
        let Target::Size([wide, high]) = target else { return fitted(large, [width, height]) };
        let [cut_width, cut_height] = [if wide == 0 { width } else { wide }, if high == 0 { height } else { high }];
        let large = fitted(large, [width, height])?;
        if (cut_width, cut_height) == (width, height) {
            return Ok(large);
        }
        Ok(large.crop((width - cut_width) / 2, (height - cut_height) / 2, cut_width, cut_height))
    }

    /// A picture in 8 bits of red, green and blue at another size.
    pub(crate) fn enlarge_to(&self, picture: RgbImage, target: Target, cancel: &CancelToken) -> Result<RgbImage> {
        let options = UpscaleOptions { cancel: cancel.clone(), ..UpscaleOptions::default() };
        let large = self.upscale(&picture.into(), target, &options, &mut |_, _| {})?;
        // It stays what it was.
        Ok(large.into_rgb().unwrap_or_else(|| RgbImage::filled(1, 1, [0; 3])))
    }

    /// Runs the network once over a picture.
    fn enlarge(
        &self,
        picture: &DeepImage,
        options: &UpscaleOptions,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<DeepImage> {
        let scale = self.config().scale() as u32;
        let side =
            |side: u32| side.checked_mul(scale).filter(|&side| side <= MAX_SIDE).ok_or_else(|| too_large(side, scale));
        let (width, height) = (side(picture.width())?, side(picture.height())?);
        let plan = Plan::new(&*self.network, picture, options, ARENA)?;
        let pixels = u64::from(width) * u64::from(height) * picture.channels() as u64 * 2;
        let needed = plan.arena + self.network.weights() + pixels + OVERHEAD;
        let _reservation = self.memory.reserve(needed)?;
        let mut large = picture.of_size(width, height)?;
        plan.run(&*self.network, picture, &mut large, &options.cancel, progress)?;
        Ok(large)
    }
}

fn too_large(side: u32, scale: u32) -> Error {
    let message = format!("a side of {side} pixels is out of range: {scale} times as many are more than {MAX_SIDE}");
    Error::OutOfRange { field: "size", message }
}

/// The picture in this size.
fn fitted(picture: DeepImage, [width, height]: [u32; 2]) -> Result<DeepImage> {
    match (picture.width(), picture.height()) == (width, height) {
        true => Ok(picture),
        false => Ok(picture.resized(width, height, Filter::Lanczos)?),
    }
}

impl Target {
    /// The size before anything is cut off.
    fn size(self, picture: &DeepImage, native: usize) -> Result<[u32; 2]> {
        let sides = [picture.width(), picture.height()];
        let times = |factor: f64| sides.map(|side| (f64::from(side) * factor).round().max(1.0));
        let [width, height] = match self {
            Self::Native => times(native as f64),
            Self::Scale(factor) if factor.is_finite() && factor > 0.0 => times(factor),
            Self::Scale(factor) => {
                return Err(Error::out_of_range("scale", "scale", factor, "a number above 0"));
            }
            Self::Size([0, 0]) => return Err(Error::out_of_range("size", "size", "0x0", "a width, a height or both")),
            Self::Size([wide, high]) => {
                let ratios = [f64::from(wide) / f64::from(sides[0]), f64::from(high) / f64::from(sides[1])];
                let [width, height] = times(ratios[0].max(ratios[1]));
                // No side may be a pixel short of what it is to be.
                [width.max(f64::from(wide)), height.max(f64::from(high))]
            }
        };
        if width.max(height) > f64::from(MAX_SIDE) {
            let size = format!("{width} x {height}");
            return Err(Error::out_of_range("size", "size", size, format!("sides of at most {MAX_SIDE} pixels")));
        }
        Ok([width as u32, height as u32])
    }
}

#[cfg(test)]
mod tests {
    use calotype_image::Samples;

    use super::*;

    #[test]
    fn targets_are_sizes() {
        let picture = DeepImage::new(30, 20, 1, Samples::Bytes(vec![0; 600])).unwrap();
        let size = |target: Target| target.size(&picture, 4).ok();
        assert_eq!(size(Target::Native), Some([120, 80]));
        assert_eq!(size(Target::Scale(1.51)), Some([45, 30]));
        assert_eq!(size(Target::Size([60, 60])), Some([90, 60]));
        assert_eq!(size(Target::Size([0, 60])), Some([90, 60]));
        assert_eq!(size(Target::Size([100, 0])), Some([100, 67]));
        for target in [Target::Scale(0.0), Target::Scale(f64::NAN), Target::Size([0, 0]), Target::Scale(1e9)] {
            assert_eq!(size(target), None, "{target:?}");
        }
    }
}
