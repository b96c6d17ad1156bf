//! What a run may start from: a model whose networks are those that are trained, also where shapes don't tell.

use std::path::Path;

use calotype::Model;
use calotype_checkpoint::NetworkFiles;
use calotype_diffusion::PredictionType;
use calotype_models::{ModelConfig, TextConfig, UNetConfig, VaeConfig};

use crate::{Error, Result, folders::noise_schedule};

/// The group norms that CompVis' code has, and the width of the heads of its text encoder: what has others stays a folder.
const COMPVIS_GROUPS: usize = 32;
const COMPVIS_TEXT_HEAD: usize = 64;

/// The network of a model to start from.
pub(crate) fn open<C: ModelConfig>(from: &Path) -> Result<NetworkFiles<C>> {
    Ok(NetworkFiles::open(from)?)
}

/// Refuses to start from an autoencoder of other groups than `expected`.
pub(crate) fn check_vae(from: &Path, found: &VaeConfig, expected: &VaeConfig) -> Result<()> {
    let groups = [found.norm_num_groups, expected.norm_num_groups];
    same(from, "its autoencoder", "groups in its norms", "model.norm_num_groups", groups)
}

/// Refuses to start from a model that what is trained here is not: other heads and groups, which shapes don't tell, another
/// text encoder than Stable Diffusion 1's, another prediction than ε, other noise.
pub(crate) fn check_diffusion(
    from: &Path,
    [unet, expected_unet]: [&UNetConfig; 2],
    [text, expected_text]: [&TextConfig; 2],
) -> Result<()> {
    let kind = "start from a model of Stable Diffusion 1's kind";
    let refuse = |problem: &str| Err(Error::run(from, format!("{problem}: {kind}")));
    for level in 0..expected_unet.block_out_channels.len() {
        let heads = [unet, expected_unet]
            .map(|config| config.num_attention_heads.as_ref().unwrap_or(&config.attention_head_dim).get(level));
        same(from, "its UNet", "attention heads", "model.attention_heads", heads)?;
    }
    let groups = [unet, expected_unet].map(|config| config.norm_num_groups);
    same(from, "its UNet", "groups in its norms", "model.norm_num_groups", groups)?;
    let heads = [text, expected_text].map(|config| config.num_attention_heads);
    same(from, "its text encoder", "attention heads", "model.text_encoder.num_attention_heads", heads)?;
    let of_time = |config: &UNetConfig| (config.center_input_sample, config.flip_sin_to_cos, config.freq_shift);
    if of_time(unet) != of_time(expected_unet) || unet.norm_eps != expected_unet.norm_eps {
        return refuse("its UNet takes its input, the timestep or its norms in another way");
    }
    if text.hidden_act != expected_text.hidden_act {
        return refuse("its text encoder is OpenCLIP's");
    }
    if text.layer_norm_eps != expected_text.layer_norm_eps
        || text.use_attention_mask != expected_text.use_attention_mask
    {
        return refuse("its text encoder has other norms, or a mask");
    }
    // What is no whole model doesn't say it.
    let Ok(model) = Model::open(from) else { return Ok(()) };
    if model.prediction_type() != PredictionType::Epsilon {
        return refuse("it predicts v, and ε is trained here");
    }
    let usual = noise_schedule()?;
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-4;
    let (own, usual) = (model.noise_schedule().alphas_cumprod(), usual.alphas_cumprod());
    if own.len() != usual.len() || !own.iter().zip(usual).all(near) {
        return refuse("it was trained with other noise");
    }
    Ok(())
}

fn same(from: &Path, whose: &str, what: &str, key: &str, [found, expected]: [usize; 2]) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::run(from, format!("{whose} has {found} {what}, and {key} is {expected}: set it to {found}")))
}

/// Why what will be trained can't be converted to a checkpoint in one file, if that is so.
pub(crate) fn stays_a_folder(groups: &[(&str, usize)], text: Option<&TextConfig>) -> Option<String> {
    let others = groups.iter().filter(|(_, groups)| *groups != COMPVIS_GROUPS);
    let mut reasons: Vec<String> =
        others.map(|(key, groups)| format!("{key} is {groups} and there {COMPVIS_GROUPS}")).collect();
    if let Some(text) = text.filter(|text| text.num_attention_heads != (text.hidden_size / COMPVIS_TEXT_HEAD).max(1)) {
        let width = text.hidden_size / text.num_attention_heads.max(1);
        reasons.push(format!("the text encoder's heads are {width} wide and there {COMPVIS_TEXT_HEAD}"));
    }
    (!reasons.is_empty()).then(|| {
        let reasons = reasons.join(", ");
        format!("this model will be a diffusers folder and can't be converted to one file, CompVis' layout: {reasons}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_a_folder_is_said() {
        let text =
            |hidden_size, num_attention_heads| TextConfig { hidden_size, num_attention_heads, ..TextConfig::default() };
        assert_eq!(stays_a_folder(&[("model.norm_num_groups", 32)], None), None);
        assert_eq!(stays_a_folder(&[("model.norm_num_groups", 32)], Some(&text(128, 2))), None);
        let reason = stays_a_folder(&[("model.norm_num_groups", 16)], Some(&text(128, 4))).unwrap();
        assert!(
            reason.ends_with(
                "model.norm_num_groups is 16 and there 32, the text encoder's heads are 32 wide and there 64"
            ),
            "{reason}"
        );
    }
}
