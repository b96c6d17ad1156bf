//! Which modules of a model get a LoRA.

use calotype_models::{Component, ParamSpec};
use calotype_tensor::ParamKind;

use crate::{Error, LoraOptions, Result};

/// A module of a network whose weight is changed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Module {
    pub(crate) component: Component,
    /// `mid_block.attentions.0.proj_in`.
    pub(crate) path: String,
    /// The name of its weight.
    pub(crate) weight: String,
    /// The shape of its weight, in file layout.
    pub(crate) shape: Vec<usize>,
    pub(crate) rank: usize,
    pub(crate) alpha: f32,
}

impl Module {
    /// Its network and path.
    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.component.id(), self.path)
    }

    /// What the product of its factors is multiplied by.
    pub(crate) fn scale(&self) -> f32 {
        self.alpha / self.rank as f32
    }
}

/// What kohya's `networks.lora` takes by default, and beside it with `conv_dim`.
const ATTENTION: [&str; 3] = ["unet.*.attentions.*", "text_encoder.*.self_attn.*", "text_encoder.*.mlp.*"];
const RESIDUAL: [&str; 3] = ["unet.*.resnets.*", "unet.*.downsamplers.*", "unet.*.upsamplers.*"];

/// The modules of a UNet and a text encoder, given as their parameters, that `options` ask for.
pub(crate) fn chosen(options: &LoraOptions, unet: &[ParamSpec], text: &[ParamSpec]) -> Result<Vec<Module>> {
    let mut patterns: Vec<&str> = options.targets.iter().map(String::as_str).collect();
    if patterns.is_empty() {
        patterns.extend(ATTENTION);
        patterns.extend(options.conv_rank.iter().flat_map(|_| RESIDUAL));
    }
    let text = if options.text_encoder { text } else { &[] };
    let specs = [(Component::UNet, unet), (Component::TextEncoder, text)];
    let mut modules = Vec::new();
    for (component, spec) in specs.into_iter().flat_map(|(component, specs)| specs.iter().map(move |s| (component, s)))
    {
        let is_product = matches!(spec.kind, ParamKind::Linear | ParamKind::Conv | ParamKind::UpsampledConv);
        let Some(path) = spec.name.strip_suffix(".weight").filter(|_| is_product) else { continue };
        let is_wide = spec.shape.get(2..).is_some_and(|kernel| kernel.iter().any(|side| *side > 1));
        let (rank, alpha) = match (is_wide, options.conv_rank) {
            (true, Some(rank)) => (rank, options.conv_alpha),
            _ => (options.rank, options.alpha),
        };
        let module = Module {
            component,
            path: path.to_owned(),
            weight: spec.name.clone(),
            shape: spec.shape.clone(),
            rank,
            alpha: alpha.unwrap_or(rank as f32),
        };
        if patterns.iter().any(|pattern| matches(pattern, &module.name())) {
            modules.push(module);
        }
    }
    let names: Vec<String> = modules.iter().map(Module::name).collect();
    let unused = options.targets.iter().find(|pattern| !names.iter().any(|name| matches(pattern, name)));
    match (unused, modules.is_empty()) {
        (Some(pattern), _) => Err(refuse(&format!("{pattern:?} is no module of this model"))),
        (None, true) => Err(refuse("this model has none of the usual modules")),
        (None, false) => Ok(modules),
    }
}

fn refuse(problem: &str) -> Error {
    let advice = "give names such as \"unet.mid_block.attentions.0.proj_in\" or patterns such as \"unet.*.attn2.*\"";
    Error::config(std::path::Path::new("lora.targets"), format!("{problem}: {advice}"))
}

/// Whether `name` is of this pattern, in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            let ends = rest.char_indices().map(|(place, _)| place).chain([rest.len()]);
            ends.into_iter().any(|place| matches(after, &rest[place..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use calotype_models::{ModelConfig, TextConfig, UNetConfig};

    use super::*;

    fn count(options: LoraOptions) -> [usize; 2] {
        let unet = UNetConfig::sd15().specs().unwrap();
        let text = TextConfig::sd15().specs().unwrap();
        let modules = chosen(&options, &unet, &text).unwrap();
        [Component::UNet, Component::TextEncoder].map(|c| modules.iter().filter(|m| m.component == c).count())
    }

    #[test]
    fn modules_are_kohyas() {
        assert_eq!(count(LoraOptions::default()), [192, 72]);
        assert_eq!(count(LoraOptions { text_encoder: false, ..LoraOptions::default() }), [192, 0]);
        // 22 residual blocks with two convolutions and a linear map, 14 of them with a third; 3 downsamplers, 3 upsamplers.
        let with_convolutions = LoraOptions { conv_rank: Some(4), ..LoraOptions::default() };
        assert_eq!(count(with_convolutions), [192 + 22 * 3 + 14 + 6, 72]);
        let some = |targets: &[&str]| LoraOptions {
            targets: targets.iter().map(|&t| t.to_owned()).collect(),
            ..LoraOptions::default()
        };
        assert_eq!(count(some(&["unet.*.attn2.to_k", "*.q_proj"])), [16, 12]);
        let unet = UNetConfig::sd15().specs().unwrap();
        let error = chosen(&some(&["unet.*.attn3.*"]), &unet, &[]).unwrap_err().to_string();
        assert!(error.starts_with("lora.targets: \"unet.*.attn3.*\" is no module of this model: give"), "{error}");
    }

    #[test]
    fn stars_are_any_text() {
        for (pattern, name, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.bc", false),
            ("a.*", "a.bc", true),
            ("*c", "a.bc", true),
            ("*b", "a.bc", false),
            ("a*c*e", "abcde", true),
            ("*", "", true),
            ("ä*", "äö", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn ranks_and_alphas_are_of_the_kernel() {
        let unet = UNetConfig::sd15().specs().unwrap();
        let options = LoraOptions { rank: 8, alpha: Some(4.0), conv_rank: Some(2), ..LoraOptions::default() };
        let modules = chosen(&options, &unet, &[]).unwrap();
        let of = |path: &str| modules.iter().find(|module| module.path == path).unwrap();
        let (linear, wide) = (of("mid_block.attentions.0.proj_in"), of("mid_block.resnets.0.conv1"));
        assert_eq!((linear.rank, linear.scale()), (8, 0.5));
        assert_eq!((wide.rank, wide.scale()), (2, 1.0));
        let [down, up] = wide.factors();
        assert_eq!((down.shape, up.shape), (vec![2, 1280, 3, 3], vec![1280, 2, 1, 1]));
        assert_eq!(down.name, "unet.mid_block.resnets.0.conv1.lora_down.weight");
    }
}
