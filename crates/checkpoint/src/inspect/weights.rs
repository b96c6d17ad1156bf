//! Which sets of weights a UNet has, and whether those in use are the raw ones.

use std::path::Path;

use calotype_models::{Component, WeightSet, has_ema, has_optimizer, has_raw, is_pruned_to_ema};
use serde::Serialize;

use crate::{
    Model,
    files::{NON_EMA, UNET_EMA, open_weights},
    hash::WeightSource,
};

/// The sets of a UNet's weights in a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WeightSets {
    /// Whether the exponential moving average is there beside other weights.
    pub ema: bool,
    /// Whether weights as such are there; of a file pruned to its average, this average.
    pub raw: bool,
    /// The set in use: `ema` or `raw`; `single` where there is but one and nothing says which it is.
    pub used: &'static str,
}

const ONLY_RAW: &str = "there are only raw weights here, and no average of them, which would make better pictures";
const RAW_IN_USE: &str = "raw weights are in use though there is their average: leave out --weights raw";

/// The sets, and what a user should know of them.
pub(super) fn sets(model: &Model) -> (WeightSets, Vec<String>) {
    let file = &model.unet.weights;
    let (folder_ema, non_ema) = in_folder(model);
    let ema = has_ema(file) || folder_ema;
    // Of a folder that has an average there are the other weights, too: only so it is known to be one.
    let raw = folder_ema || has_raw(file);
    let uses_ema = model.unet.layout.is_ema() || (folder_ema && !non_ema) || is_pruned_to_ema(file);
    let is_training = has_optimizer(file) && !ema;
    let used = match () {
        () if uses_ema => "ema",
        () if non_ema || is_training || (ema && raw) => "raw",
        () => "single",
    };
    let warning = match used {
        "raw" if ema => Some(RAW_IN_USE.to_owned()),
        "raw" if is_training => {
            Some(format!("{ONLY_RAW}: a checkpoint of a training with its optimiser"))
        }
        "raw" => Some(format!("{ONLY_RAW}: a diffusers folder's variant {NON_EMA}")),
        "single" if model.use_ema => Some(
            "its config has use_ema: true, but no average is in the file: unless it was pruned to the average, these are raw weights"
                .to_owned(),
        ),
        _ => None,
    };
    (WeightSets { ema, raw, used }, warning.into_iter().collect())
}

/// Of a UNet in a diffusers folder: whether there is an average besides, and whether the weights in use are the raw ones.
fn in_folder(model: &Model) -> (bool, bool) {
    let in_folder = |place: &str, name: &str| name.strip_prefix(place).is_some_and(|rest| rest.starts_with('/'));
    let places = [Component::UNet.id(), UNET_EMA];
    let of_unet = model.weight_files.iter().find(|file| places.iter().any(|place| in_folder(place, &file.name)));
    let Some((name, WeightSource::Disk(path))) = of_unet.map(|file| (&file.name, &file.source)) else {
        return (false, false);
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let average_beside = folder.with_file_name(UNET_EMA).join("config.json").is_file();
    if in_folder(UNET_EMA, name) {
        return (true, false);
    }
    let non_ema = name.contains(&format!(".{NON_EMA}.")) || name.contains(&format!(".{NON_EMA}-")) || average_beside;
    let has_variant = || {
        folder
            .read_dir()
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().contains(&format!(".{NON_EMA}")))
    };
    // The plain weights of a folder that has the variant, too, are the average.
    let ema = average_beside
        || if non_ema { open_weights(folder, Component::UNet, WeightSet::Ema).is_ok() } else { has_variant() };
    (ema, non_ema)
}
