//! What is wrong with the tensors of a model that can be used all the same: numbers that are none, broken constants, and
//! tensors that belong to nothing.

use std::{collections::HashSet, sync::Arc};

use calotype_formats::{Checkpoint, TensorInfo};
use calotype_models::{AuxiliaryKind, ModelConfig, Stored};

use crate::{Model, NetworkFiles, Result, brief, verify};

/// Constants that CLIP's implementations save beside its weights; other programs read them back.
const POSITION_IDS: &str = "embeddings.position_ids";
/// More positions than any text encoder has.
const MOST_POSITIONS: usize = 1 << 16;

/// What the user of a model should know of its tensors. Reads them all.
pub(super) fn warnings(model: &Model) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    warnings.extend(model.conditioning().not_run().map(|what| format!("its UNet {what}: it is not run here")));
    warnings.extend(not_finite("text encoder", &model.text_encoder)?);
    warnings.extend(not_finite("UNet", &model.unet)?);
    warnings.extend(not_finite("VAE", &model.vae)?);
    warnings.extend(broken_positions(&model.text_encoder.weights));
    warnings.extend(strangers(model)?);
    Ok(warnings)
}

/// The first number of a network that is none.
fn not_finite<C: ModelConfig>(name: &str, network: &NetworkFiles<C>) -> Result<Option<String>> {
    let stored = network.stored()?;
    let mut keys: Vec<&str> = stored.keys().into_iter().collect();
    keys.sort_unstable();
    for key in keys {
        if let Some((value, place)) = verify::first_not_finite(&network.weights, key)? {
            let key = brief(key);
            return Ok(Some(format!(
                "the {name}'s tensor {key:?} has {value} at its place {place}: images made with it may be black"
            )));
        }
    }
    Ok(None)
}

/// Numbers of positions that are not 0, 1, 2, …: merging models in half precision breaks them.
fn broken_positions(file: &Checkpoint) -> Option<String> {
    let tensor = file.tensors().find(|t| t.name.ends_with(POSITION_IDS) && t.element_count() <= MOST_POSITIONS)?;
    let numbers = file.read_f32(&tensor.name).ok()?;
    let (place, got) = numbers.iter().enumerate().find(|(place, got)| **got != *place as f32)?;
    Some(format!(
        "its position ids are broken (place {place} has {got}): they are not used here, but other programs read them and draw otherwise"
    ))
}

/// Tensors that belong to no network, and are not what checkpoints usually have beside them.
fn strangers(model: &Model) -> Result<Option<String>> {
    let stored = [model.text_encoder.stored()?, model.unet.stored()?, model.vae.stored()?];
    let used: HashSet<&str> = stored.iter().flat_map(Stored::keys).collect();
    let single = Arc::ptr_eq(&model.unet.weights, &model.vae.weights);
    let is_stranger = |tensor: &&TensorInfo| {
        let name = tensor.name.as_str();
        let usual = if single {
            AuxiliaryKind::of(name) != AuxiliaryKind::Other || model.is_replaced(name)
        } else {
            is_of_clip(name)
        };
        !used.contains(name) && !usual
    };
    let files = [&model.text_encoder.weights, &model.unet.weights, &model.vae.weights];
    let files = if single { &files[1..2] } else { &files[..] };
    let strangers: Vec<&TensorInfo> = files.iter().flat_map(|file| file.tensors()).filter(is_stranger).collect();
    Ok(strangers.first().map(|first| {
        format!("{} of its tensors belong to no network (the first is {:?})", strangers.len(), brief(&first.name))
    }))
}

/// Whether a tensor beside a text encoder is of the rest of CLIP.
fn is_of_clip(name: &str) -> bool {
    const REST: [&str; 5] = [POSITION_IDS, "vision_model.", "visual_projection.", "text_projection.", "logit_scale"];
    REST.iter().any(|rest| name.contains(rest))
}
