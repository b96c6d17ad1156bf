//! Judges a model that was trained on the data set.

use std::{fs, path::Path};

use calotype::{Pipeline, Request};
use calotype_checkpoint::NetworkFiles;
use calotype_formats::Checkpoint;
use calotype_image::{Limits, RgbImage, open, psnr, resize};
use calotype_models::{EfficientNetLite0, VaeConfig, posterior};
use calotype_tensor::{Backend, cpu::Cpu};

use crate::{
    dataset::{Entry, LIST},
    error::{Error, Result},
    judge::{Judge, Verdict},
    kid::{Kid, kid},
};

/// A held-out picture, drawn and made.
pub struct Made {
    /// What was asked for.
    pub entry: Entry,
    /// As the data set has it.
    pub drawn: RgbImage,
    /// As the model made it from the caption.
    pub made: RgbImage,
    /// How that was judged.
    pub verdict: Verdict,
}

/// The held-out entries of a data set, with their pictures: the first `limit` of each kind.
///
/// # Errors
/// The data set is not as `make` wrote it.
pub fn held_out(data: &Path, limit: usize) -> Result<Vec<(Entry, RgbImage)>> {
    let folder = data.join("held_out");
    let path = folder.join(LIST);
    let text = fs::read_to_string(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
    let mut counts = std::collections::BTreeMap::new();
    let mut entries = Vec::new();
    for line in text.lines() {
        let entry: Entry = serde_json::from_str(line).map_err(|e| Error::Contents {
            path: path.clone(),
            reason: format!("a line is not as make writes it: {e}"),
        })?;
        let count = counts.entry(entry.held_out.clone()).or_insert(0);
        *count += 1;
        if *count <= limit {
            let drawn = open(folder.join(&entry.file_name), &Limits::default())?;
            entries.push((entry, drawn));
        }
    }
    Ok(entries)
}

/// Makes a picture from each caption with the settings of `request`, whose prompt is replaced and whose seed counts up, and judges
/// it. `progress` is called after each.
///
/// # Errors
/// The model can't be read, or the settings do not suit it.
pub fn evaluate(
    pipeline: &Pipeline,
    entries: Vec<(Entry, RgbImage)>,
    judge: &Judge<'_>,
    request: &Request,
    progress: &mut dyn FnMut(&[Made]),
) -> Result<Vec<Made>> {
    let mut all = Vec::new();
    for (index, (entry, drawn)) in entries.into_iter().enumerate() {
        let seed = request.seed.wrapping_add(index as u64);
        let request = Request { prompt: entry.text.clone(), seed, ..request.clone() };
        for image in pipeline.generate(request)?.finish()?.images {
            let verdict = judge.judge(&entry, &image.pixels)?;
            all.push(Made { entry: entry.clone(), drawn: drawn.clone(), made: image.pixels, verdict });
        }
        progress(&all);
    }
    Ok(all)
}

/// The mean PSNR in dB of what the autoencoder of the model in `folder` makes of pictures, with the latents at their mean.
///
/// # Errors
/// There is no autoencoder, or the pictures do not suit it.
pub fn autoencoder_psnr(folder: &Path, pictures: &[RgbImage]) -> Result<f64> {
    let cpu = Cpu::new(0)?;
    let vae = NetworkFiles::<VaeConfig>::open(folder)?.load(&cpu)?;
    let mut sum = 0.0;
    for picture in pictures {
        let (width, height) = (picture.width(), picture.height());
        let pixels = cpu.from_f32([1, height as usize, width as usize, 3].into(), picture.to_unit_f32())?;
        let (mean, _) = posterior(&cpu, &vae.encode(&cpu, &pixels)?)?;
        let decoded = cpu.to_f32(&vae.decode(&cpu, &mean)?)?;
        // Equal pictures have no finite ratio: 100 dB is more than 8 bits can show.
        sum += psnr(picture, &RgbImage::from_unit_f32(&decoded, width, height)?)?.min(100.0);
    }
    Ok(sum / pictures.len().max(1) as f64)
}

/// The distance of two sets of pictures by the features of EfficientNet-lite0 in `network`; none with fewer than three of either.
///
/// # Errors
/// The file has another network.
pub fn distance(network: &Path, x: &[RgbImage], y: &[RgbImage]) -> Result<Option<Kid>> {
    /// The side that the network was trained on.
    const SIDE: u32 = 224;
    let cpu = Cpu::new(0)?;
    let network = EfficientNetLite0::new(&cpu, &Checkpoint::open(network, "")?)?;
    let features = |pictures: &[RgbImage]| -> Result<Vec<Vec<f32>>> {
        let mut rows = Vec::new();
        for picture in pictures {
            let pixels = resize(picture, SIDE, SIDE)?.to_unit_f32();
            let shape = [1, SIDE as usize, SIDE as usize, 3].into();
            rows.extend(network.pooled(&cpu, &cpu.from_f32(shape, pixels)?)?);
        }
        Ok(rows)
    };
    Ok(kid(&features(x)?, &features(y)?))
}
