//! Configs of networks whose files have none: sizes from the tensors' shapes, the rest from a CompVis config or from
//! the defaults of the family.

use calotype_formats::Checkpoint;

use super::{
    CompVisConfig, DownBlockType, HiddenAct, LAYERS, LEVELS, MidBlockType, ModelConfig, PerBlock, TextConfig,
    TinyBlocks, UNetConfig, UpBlockType, VaeConfig,
};
use crate::{Error, Family, Layout, Result, SD2, params::stored};

/// Width of a head in CLIP's text encoders.
const HEAD_WIDTH: usize = 64;

/// The shapes in a file, by canonical names.
struct Shapes<'a> {
    model: &'static str,
    file: &'a Checkpoint,
    layout: &'a Layout,
}

impl Shapes<'_> {
    fn get(&self, name: &str) -> Option<Vec<usize>> {
        stored::shape(self.file, self.layout, name)
    }

    /// Dimension `n` of a tensor that has to be there.
    fn dimension(&self, name: &str, n: usize) -> Result<usize> {
        let shape = self.get(name).ok_or_else(|| Error::Missing {
            source_label: self.file.label().to_owned(),
            tensor: self.layout.key(name),
            others: 0,
            by_config: false,
        })?;
        shape.get(n).copied().ok_or_else(|| Error::Misshapen {
            source_label: self.file.label().to_owned(),
            tensor: name.to_owned(),
            expected: format!("a shape of more than {n} dimensions"),
            got: format!("{shape:?}"),
            by_config: false,
        })
    }

    /// How many names `name(0)`, `name(1)`, … are there, at most one more than `most`.
    fn count(&self, most: usize, name: impl Fn(usize) -> String) -> usize {
        (0..=most).take_while(|&n| self.get(&name(n)).is_some()).count()
    }

    /// The levels that a UNet or VAE has on one side.
    fn levels(&self, side: &str) -> usize {
        self.count(*LEVELS.end(), |n| format!("{side}.{n}.resnets.0.conv1.weight"))
    }

    fn layers(&self, block: &str) -> usize {
        self.count(*LAYERS.end(), |n| format!("{block}.resnets.{n}.conv1.weight"))
    }

    /// Refuses a CompVis config that describes another model.
    fn agree(&self, key: &str, config: Option<usize>, got: usize) -> Result<()> {
        match config.filter(|&config| config != got) {
            None => Ok(()),
            Some(config) => Err(Error::Config {
                model: self.model,
                problem: format!(
                    "the YAML config says {key} = {config}, but the tensors of {} have {got}: give the config of this model",
                    self.file.label()
                ),
            }),
        }
    }
}

/// One value if they are all the same.
fn per_block(values: Vec<usize>) -> PerBlock {
    match values.first() {
        Some(&first) if values.iter().all(|&value| value == first) => PerBlock::All(first),
        _ => PerBlock::Each(values),
    }
}

