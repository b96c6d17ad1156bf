//! Networks for super-resolution: which one a file has, by the keys that `spandrel` tells them by, and what its tensors are called.

use calotype_formats::Checkpoint;

use super::{Layout, Style};

/// A network that enlarges pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UpscalerKind {
    /// RRDBNet: ESRGAN, BSRGAN, Real-ESRGAN and ESRGAN+.
    Esrgan,
    /// SRVGGNetCompact, the small network of Real-ESRGAN.
    Compact,
    /// The swift parameter-free attention network.
    Span,
    /// Image restoration by a Swin transformer.
    SwinIr,
    /// The hybrid attention transformer.
    Hat,
}

impl UpscalerKind {
    /// Every one that is run.
    pub const ALL: [Self; 5] = [Self::Esrgan, Self::Compact, Self::Span, Self::SwinIr, Self::Hat];

    /// What people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Esrgan => "ESRGAN",
            Self::Compact => "Real-ESRGAN Compact",
            Self::Span => "SPAN",
            Self::SwinIr => "SwinIR",
            Self::Hat => "HAT",
        }
    }
}

/// How a file names an upscaler's tensors, after the prefix. The canonical names are Real-ESRGAN's, where there are several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// As they are.
    Own,
    /// BSRGAN's and Real-SR's.
    Trunk,
    /// The first ESRGAN's: numbers in a sequence, after so many blocks and with so many upsamplings.
    Sequence { blocks: usize, ups: usize },
}

/// What files have around the network, the first that is there counts.
const WRAPPERS: [&str; 8] =
    ["model_state_dict.", "state_dict.", "params_ema.", "params-ema.", "params.", "model.", "net.", ""];
/// What stands before every name within, if anything does.
const PREFIXES: [&str; 4] = ["", "module.", "netG.", "module.netG."];

/// Keys that only one network has.
type Keys = &'static [&'static str];

const OLD: Keys = &["model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"];
const PLUS: Keys = &["model.0.weight", "model.1.sub.0.RDB1.conv1x1.weight"];
const TRUNK: Keys = &["conv_first.weight", "RRDB_trunk.0.RDB1.conv1.weight", "trunk_conv.weight", "conv_last.weight"];
const NEW: Keys = &["conv_first.weight", "body.0.rdb1.conv1.weight", "conv_body.weight", "conv_last.weight"];
const COMPACT: Keys = &["body.0.weight", "body.1.weight"];
const SPAN: Keys = &[
    "conv_1.sk.weight",
    "block_1.c1_r.sk.weight",
    "block_1.c1_r.eval_conv.weight",
    "block_1.c3_r.eval_conv.weight",
    "conv_cat.weight",
    "conv_2.sk.weight",
    "conv_2.eval_conv.weight",
    "upsampler.0.weight",
];

const SWINIR: Keys = &[
    "layers.0.residual_group.blocks.0.norm1.weight",
    "conv_first.weight",
    "layers.0.residual_group.blocks.0.mlp.fc1.bias",
    "layers.0.residual_group.blocks.0.attn.relative_position_index",
];

/// spandrel asks for more of them, all of which have to be there anyway.
const HAT: Keys = &[
    "conv_first.weight",
    "layers.0.residual_group.blocks.0.norm1.weight",
    "layers.0.residual_group.blocks.0.conv_block.cab.0.weight",
    "layers.0.residual_group.overlap_attn.relative_position_bias_table",
    "conv_last.weight",
];

/// Networks that are told but not run, the more special first.
const NOT_RUN: [(Keys, &str); 5] = [
    (
        &["layers.0.residual_group.blocks.0.norm1.weight", "layers.0.residual_group.blocks.0.attn.logit_scale"],
        "an upscaler (Swin2SR), which is not run here",
    ),
    (
        &["conv_first.1.weight", "layers.0.residual_group.blocks.0.norm1.weight"],
        "an upscaler (SwinIR with pixels as channels), which is not run here",
    ),
    (&["before_RG.1.weight", "layers.0.blocks.0.ffn.sg.conv.weight"], "an upscaler (DAT), which is not run here"),
    (
        &["residual_layer.0.residual_layer.0.layer.0.fn.0.weight", "input.weight", "up.0.weight"],
        "an upscaler (OmniSR), which is not run here",
    ),
    (&["feats.0.weight", "feats.1.channe_mixer.0.weight"], "an upscaler (PLKSR), which is not run here"),
];

/// What stands before all of `keys` in `file`.
fn prefix(file: &Checkpoint, keys: Keys) -> Option<String> {
    let has = |before: &str| keys.iter().all(|key| file.get(&format!("{before}{key}")).is_some());
    let known = WRAPPERS.iter().flat_map(|wrapper| PREFIXES.map(|prefix| format!("{wrapper}{prefix}")));
    // A dict alone in another may be called anything.
    let first =
        file.tensors().next().and_then(|tensor| tensor.name.split_once('.')).map(|(first, _)| format!("{first}."));
    let alone = first.filter(|first| file.tensors().all(|tensor| tensor.name.starts_with(first.as_str())));
    known
        .chain(alone.into_iter().flat_map(|alone| PREFIXES.map(|prefix| format!("{alone}{prefix}"))))
        .find(|before| has(before))
}

