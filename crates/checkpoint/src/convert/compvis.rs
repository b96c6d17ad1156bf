//! To a checkpoint in one file, and the config that CompVis' scripts need beside it.

use std::path::Path;

use calotype_diffusion::PredictionType;
use calotype_formats::DType;
use calotype_models::{
    DownBlockType, Heads, HiddenAct, Layout, MidBlockType, ParamSpec, PerBlock, TextConfig, UNetConfig, UNetLevel,
    UpBlockType, VaeConfig, unwrapped_name,
};
use calotype_tensor::ParamKind;
use calotype_text::Tokenizer;
use serde_json::{Value, json};

use super::{Progress, Source, auxiliary::Auxiliary, stage::Stage, tensors::Tensors};
use crate::{
    Error, Model, NetworkFiles, Result,
    error::brief,
    model::Conditioning,
    scheduler::{COSINE, METADATA},
};

/// Groups of every group norm, which CompVis' code has fixed.
const GROUPS: usize = 32;
/// Width of a head in the text encoders.
const TEXT_HEAD: usize = 64;

pub(super) fn write(
    source: &Source<'_>,
    output: &Path,
    dtype: Option<DType>,
    progress: Progress<'_>,
) -> Result<Vec<String>> {
    if let Some(model) = source.model {
        check_tokenizer(model)?;
    }
    let mut tensors = Tensors::new();
    if let Some(network) = source.unet {
        tensors.add(network, &unet_layout(network)?, dtype, |spec| spec.shape.clone())?;
    }
    if let Some(network) = source.vae {
        check_vae(network)?;
        let layout = Layout::compvis_vae(network.config.block_out_channels.len());
        tensors.add(network, &layout, dtype, vae_shape)?;
    }
    if let Some(network) = source.text_encoder {
        tensors.add(network, &text_layout(network)?, dtype, |spec| spec.shape.clone())?;
    }
    let mut left_out = Vec::new();
    if let Some(model) = source.model {
        let rest = Auxiliary::of(model)?;
        rest.kept().for_each(|(file, name, key)| tensors.keep(file, name, key, dtype));
        schedule(model, &rest, &mut tensors);
        if let Some(saved) = model.saved_scheduler().filter(|saved| saved.says_something()) {
            tensors.metadata(METADATA, &saved.config().to_string());
        }
        left_out = rest.left_out(false);
    }
    let stage = Stage::beside(output)?;
    let total = tensors.bytes();
    tensors.write(&stage.path().join("weights"), &mut 0, total, progress)?;
    if let Some(model) = source.model {
        let config = output.with_extension("yaml");
        if config.symlink_metadata().is_ok() {
            let problem = "is there already, where the new checkpoint's config belongs: give another path";
            return Err(Error::file(crate::error::show(&config), problem));
        }
        stage.write("config", yaml(&config_of(model)))?;
        stage.publish("config", &config)?;
        return stage.publish("weights", output).map(|()| left_out).inspect_err(|_| {
            // Without its checkpoint it is of no use.
            let _ = std::fs::remove_file(&config);
        });
    }
    stage.publish("weights", output).map(|()| left_out)
}

/// The buffers of the noise: those of the file that the model came from if they are its noise, in their own number type; else,
/// where the config can't say it, those by which CompVis' samplers go.
fn schedule<'a>(model: &'a Model, rest: &Auxiliary<'a>, tensors: &mut Tensors<'a>) {
    if model.scheduler.is_in(&model.unet.weights, &model.unet.label) {
        rest.schedule.iter().for_each(|(file, name)| tensors.keep(file, name, unwrapped_name(name).to_owned(), None));
        return;
    }
    if model.noise_schedule_name().is_some() || model.scheduler.beta_schedule == COSINE {
        let alphas = model.noise_schedule().alphas_cumprod();
        let before: Vec<f32> = [1.0].into_iter().chain(alphas.iter().copied()).take(alphas.len()).collect();
        tensors.numbers("betas", before.iter().zip(alphas).map(|(before, alpha)| 1.0 - alpha / before).collect());
        tensors.numbers("alphas_cumprod", alphas.to_vec());
        tensors.numbers("alphas_cumprod_prev", before);
    }
}

/// Refuses what CompVis' code can't say.
fn need(label: &str, holds: bool, what: &str) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(Error::file(label, format!("{what}, which CompVis' layout can't say: keep the diffusers folder")))
    }
}

