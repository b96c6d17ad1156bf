//! What a job is to make, as the queue keeps it.

use calotype::{Request, request::InputImage};
use calotype_image::FileFormat;
use calotype_publish::Origin;
use calotype_queue::JobId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Result};

/// A request, and everything else that its images depend on. Its input images are references by their SHA-256.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// What is to be seen. The batch size is how many images.
    pub request: Request,
    /// The id of the model.
    pub model: String,
    /// The id of an autoencoder in place of the model's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vae: Option<String>,
    /// The files that are made.
    #[serde(default)]
    pub output: OutputFormat,
    /// Who asked, and how.
    #[serde(default)]
    pub asked: Asked,
    /// The address that is told when it is over or held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
}

/// Who asked for a job, and how. Never a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// The id of the key.
    pub key: String,
    /// The id of the HTTP request.
    pub request: String,
    /// The API: `v1`, `a1111` or `openai`.
    pub api: String,
}

impl Asked {
    /// As the audit log has it.
    pub(crate) fn origin(&self, job: Option<JobId>) -> Origin {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Origin {
            who: None,
            key_id: some(&self.key),
            request_id: some(&self.request),
            job_id: job.map(|job| job.to_string()),
        }
    }
}

/// What files the images become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutputFormat {
    /// `png`, `jpeg` or `webp`.
    pub format: Format,
    /// How like the image a JPEG is, 1 to 100.
    pub quality: u8,
}

impl Default for OutputFormat {
    fn default() -> Self {
        Self { format: Format::Png, quality: 95 }
    }
}

/// A format of files, by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// PNG.
    #[default]
    Png,
    /// JPEG.
    #[serde(alias = "jpg")]
    Jpeg,
    /// WebP without loss.
    Webp,
}

impl Format {
    /// As the encoder knows it.
    #[must_use]
    pub const fn file_format(self) -> FileFormat {
        match self {
            Self::Png => FileFormat::Png,
            Self::Jpeg => FileFormat::Jpeg,
            Self::Webp => FileFormat::WebP,
        }
    }

    /// `image/png`.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
        }
    }
}

/// The most that a request may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Pixels of a side.
    pub max_side: u64,
    /// Pixels of an image.
    pub max_pixels: u64,
    /// Steps of a pass.
    pub max_steps: u64,
    /// Images of a job.
    pub max_images: u64,
    /// Bytes of a prompt.
    pub max_prompt_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_side: 2048, max_pixels: 2048 * 2048, max_steps: 150, max_images: 8, max_prompt_bytes: 64 << 10 }
    }
}

impl Limits {
    /// Checks a request whose images have these sides.
    pub(crate) fn check(&self, request: &Request, [width, height]: [usize; 2]) -> Result<()> {
        let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let second = request.hires.as_ref().and_then(|hires| hires.num_inference_steps).unwrap_or(0);
        let pixels = number(width).saturating_mul(number(height));
        let rows = [
            ("prompt", number(request.prompt.len()), self.max_prompt_bytes),
            ("negative_prompt", number(request.negative_prompt.len()), self.max_prompt_bytes),
            ("num_inference_steps", number(request.num_inference_steps.max(second)), self.max_steps),
            ("batch_size", number(request.batch_size), self.max_images),
            ("width", number(width), self.max_side),
            ("height", number(height), self.max_side),
            ("width × height", pixels, self.max_pixels),
        ];
        match rows.into_iter().find(|(_, value, most)| value > most) {
            Some((field, value, most)) => Err(Error::Limit { field, value, most }),
            None => Ok(()),
        }
    }

    /// Checks what needs no model, before anything is computed.
    pub(crate) fn check_numbers(&self, request: &Request) -> Result<()> {
        let hires = request.hires.as_ref().map_or([0, 0], |hires| [hires.width, hires.height]);
        let sides = [request.width.unwrap_or(0).max(hires[0]), request.height.unwrap_or(0).max(hires[1])];
        self.check(request, sides)
    }
}

impl Order {
    /// As the queue keeps it.
    pub(crate) fn to_json(&self) -> Result<Value> {
        serde_json::to_value(self).map_err(|error| Error::Internal(format!("an order can't be written: {error}")))
    }

    /// What the queue kept.
    ///
    /// # Errors
    /// A version of this program wrote it that knew other members.
    pub fn of_job(job: &calotype_queue::Job) -> Result<Self> {
        serde_json::from_value(job.request.clone())
            .map_err(|error| Error::Internal(format!("job {}: its request can't be read: {error}", job.id)))
    }

    /// The SHA-256 of its input images.
    pub(crate) fn inputs(&self) -> Vec<String> {
        let mut request = self.request.clone();
        request.images_mut().map(|image| image.reference().sha256.clone()).collect()
    }

    /// Pixels times steps of all images: what the time that it takes goes by.
    pub(crate) fn pixel_steps(&self, [width, height]: [usize; 2]) -> f64 {
        let Request { num_inference_steps: steps, batch_size, .. } = self.request;
        (width * height) as f64 * (steps * batch_size) as f64
    }
}

/// The images of a request, read from what `get` gives for their SHA-256.
///
/// The files are given, that to start from first.
pub(crate) fn open_images(request: &mut Request, get: impl Fn(&str) -> Result<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
    let (mut given, mut files) = (Vec::new(), Vec::new());
    for image in request.images_mut() {
        let file = get(&image.reference().sha256)?;
        given.push(InputImage::from_bytes(&file)?);
        files.push(file);
    }
    request.open_images(&given)?;
    Ok(files)
}

/// A seed that nobody else gets: 32 bits, as other programs' seeds are.
///
/// # Errors
/// The system has no random numbers.
pub fn random_seed() -> Result<u64> {
    let number = getrandom::u32().map_err(|error| Error::Internal(format!("no random numbers: {error}")))?;
    Ok(u64::from(number))
}
