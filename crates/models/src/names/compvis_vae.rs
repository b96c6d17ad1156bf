//! CompVis' `AutoencoderKL` (`ldm/modules/diffusionmodules/model.py`): the decoder's resolutions are counted from the
//! highest, though it begins with the lowest.

use super::numbered;

/// The middle, in both halves.
const MIDDLE: [(&str, &str); 7] = [
    ("resnets.0.", "block_1."),
    ("resnets.1.", "block_2."),
    ("attentions.0.group_norm.", "attn_1.norm."),
    ("attentions.0.to_q.", "attn_1.q."),
    ("attentions.0.to_k.", "attn_1.k."),
    ("attentions.0.to_v.", "attn_1.v."),
    ("attentions.0.to_out.0.", "attn_1.proj_out."),
];

/// The attention of the middle, and what converters that came after diffusers 0.15 left as it is called there.
const ATTENTION: [(&str, &str); 4] = [
    ("attn_1.q.", "attn_1.to_q."),
    ("attn_1.k.", "attn_1.to_k."),
    ("attn_1.v.", "attn_1.to_v."),
    ("attn_1.proj_out.", "attn_1.to_out.0."),
];

/// What CompVis calls the parameter of this canonical name in an autoencoder of so many `levels`, its own name first.
pub(super) fn names(name: &str, levels: usize) -> Vec<String> {
    let Some(own) = self::name(name, levels) else { return Vec::new() };
    let other = ATTENTION.iter().find(|(known, _)| own.contains(known)).map(|(known, other)| own.replace(known, other));
    [own].into_iter().chain(other).collect()
}

fn name(name: &str, levels: usize) -> Option<String> {
    if name.starts_with("quant_conv.") || name.starts_with("post_quant_conv.") {
        return Some(name.to_owned());
    }
    let (half, name) = name.split_once('.')?;
    let theirs = match (half, name.split_once('.')?) {
        ("encoder" | "decoder", ("conv_in" | "conv_out", _)) => name.to_owned(),
        ("encoder" | "decoder", ("conv_norm_out", rest)) => format!("norm_out.{rest}"),
        ("encoder" | "decoder", ("mid_block", rest)) => {
            let find = |(ours, theirs): &(&str, &str)| Some(format!("mid.{theirs}{}", rest.strip_prefix(ours)?));
            resnet(MIDDLE.iter().find_map(find)?)
        }
        ("encoder", ("down_blocks", rest)) => {
            let (level, rest) = numbered(rest).filter(|&(level, _)| level < levels)?;
            block(rest, "downsamplers.0.conv.", "downsample.conv.").map(|rest| format!("down.{level}.{rest}"))?
        }
        ("decoder", ("up_blocks", rest)) => {
            let (block_number, rest) = numbered(rest)?;
            let level = levels.checked_sub(1 + block_number)?;
            block(rest, "upsamplers.0.conv.", "upsample.conv.").map(|rest| format!("up.{level}.{rest}"))?
        }
        _ => return None,
    };
    Some(format!("{half}.{theirs}"))
}

/// `resnets.i.…`, or what changes the resolution.
fn block(name: &str, ours: &str, theirs: &str) -> Option<String> {
    if let Some(rest) = name.strip_prefix(ours) {
        return Some(format!("{theirs}{rest}"));
    }
    name.strip_prefix("resnets.").map(|rest| resnet(format!("block.{rest}")))
}

fn resnet(name: String) -> String {
    name.replace(".conv_shortcut.", ".nin_shortcut.")
}

/// How many resolutions the autoencoder has of which `has` says what CompVis' names are there.
pub(super) fn levels(has: impl Fn(&str) -> bool) -> usize {
    (0..).take_while(|n| has(&format!("decoder.up.{n}.block.0.norm1.weight"))).count()
}