/// The name of the upscaler that `file` has and that is not run.
pub(super) fn not_run(file: &Checkpoint) -> Option<&'static str> {
    NOT_RUN.iter().find(|(keys, _)| prefix(file, keys).is_some()).map(|(_, name)| *name)
}

impl Layout {
    /// The upscaler of `file`, and how its tensors are named; none if it has none that is run.
    #[must_use]
    pub fn of_upscaler(file: &Checkpoint) -> Option<(UpscalerKind, Self)> {
        let layout = |prefix, names| Self { prefix, style: Style::Upscaler(names) };
        if let Some(prefix) = prefix(file, COMPACT).filter(|prefix| is_sequence(file, prefix)) {
            return Some((UpscalerKind::Compact, layout(prefix, Names::Own)));
        }
        if let Some(prefix) = prefix(file, SPAN) {
            return Some((UpscalerKind::Span, layout(prefix, Names::Own)));
        }
        if let Some(prefix) = prefix(file, HAT) {
            return Some((UpscalerKind::Hat, layout(prefix, Names::Own)));
        }
        // What is not run may have all that a SwinIR has, and more.
        if let Some(prefix) = prefix(file, SWINIR).filter(|_| not_run(file).is_none()) {
            return Some((UpscalerKind::SwinIr, layout(prefix, Names::Own)));
        }
        if let Some(prefix) = prefix(file, NEW) {
            return Some((UpscalerKind::Esrgan, layout(prefix, Names::Own)));
        }
        if let Some(prefix) = prefix(file, TRUNK) {
            return Some((UpscalerKind::Esrgan, layout(prefix, Names::Trunk)));
        }
        let prefix = prefix(file, OLD).or_else(|| prefix(file, PLUS))?;
        let names = sequence(file, &prefix);
        Some((UpscalerKind::Esrgan, layout(prefix, names)))
    }
}

/// Whether all tensors after the prefix are those of a sequence `body`.
fn is_sequence(file: &Checkpoint, prefix: &str) -> bool {
    let mut own = file.tensors().filter_map(|tensor| tensor.name.strip_prefix(prefix));
    own.all(|name| matches!(name.split('.').collect::<Vec<_>>()[..], ["body", n, "weight" | "bias"] if n.parse::<u16>().is_ok()))
}

/// The numbers of the first ESRGAN's sequence.
fn sequence(file: &Checkpoint, prefix: &str) -> Names {
    let own = || file.tensors().filter_map(|tensor| tensor.name.strip_prefix(prefix)?.strip_prefix("model."));
    let number = |text: &str| text.split('.').next().and_then(|number| number.parse::<usize>().ok());
    let last = own().filter_map(number).max().unwrap_or(0);
    let blocks = own().filter_map(|name| number(name.strip_prefix("1.sub.")?)).max().unwrap_or(0);
    Names::Sequence { blocks, ups: last.saturating_sub(4) / 3 }
}

impl Names {
    pub(super) fn id(&self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Trunk => "bsrgan",
            Self::Sequence { .. } => "esrgan",
        }
    }

    /// The name in a file of the parameter of a canonical name.
    pub(super) fn name(&self, name: &str) -> String {
        let (layer, part) = name.rsplit_once('.').unwrap_or((name, ""));
        let own = match self {
            Self::Own => None,
            Self::Trunk => trunk(layer),
            Self::Sequence { blocks, ups } => in_sequence(layer, *blocks, *ups),
        };
        own.map_or_else(|| name.to_owned(), |layer| format!("{layer}.{part}"))
    }
}

/// `body.2.rdb1.conv3` as block, dense block and convolution.
fn of_block(layer: &str) -> Option<(&str, &str, &str)> {
    let (block, rest) = layer.strip_prefix("body.")?.split_once('.')?;
    let (dense, conv) = rest.strip_prefix("rdb")?.split_once('.')?;
    Some((block, dense, conv))
}

fn trunk(layer: &str) -> Option<String> {
    if let Some((block, dense, conv)) = of_block(layer) {
        return Some(format!("RRDB_trunk.{block}.RDB{dense}.{conv}"));
    }
    match layer {
        "conv_body" => Some("trunk_conv".to_owned()),
        "conv_hr" => Some("HRconv".to_owned()),
        _ => layer.strip_prefix("conv_up").map(|number| format!("upconv{number}")),
    }
}

fn in_sequence(layer: &str, blocks: usize, ups: usize) -> Option<String> {
    if let Some((block, dense, conv)) = of_block(layer) {
        let inner = if conv == "conv1x1" { "" } else { ".0" };
        return Some(format!("model.1.sub.{block}.RDB{dense}.{conv}{inner}"));
    }
    Some(match layer {
        "conv_first" => "model.0".to_owned(),
        "conv_body" => format!("model.1.sub.{blocks}"),
        "conv_hr" => format!("model.{}", 3 * ups + 2),
        "conv_last" => format!("model.{}", 3 * ups + 4),
        _ => format!("model.{}", 3 * layer.strip_prefix("conv_up")?.parse::<usize>().ok()?),
    })
}