/// The config of the UNet that `file` has in this layout.
///
/// Heads are as `compvis` says, else those of its [`Family`].
///
/// # Errors
/// A tensor that tells a size is not there, `compvis` describes another UNet, or none can be made of the sizes.
pub(super) fn unet(file: &Checkpoint, layout: &Layout, compvis: &CompVisConfig) -> Result<UNetConfig> {
    let shapes = Shapes { model: UNetConfig::COMPONENT.name(), file, layout };
    let levels = shapes.levels("down_blocks");
    let width = |i: usize| shapes.dimension(&format!("down_blocks.{i}.resnets.0.conv1.weight"), 0);
    let block_out_channels = (0..levels).map(width).collect::<Result<Vec<_>>>()?;
    let attention = |block: String| {
        let transformer = format!("{block}.attentions.0");
        shapes.get(&format!("{transformer}.norm.weight")).is_some().then_some(transformer)
    };
    let transformers: Vec<Option<String>> = (0..levels).map(|i| attention(format!("down_blocks.{i}"))).collect();
    let middle = attention("mid_block".into());
    // Any transformer tells what all have in common.
    let any = transformers.iter().flatten().next().or(middle.as_ref());
    let (cross_attention_dim, linear) = match any {
        None => (SD2.context_width, false),
        Some(any) => (
            shapes.dimension(&format!("{any}.transformer_blocks.0.attn2.to_k.weight"), 1)?,
            shapes.get(&format!("{any}.proj_in.weight")).is_some_and(|shape| shape.len() == 2),
        ),
    };
    let depth = |transformer: &String| {
        shapes.count(*LAYERS.end(), |n| format!("{transformer}.transformer_blocks.{n}.norm1.weight")).max(1)
    };
    let depths = transformers.iter().enumerate().map(|(i, transformer)| {
        let transformer = transformer.as_ref().or(middle.as_ref().filter(|_| i + 1 == levels)).or(any);
        transformer.map_or(1, depth)
    });
    let heads = |width: usize| match (compvis.num_head_channels, compvis.num_heads) {
        (Some(head), _) => width / head.max(1),
        (None, Some(heads)) => heads,
        (None, None) => Family::of_unet(cross_attention_dim, linear).heads.of(width),
    };
    let config = UNetConfig {
        sample_size: compvis.image_size.map(PerBlock::All),
        in_channels: shapes.dimension("conv_in.weight", 1)?,
        out_channels: shapes.dimension("conv_out.weight", 0)?,
        down_block_types: transformers
            .iter()
            .map(|t| if t.is_some() { DownBlockType::CrossAttention } else { DownBlockType::Plain })
            .collect(),
        mid_block_type: shapes.get("mid_block.resnets.0.conv1.weight").map(|_| match middle {
            Some(_) => MidBlockType::CrossAttention,
            None => MidBlockType::Plain,
        }),
        up_block_types: (0..levels)
            .map(|i| match attention(format!("up_blocks.{i}")) {
                Some(_) => UpBlockType::CrossAttention,
                None => UpBlockType::Plain,
            })
            .collect(),
        layers_per_block: per_block((0..levels).map(|i| shapes.layers(&format!("down_blocks.{i}"))).collect()),
        cross_attention_dim: PerBlock::All(cross_attention_dim),
        transformer_layers_per_block: per_block(depths.collect()),
        attention_head_dim: per_block(block_out_channels.iter().map(|&width| heads(width)).collect()),
        use_linear_projection: linear,
        time_embedding_dim: {
            let width = shapes.dimension("time_embedding.linear_1.weight", 0)?;
            (block_out_channels.first().map(|first| 4 * first) != Some(width)).then_some(width)
        },
        block_out_channels,
        ..UNetConfig::default()
    };
    shapes.agree("in_channels", compvis.in_channels, config.in_channels)?;
    shapes.agree("model_channels", compvis.model_channels, config.block_out_channels.first().copied().unwrap_or(0))?;
    shapes.agree("context_dim", compvis.context_dim.filter(|_| any.is_some()), cross_attention_dim)?;
    config.validate()?;
    Ok(config)
}
impl UNetConfig {
    /// What it is of.
    #[must_use]
    pub fn family(&self) -> &'static Family {
        Family::of_unet(self.cross_attention_dim.get(0), self.use_linear_projection)
    }
}

/// The config of the autoencoder that `file` has in this layout. `scaling_factor` is as `compvis` says, else 0.18215.
///
/// # Errors
/// A tensor that tells a size is not there, or no autoencoder can be made of the sizes.
pub(super) fn vae(file: &Checkpoint, layout: &Layout, compvis: &CompVisConfig) -> Result<VaeConfig> {
    let shapes = Shapes { model: VaeConfig::COMPONENT.name(), file, layout };
    if let Some(tensor) = layout.foreign(file) {
        let problem = format!("it has attention outside its middle ({:?}), which is not supported", tensor.name);
        return Err(Error::Config { model: VaeConfig::COMPONENT.name(), problem });
    }
    if shapes.get("decoder.layers.0.weight").is_some() {
        return tiny_vae(&shapes);
    }
    let levels = shapes.levels("encoder.down_blocks");
    let width = |i: usize| shapes.dimension(&format!("encoder.down_blocks.{i}.resnets.0.conv1.weight"), 0);
    let channels = (0..levels).map(width).collect::<Result<Vec<_>>>()?;
    let has = |name: &str| shapes.get(name).is_some();
    let defaults = VaeConfig::with_channels(&channels);
    let config = VaeConfig {
        in_channels: shapes.dimension("encoder.conv_in.weight", 1)?,
        out_channels: shapes.dimension("decoder.conv_out.weight", 0)?,
        layers_per_block: shapes.layers("encoder.down_blocks.0"),
        latent_channels: shapes.dimension("decoder.conv_in.weight", 1)?,
        sample_size: Some(PerBlock::All(512)),
        scaling_factor: compvis.scale_factor.unwrap_or(defaults.scaling_factor),
        use_quant_conv: has("quant_conv.weight"),
        use_post_quant_conv: has("post_quant_conv.weight"),
        mid_block_add_attention: has("encoder.mid_block.attentions.0.group_norm.weight"),
        ..defaults
    };
    config.validate()?;
    Ok(config)
}

