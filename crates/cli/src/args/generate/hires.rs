//! A second, larger pass.

use calotype::{
    Request,
    request::{Hires, Upscaler},
};
use clap::Args;

use super::Given;
use crate::args::choices::choices;

/// Hires fix: a second, larger pass.
#[derive(Args)]
#[command(next_help_heading = "Second, larger pass (hires fix)")]
pub(crate) struct HiresArgs {
    /// Hires fix: generate again at this many times the size (Upscale by)
    #[arg(long, value_name = "X", value_parser = scale)]
    pub(crate) hires_scale: Option<f64>,
    /// Hires fix: generate again at this size, cropped at the sides where the proportions differ (Resize width to, Resize height
    /// to); 0 keeps the proportions
    #[arg(long, value_name = "WxH", value_parser = size, conflicts_with = "hires_scale")]
    pub(crate) hires_size: Option<[usize; 2]>,
    /// Steps of the second pass, whatever its strength (Hires steps) [default: --steps]
    #[arg(long, value_name = "N")]
    pub(crate) hires_steps: Option<usize>,
    /// How far the enlarged image may change, above 0 to 1 (Denoising strength)
    #[arg(long, value_name = "X", default_value_t = 0.7)]
    pub(crate) hires_strength: f64,
    /// How the image is enlarged (Upscaler)
    #[arg(long, value_name = "NAME", value_parser = choices(Upscaler::CHOICES), default_value_t)]
    pub(crate) hires_upscaler: Upscaler,
}

impl HiresArgs {
    /// Of pictures of this size, for a model that makes multiples of `multiple`.
    pub(crate) fn hires(&self, [width, height]: [usize; 2], multiple: usize) -> Option<Hires> {
        let scaled = |side: usize, scale: f64| (side as f64 * scale) as usize / multiple.max(1) * multiple;
        let [width, height] =
            self.hires_size.or(self.hires_scale.map(|scale| [scaled(width, scale), scaled(height, scale)]))?;
        let (num_inference_steps, strength) = (self.hires_steps, self.hires_strength);
        Some(Hires { width, height, num_inference_steps, strength, upscaler: self.hires_upscaler, network: None })
    }

    /// Changes what was given of a second pass, or adds one.
    pub(crate) fn change(&self, request: &mut Request, given: &Given, size: [usize; 2], multiple: usize) {
        if let Some(new) = self.hires(size, multiple) {
            let hires = request.hires.get_or_insert_with(|| new.clone());
            (hires.width, hires.height) = (new.width, new.height);
        }
        if let Some(hires) = &mut request.hires {
            given.set("hires_steps", &mut hires.num_inference_steps, self.hires_steps);
            given.set("hires_strength", &mut hires.strength, self.hires_strength);
            given.set("hires_upscaler", &mut hires.upscaler, self.hires_upscaler);
            if given.has("hires_upscaler") {
                hires.network = None;
            }
        }
    }
}

fn scale(text: &str) -> Result<f64, String> {
    let scale = text.parse().ok().filter(|scale| (1.0..=16.0).contains(scale));
    scale.ok_or_else(|| "expected a number from 1 to 16".to_owned())
}

fn size(text: &str) -> Result<[usize; 2], String> {
    let sides = text.split_once('x').and_then(|(width, height)| Some([width.parse().ok()?, height.parse().ok()?]));
    sides.ok_or_else(|| "expected a size such as 1024x768".to_owned())
}