fn unet_layout(network: &NetworkFiles<UNetConfig>) -> Result<Layout> {
    let NetworkFiles { config, label, .. } = network;
    let levels = config.block_out_channels.len();
    let down: Vec<bool> = config.down_block_types.iter().map(|&kind| kind == DownBlockType::CrossAttention).collect();
    let up: Vec<bool> = config.up_block_types.iter().rev().map(|&kind| kind == UpBlockType::CrossAttention).collect();
    let depths: Vec<usize> = (0..levels).map(|n| config.transformer_layers_per_block.get(n)).collect();
    let defaults = UNetConfig::default();
    let widths: Vec<usize> = (0..levels).map(|n| config.cross_attention_dim.get(n)).collect();
    need(label, down == up, "its ways down and up have attention at other levels")?;
    need(label, config.mid_block_type == Some(MidBlockType::CrossAttention), "its middle has no attention")?;
    need(label, config.norm_num_groups == GROUPS, "its norms have other than 32 groups")?;
    need(label, config.norm_eps == defaults.norm_eps, "its norms have an epsilon of their own")?;
    need(label, config.time_embedding_dim.is_none(), "its time embedding has a width of its own")?;
    need(
        label,
        !config.center_input_sample && config.flip_sin_to_cos && config.freq_shift == 0.0,
        "its input is changed",
    )?;
    need(label, widths.windows(2).all(|pair| pair[0] == pair[1]), "its contexts differ in width")?;
    need(label, depths.windows(2).all(|pair| pair[0] == pair[1]), "its transformers differ in depth")?;
    need(label, heads(config).is_some(), "its heads have no common number or width")?;
    let level = |(n, &attends): (usize, &bool)| UNetLevel { layers: config.layers_per_block.get(n), attends };
    Ok(Layout::compvis_unet(down.iter().enumerate().map(level).collect()))
}

/// The key and value by which CompVis' config says the number or the width of heads.
fn heads(config: &UNetConfig) -> Option<(&'static str, usize)> {
    let of = config.num_attention_heads.as_ref().unwrap_or(&config.attention_head_dim);
    let count = |n: usize| of.get(n);
    let width = |(n, &channels): (usize, &usize)| channels / count(n).max(1);
    let mut widths = config.block_out_channels.iter().enumerate().map(width);
    let first = widths.next()?;
    if (1..config.block_out_channels.len()).all(|n| count(n) == count(0))
        && matches!(config.family().heads, Heads::Count(_))
    {
        return Some(("num_heads", count(0)));
    }
    widths.all(|width| width == first).then_some(("num_head_channels", first))
}

/// Refuses a tokenizer whose words a checkpoint in one file can't name.
fn check_tokenizer(model: &Model) -> Result<()> {
    let tokenizer = model.tokenizer();
    let added = tokenizer.added_tokens();
    let words: Vec<String> = added.iter().take(3).map(|(word, _)| format!("{:?}", brief(word))).collect();
    let what = match (words.is_empty(), tokenizer.has_vocabulary_of(Tokenizer::clip())) {
        (false, _) => format!("has the added tokens {}", words.join(", ")),
        (true, false) => "has a vocabulary of its own".to_owned(),
        (true, true) => return Ok(()),
    };
    let problem = format!(
        "its tokenizer {what}{}, which a checkpoint in one file has no place for: convert to diffusers, or keep the folder",
        if added.len() > words.len() { format!(" and {} more", added.len() - words.len()) } else { String::new() }
    );
    Err(Error::file(&model.text_encoder.label, problem))
}

fn check_vae(network: &NetworkFiles<VaeConfig>) -> Result<()> {
    let NetworkFiles { config, label, .. } = network;
    need(label, config.tiny.is_none(), "it is an AutoencoderTiny")?;
    need(label, config.norm_num_groups == GROUPS, "its norms have other than 32 groups")?;
    need(label, config.use_quant_conv && config.use_post_quant_conv, "it has no quant_conv")?;
    need(label, config.mid_block_add_attention, "its middle has no attention")
}

/// Attention of the VAE is by 1×1 convolutions there.
fn vae_shape(spec: &ParamSpec) -> Vec<usize> {
    match spec.kind {
        ParamKind::Linear => [spec.shape.as_slice(), &[1, 1]].concat(),
        _ => spec.shape.clone(),
    }
}

fn text_layout(network: &NetworkFiles<TextConfig>) -> Result<Layout> {
    let NetworkFiles { config, label, .. } = network;
    let width = config.hidden_size;
    need(label, config.num_attention_heads == (width / TEXT_HEAD).max(1), "its heads are not 64 wide")?;
    need(
        label,
        config.layer_norm_eps == TextConfig::default().layer_norm_eps,
        "its norms have an epsilon of their own",
    )?;
    if config.is_open_clip() {
        return Ok(Layout::compvis_open_clip());
    }
    need(label, config.hidden_act == HiddenAct::QuickGelu, "its text encoder has an activation of its own")?;
    need(label, !config.use_attention_mask, "its text encoder does not attend to padding")?;
    Ok(Layout::compvis_text())
}

