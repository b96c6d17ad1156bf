use super::super::SchedulerSettings;
use crate::Latents;

/// Dynamic thresholding (Saharia et al. 2022, "Imagen", section 2.3), as diffusers' `_threshold_sample`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) struct Threshold {
    ratio: f64,
    most: f64,
}

impl Threshold {
    /// None where a sampler has none.
    pub(in super::super) fn of(settings: &SchedulerSettings) -> Option<Self> {
        settings.thresholding.filter(|&thresholding| thresholding).map(|_| Self {
            ratio: settings.dynamic_thresholding_ratio.unwrap_or(0.995),
            most: settings.sample_max_value.unwrap_or(1.0),
        })
    }

    /// Each picture held to ± its threshold, and divided by it: the quantile of its numbers' magnitudes, but at least 1.
    pub(super) fn apply(self, x: &Latents) -> Latents {
        let mut x = x.clone();
        let size = x.images().next().map_or(1, |image| image.len().max(1));
        for image in x.data_mut().chunks_mut(size) {
            let threshold = (self.quantile(image) as f32).clamp(1.0, self.most as f32);
            image.iter_mut().for_each(|x| *x = x.clamp(-threshold, threshold) / threshold);
        }
        x
    }

    /// Interpolated between the two nearest, as `torch.quantile`.
    fn quantile(self, image: &[f32]) -> f64 {
        let mut sorted: Vec<f32> = image.iter().map(|x| x.abs()).collect();
        sorted.sort_by(f32::total_cmp);
        let at = self.ratio * (sorted.len().saturating_sub(1)) as f64;
        let value = |i: usize| sorted.get(i).or(sorted.last()).map_or(0.0, |&x| f64::from(x));
        let (low, high) = (value(at as usize), value(at as usize + 1));
        low + (high - low) * at.fract()
    }
}