/// The config of an `AutoencoderTiny`, by its two sequences of layers.
fn tiny_vae(shapes: &Shapes<'_>) -> Result<VaeConfig> {
    let [(encoder, first, _), (decoder, decoder_first, last)] =
        ["encoder", "decoder"].map(|half| sequence(shapes, half));
    let width = shapes.dimension(&decoder_first, 0)?;
    let tiny = TinyBlocks { decoder_channels: vec![width; decoder.len()], encoder, decoder };
    let config = VaeConfig {
        in_channels: shapes.dimension(&first, 1)?,
        out_channels: shapes.dimension(&last, 0)?,
        latent_channels: shapes.dimension(&decoder_first, 1)?,
        ..VaeConfig::with_tiny_blocks(tiny, shapes.dimension(&first, 0)?)
    };
    config.validate()?;
    Ok(config)
}

/// The blocks between the convolutions of one half of an `AutoencoderTiny`, and the names of the first and the last convolution.
fn sequence(shapes: &Shapes<'_>, half: &str) -> (Vec<usize>, String, String) {
    const MOST: usize = (*LAYERS.end() + 3) * *LEVELS.end();
    let conv = |n: usize| format!("{half}.layers.{n}.weight");
    let (mut blocks, mut last): (Vec<usize>, usize) = (Vec::new(), 0);
    for n in 0..MOST {
        if shapes.get(&conv(n)).is_some() {
            last = n;
            blocks.push(0);
        } else if shapes.get(&format!("{half}.layers.{n}.conv.0.weight")).is_some() {
            blocks.last_mut().into_iter().for_each(|count| *count += 1);
        }
    }
    // None follow the last.
    blocks.pop();
    (blocks, conv(0), conv(last))
}

/// The config of the text encoder that `file` has in this layout: heads are 64 wide.
///
/// Of OpenCLIP's tower all layers but the last are used (Stable Diffusion 2), unless `compvis` says
/// `layer: last`. Files made from a diffusers folder have no last layer, and no `text_projection`.
///
/// # Errors
/// A tensor that tells a size is not there, or no text encoder can be made of the sizes.
pub(super) fn text(file: &Checkpoint, layout: &Layout, compvis: &CompVisConfig) -> Result<TextConfig> {
    let shapes = Shapes { model: TextConfig::COMPONENT.name(), file, layout };
    let embedding = |name: &str, n| shapes.dimension(&format!("text_model.embeddings.{name}_embedding.weight"), n);
    let hidden_size = embedding("token", 1)?;
    const MOST_LAYERS: usize = 256;
    let layers = shapes.count(MOST_LAYERS, |n| format!("text_model.encoder.layers.{n}.layer_norm1.weight"));
    let family = Family::of_text_encoder(hidden_size, layout.is_open_clip());
    // Small models have fewer layers than the family says.
    let used = family.text_layers.filter(|_| hidden_size == family.context_width);
    let unused = match (layout.is_open_clip(), used) {
        _ if compvis.last_layer => 0,
        (true, Some(used)) => layers.saturating_sub(used),
        (true, None) => usize::from(layout.has_projection(file)),
        (false, _) => 0,
    };
    let config = TextConfig {
        vocab_size: embedding("token", 0)?,
        hidden_size,
        intermediate_size: shapes.dimension("text_model.encoder.layers.0.mlp.fc1.weight", 0)?,
        projection_dim: family.projection_dim.unwrap_or(hidden_size),
        num_hidden_layers: layers - unused,
        num_attention_heads: (hidden_size / HEAD_WIDTH).max(1),
        max_position_embeddings: embedding("position", 0)?,
        hidden_act: if family.open_clip { HiddenAct::Gelu } else { HiddenAct::QuickGelu },
        ..TextConfig::default()
    };
    config.validate()?;
    Ok(config)
}