/// The config in the form of `v1-inference.yaml`, or of Stable Diffusion 2's.
fn config_of(model: &Model) -> Value {
    let (unet, vae, text) = (model.unet_config(), model.vae_config(), model.text_config());
    let first = |channels: &[usize]| channels.first().copied().unwrap_or(1).max(1);
    let multiples = |channels: &[usize]| -> Vec<usize> { channels.iter().map(|c| c / first(channels)).collect() };
    let scheduler = &model.scheduler;
    let latents = unet.sample_size.as_ref().map_or(64, |size| size.get(0));
    let attends = unet.down_block_types.iter().enumerate().filter(|(_, kind)| **kind == DownBlockType::CrossAttention);
    let resolutions: Vec<usize> = attends.map(|(n, _)| 1 << n).collect();
    let (heads_key, heads) = heads(unet).unwrap_or(("num_heads", 8));
    let open_clip = text.is_open_clip();
    let mut params = json!({
        "image_size": 32, "in_channels": unet.in_channels, "out_channels": unet.out_channels,
        "model_channels": first(&unet.block_out_channels), "attention_resolutions": resolutions,
        "num_res_blocks": match &unet.layers_per_block { PerBlock::All(n) => json!(n), PerBlock::Each(each) => json!(each) },
        "channel_mult": multiples(&unet.block_out_channels), "use_spatial_transformer": true,
        "use_linear_in_transformer": unet.use_linear_projection,
        "transformer_depth": unet.transformer_layers_per_block.get(0), "context_dim": unet.cross_attention_dim.get(0),
        "use_checkpoint": false, "legacy": false,
    });
    params[heads_key] = json!(heads);
    let text = if open_clip {
        json!({"target": "ldm.modules.encoders.modules.FrozenOpenCLIPEmbedder",
            "params": {"freeze": true, "layer": "penultimate"}})
    } else {
        json!({"target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder"})
    };
    let (class, conditioning) = match model.conditioning() {
        Conditioning::Text => ("ddpm.LatentDiffusion", "crossattn"),
        Conditioning::Inpainting => ("ddpm.LatentInpaintDiffusion", "hybrid"),
        Conditioning::InstructPix2Pix => ("ddpm_edit.LatentDiffusion", "hybrid"),
        Conditioning::Depth => ("ddpm.LatentDepth2ImageDiffusion", "hybrid"),
    };
    json!({"model": {"target": format!("ldm.models.diffusion.{class}"), "params": {
        "linear_start": scheduler.beta_start, "linear_end": scheduler.beta_end,
        "beta_schedule": match scheduler.beta_schedule.as_str() {
            "linear" => "sqrt_linear",
            COSINE => "cosine",
            _ => "linear",
        },
        "parameterization": match model.prediction_type() {
            PredictionType::VPrediction => "v",
            PredictionType::Sample => "x0",
            PredictionType::Epsilon => "eps",
        },
        "timesteps": scheduler.num_train_timesteps, "num_timesteps_cond": 1, "log_every_t": 200,
        "first_stage_key": "jpg", "cond_stage_key": "txt", "image_size": latents, "channels": vae.latent_channels,
        "cond_stage_trainable": false, "conditioning_key": conditioning, "monitor": "val/loss_simple_ema",
        "scale_factor": vae.scaling_factor.to_string().parse::<f64>().unwrap_or_default(), "use_ema": false,
        "unet_config": {"target": "ldm.modules.diffusionmodules.openaimodel.UNetModel", "params": params},
        "first_stage_config": {"target": "ldm.models.autoencoder.AutoencoderKL", "params": {
            "embed_dim": vae.latent_channels, "monitor": "val/rec_loss",
            "ddconfig": {"double_z": true, "z_channels": vae.latent_channels, "resolution": 256,
                "in_channels": vae.in_channels, "out_ch": vae.out_channels, "ch": first(&vae.block_out_channels),
                "ch_mult": multiples(&vae.block_out_channels), "num_res_blocks": vae.layers_per_block,
                "attn_resolutions": [], "dropout": 0.0},
            "lossconfig": {"target": "torch.nn.Identity"}}},
        "cond_stage_config": text,
    }}})
}

/// A value as YAML: maps in blocks, lists and scalars as JSON has them, which is YAML too.
fn yaml(value: &Value) -> String {
    fn block(value: &Value, indent: usize, text: &mut String) {
        for (key, value) in value.as_object().into_iter().flatten() {
            text.push_str(&" ".repeat(indent));
            if value.as_object().is_some_and(|map| !map.is_empty()) {
                text.push_str(&format!("{key}:\n"));
                block(value, indent + 2, text);
            } else {
                text.push_str(&format!("{key}: {value}\n"));
            }
        }
    }
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}
