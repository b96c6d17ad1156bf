//! The mark `rivaGan` of the package that Stable Diffusion's scripts use: 32 bits, read by a network whose weights the package has.

use std::path::Path;

use calotype_image::RgbImage;
use calotype_models::{RIVAGAN_BITS, RivaGanDecoder};
use calotype_tensor::{Backend, BackendOptions, Device, Precision};

use crate::error::{Error, Result};
use crate::package_file::open_onnx;

/// What the package calls the weights.
const WEIGHTS: &str = "rivagan_decoder.onnx";
/// Above it the package reads a 1.
const THRESHOLD: f32 = 0.52;
/// Fewer of the bits right are chance: so many are right by chance in one of a hundred thousand images.
const FEWEST_RIGHT: u32 = 28;

/// Reads marks.
pub struct RivaGan<B: Backend> {
    backend: B,
    network: RivaGanDecoder<B::Param>,
}

/// What an image says: every image says something, so that a mark is there only if it is the one that is looked for.
#[derive(Clone, Debug, PartialEq)]
pub struct RivaGanBits {
    /// The network's number of each bit.
    pub values: [f32; RIVAGAN_BITS],
}

impl RivaGanBits {
    /// The bits, the first as the highest.
    #[must_use]
    pub fn bits(&self) -> u32 {
        self.values.iter().fold(0, |bits, &value| bits << 1 | u32::from(value > THRESHOLD))
    }

    /// How many of the bits are those of `expected`.
    #[must_use]
    pub fn right(&self, expected: u32) -> u32 {
        (self.bits() ^ expected).count_zeros()
    }

    /// Whether that is more than chance.
    #[must_use]
    pub fn is(&self, expected: u32) -> bool {
        self.right(expected) >= FEWEST_RIGHT
    }
}

impl<B: Backend> RivaGan<B> {
    /// Opens `rivagan_decoder.onnx` of PyPI's `invisible-watermark` 0.2.0, or a folder with that file.
    ///
    /// # Errors
    /// There is no such file, or it is another network.
    pub fn open<D: Device<Backend = B>>(device: &D, path: &Path) -> Result<Self> {
        let refuse = |problem: String| Error::Watermark { path: path.to_owned(), problem };
        let (_, file) = open_onnx(path, WEIGHTS, "invisible-watermark==0.2.0").map_err(refuse)?;
        let backend = device.backend(BackendOptions::in_precision(Precision::F32))?;
        let network = RivaGanDecoder::open(&backend, &file).map_err(|e| refuse(e.to_string()))?;
        Ok(Self { backend, network })
    }

    /// Reads an image.
    ///
    /// # Errors
    /// There is not enough memory, or the network gives no finite numbers.
    pub fn read(&self, image: &RgbImage) -> Result<RivaGanBits> {
        let of_pixel = |pixel: &[u8]| [2, 1, 0].map(|colour| f32::from(pixel[colour]) / 127.5 - 1.0);
        let pixels: Vec<f32> = image.data().chunks_exact(3).flat_map(of_pixel).collect();
        let sides = [image.height() as usize, image.width() as usize];
        let values = self.network.forward(&self.backend, &pixels, sides)?;
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(RivaGanBits { values }),
            false => Err(Error::NotFinite),
        }
    }
}
