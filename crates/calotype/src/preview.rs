//! Small images of latents, without the VAE: a linear map from each latent pixel to a colour.

use calotype_checkpoint::Model;
use calotype_diffusion::Latents;
use calotype_image::RgbImage;
use serde::{Deserialize, Serialize};

/// The scaling factor of the latents that [`LatentRgb::SD1`] is for.
const SD1_SCALING_FACTOR: f32 = 0.18215;

/// A linear map from latents to RGB: `rgb = bias + Σ latent[c] · matrix[c]`, colours in `-1..1`. An image of it is as small
/// as the latents and costs next to nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatentRgb {
    /// A row for each latent channel, with its share of red, green and blue.
    pub matrix: Vec<[f32; 3]>,
    /// Added to each colour.
    #[serde(default)]
    pub bias: [f32; 3],
}

impl LatentRgb {
    /// Of Stable Diffusion 1 and 2, whose autoencoders share their latents (the factors that ComfyUI uses for its previews,
    /// `comfy/latent_formats.py`).
    #[must_use]
    pub fn sd1() -> Self {
        Self {
            matrix: vec![
                [0.3512, 0.2297, 0.3227],
                [0.3250, 0.4974, 0.2350],
                [-0.2829, 0.1762, 0.2721],
                [-0.2120, -0.2616, -0.7177],
            ],
            bias: [0.0; 3],
        }
    }

    /// That of a model: its own, from `latent_rgb.json` in its folder, or Stable Diffusion's where the latents are of that kind.
    #[must_use]
    pub fn of(model: &Model) -> Option<Self> {
        let vae = model.vae_config();
        let own = model.latent_rgb().and_then(|text| serde_json::from_str::<Self>(text).ok());
        let own = own.filter(|own| own.matrix.len() == vae.latent_channels);
        // TAESD's are not scaled, for it was trained on those that are.
        let is_scaled = vae.is_deterministic() || (vae.scaling_factor - SD1_SCALING_FACTOR).abs() < 1e-6;
        let is_sd1 = vae.latent_channels == 4 && is_scaled;
        own.or_else(|| is_sd1.then(Self::sd1))
    }

    /// Fits a map by least squares: `latents` in the scale of the sampler, and the colours in `-1..1` of the image under each
    /// latent pixel, `(B, h, w, 3)`.
    ///
    /// `None` if the latents determine no map: there are too few, or a channel is a combination of others.
    #[must_use]
    pub fn fit(latents: &Latents, colours: &[f32]) -> Option<Self> {
        let [.., channels] = latents.shape();
        // The normal equations of [latents, 1] · [matrix; bias] = colours, solved by Gaussian elimination.
        let n = channels + 1;
        let mut system = vec![vec![0.0f64; n + 3]; n];
        for (pixel, colour) in latents.data().chunks_exact(channels.max(1)).zip(colours.chunks_exact(3)) {
            let row: Vec<f64> = pixel.iter().map(|&x| f64::from(x)).chain([1.0]).collect();
            let right: Vec<f64> = row.iter().copied().chain(colour.iter().map(|&x| f64::from(x))).collect();
            for (sums, &a) in system.iter_mut().zip(&row) {
                sums.iter_mut().zip(&right).for_each(|(sum, &b)| *sum += a * b);
            }
        }
        for column in 0..n {
            let pivot = (column..n).max_by(|&a, &b| system[a][column].abs().total_cmp(&system[b][column].abs()))?;
            system.swap(column, pivot);
            let head = system[column].clone();
            if head[column].abs() < 1e-9 {
                return None;
            }
            for (at, row) in system.iter_mut().enumerate() {
                let factor = if at == column { 0.0 } else { row[column] / head[column] };
                row.iter_mut().zip(&head).for_each(|(x, &h)| *x -= factor * h);
            }
        }
        let solved = |n: usize| [0, 1, 2].map(|c| (system[n][channels + 1 + c] / system[n][n]) as f32);
        Some(Self { matrix: (0..channels).map(solved).collect(), bias: solved(channels) })
    }

    /// One image for each of the batch, `w × h` pixels.
    #[must_use]
    pub fn images(&self, latents: &Latents) -> Vec<RgbImage> {
        let [_, h, w, channels] = latents.shape();
        let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let image = |latents: &[f32]| {
            let colour = |pixel: &[f32]| {
                [0, 1, 2].map(|c| self.bias[c] + pixel.iter().zip(&self.matrix).map(|(x, row)| x * row[c]).sum::<f32>())
            };
            let values: Vec<f32> = latents.chunks_exact(channels.max(1)).flat_map(colour).collect();
            RgbImage::from_unit_f32(&values, side(w), side(h)).ok()
        };
        latents.images().filter_map(image).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_found_again_from_what_it_makes() {
        let map = LatentRgb { matrix: vec![[0.1, -0.2, 0.3], [0.5, 0.25, 0.0]], bias: [0.05, 0.0, -0.1] };
        let numbers: Vec<f32> = (0..64).map(|n| ((n * 37 % 41) as f32 - 20.0) / 20.0).collect();
        let latents = Latents::new([1, 4, 8, 2], numbers).unwrap();
        let colours: Vec<f32> = latents
            .data()
            .chunks_exact(2)
            .flat_map(|x| [0, 1, 2].map(|c| map.bias[c] + x[0] * map.matrix[0][c] + x[1] * map.matrix[1][c]))
            .collect();
        let fitted = LatentRgb::fit(&latents, &colours).unwrap();
        for (got, expected) in fitted.matrix.iter().chain([&fitted.bias]).zip(map.matrix.iter().chain([&map.bias])) {
            assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{fitted:?}");
        }
        let image = &fitted.images(&latents)[0];
        assert_eq!((image.width(), image.height()), (8, 4));
        assert!(LatentRgb::fit(&latents.map(|_| 0.5), &colours).is_none());
    }
}
