//! CompVis' `UNetModel` (`ldm/modules/diffusionmodules/openaimodel.py`): blocks in one long list, counted through.

use super::numbered;

/// One resolution of a UNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UNetLevel {
    /// Residual blocks on the way down; on the way up there is one more.
    pub layers: usize,
    /// Whether a transformer follows each.
    pub attends: bool,
}

/// The modules outside the blocks.
const ENDS: [(&str, &str); 5] = [
    ("conv_in.", "input_blocks.0.0."),
    ("time_embedding.linear_1.", "time_embed.0."),
    ("time_embedding.linear_2.", "time_embed.2."),
    ("conv_norm_out.", "out.0."),
    ("conv_out.", "out.2."),
];

/// The parts of a residual block.
const RESNET: [(&str, &str); 6] = [
    ("norm1.", "in_layers.0."),
    ("conv1.", "in_layers.2."),
    ("time_emb_proj.", "emb_layers.1."),
    ("norm2.", "out_layers.0."),
    ("conv2.", "out_layers.3."),
    ("conv_shortcut.", "skip_connection."),
];

/// What CompVis calls the parameter of this canonical name in a UNet of these `levels`, from the highest resolution.
pub(super) fn names(name: &str, levels: &[UNetLevel]) -> Vec<String> {
    ENDS.iter()
        .find_map(|(ours, theirs)| Some(format!("{theirs}{}", name.strip_prefix(ours)?)))
        .or_else(|| down(name.strip_prefix("down_blocks.")?, levels))
        .or_else(|| middle(name.strip_prefix("mid_block.")?))
        .or_else(|| up(name.strip_prefix("up_blocks.")?, levels))
        .into_iter()
        .collect()
}

fn down(name: &str, levels: &[UNetLevel]) -> Option<String> {
    let (level, name) = numbered(name)?;
    let here = levels.get(level)?;
    let before: usize = levels.iter().take(level).map(|level| level.layers + 1).sum();
    if let Some(rest) = name.strip_prefix("downsamplers.0.conv.") {
        return (level + 1 < levels.len()).then(|| format!("input_blocks.{}.0.op.{rest}", 1 + before + here.layers));
    }
    layer(name, here.layers, |i| format!("input_blocks.{}", 1 + before + i))
}

fn middle(name: &str) -> Option<String> {
    let (kind, name) = name.split_once('.')?;
    let (i, rest) = numbered(name)?;
    match (kind, i) {
        ("resnets", 0 | 1) => Some(format!("middle_block.{}.{}", 2 * i, resnet(rest)?)),
        ("attentions", 0) => Some(format!("middle_block.1.{rest}")),
        _ => None,
    }
}

fn up(name: &str, levels: &[UNetLevel]) -> Option<String> {
    let (block, name) = numbered(name)?;
    let here = levels.iter().rev().nth(block)?;
    let before: usize = levels.iter().rev().take(block).map(|level| level.layers + 1).sum();
    if let Some(rest) = name.strip_prefix("upsamplers.0.conv.") {
        // After the last layer's residual block, and after its transformer if there is one.
        let place = if here.attends { 2 } else { 1 };
        let last = before + here.layers;
        return (block + 1 < levels.len()).then(|| format!("output_blocks.{last}.{place}.conv.{rest}"));
    }
    layer(name, here.layers + 1, |i| format!("output_blocks.{}", before + i))
}

/// `resnets.i.…` or `attentions.i.…` of a block with so many layers, of which `block` names the `i`th.
fn layer(name: &str, layers: usize, block: impl Fn(usize) -> String) -> Option<String> {
    let (kind, name) = name.split_once('.')?;
    let (i, rest) = numbered(name)?;
    match kind {
        _ if i >= layers => None,
        "resnets" => Some(format!("{}.0.{}", block(i), resnet(rest)?)),
        "attentions" => Some(format!("{}.1.{rest}", block(i))),
        _ => None,
    }
}

fn resnet(name: &str) -> Option<String> {
    RESNET.iter().find_map(|(ours, theirs)| Some(format!("{theirs}{}", name.strip_prefix(ours)?)))
}

/// The levels of the UNet of which `has` says what CompVis' names are there.
pub(super) fn levels(has: impl Fn(&str) -> bool) -> Vec<UNetLevel> {
    let mut levels = Vec::new();
    let mut level = UNetLevel { layers: 0, attends: false };
    for n in 1.. {
        if has(&format!("input_blocks.{n}.0.in_layers.0.weight")) {
            level.layers += 1;
            level.attends |= has(&format!("input_blocks.{n}.1.norm.weight"));
        } else if has(&format!("input_blocks.{n}.0.op.weight")) {
            levels.push(level);
            level = UNetLevel { layers: 0, attends: false };
        } else {
            levels.push(level);
            break;
        }
    }
    levels
}
