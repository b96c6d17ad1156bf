//! What programs put around the names of a network: `DistributedDataParallel` (`module.`), `torch.compile` (`_orig_mod.`),
//! DeepSpeed and FSDP (`module.`, `_forward_module.`), and trainers that save `{"model": …}` or `{"module": {"state_dict": …}}`.

use calotype_formats::{Checkpoint, TensorInfo};

/// Parts of a name that are never a network's own.
const WRAPPERS: [&str; 5] = ["module", "_orig_mod", "_forward_module", "state_dict", "model_state_dict"];
/// A wrapper as well, but also a part of CompVis' and OpenCLIP's names.
const MODEL: &str = "model.";
/// How often the last may stand there more than the names have it.
const MODELS: usize = 2;
/// What whole checkpoints' names begin with, after all wrappers.
const TOPS: [&str; 5] =
    ["model.diffusion_model.", "first_stage_model.", "cond_stage_model.", "control_model.", "model_ema."];

/// What stands in `file` before the tensor `first` of a network: one of `prefixes`, or one with wrappers before or after it.
/// Without any is preferred to with, then the shortest.
pub(super) fn prefix(file: &Checkpoint, prefixes: &[&str], first: &str) -> Option<String> {
    let plain = prefixes.iter().find(|prefix| file.get(&format!("{prefix}{first}")).is_some());
    plain.map(|prefix| (*prefix).to_owned()).or_else(|| {
        let before = file.tensors().filter_map(|tensor| tensor.name.strip_suffix(first));
        let wrapped = before.filter(|before| before.ends_with('.') && is_wrapped(before, prefixes));
        wrapped.min_by_key(|before| before.len()).map(str::to_owned)
    })
}

/// Whether wrappers are all that `before` has more than one of the `prefixes`.
fn is_wrapped(before: &str, prefixes: &[&str]) -> bool {
    let own: String =
        before.split_inclusive('.').filter(|part| !WRAPPERS.contains(&part.trim_end_matches('.'))).collect();
    let mut own = own.as_str();
    for _ in 0..=MODELS {
        if prefixes.contains(&own) {
            return true;
        }
        match own.strip_prefix(MODEL) {
            Some(rest) => own = rest,
            None => break,
        }
    }
    false
}

/// A name of a whole checkpoint without the wrappers before it.
#[must_use]
pub fn unwrapped_name(name: &str) -> &str {
    let mut own = name;
    loop {
        let (part, rest) = own.split_once('.').unwrap_or_default();
        let after_model = || TOPS.iter().any(|top| rest.starts_with(top)) || super::detect::is_schedule(rest);
        if WRAPPERS.contains(&part) || (part == "model" && after_model()) {
            own = rest;
        } else {
            return own;
        }
    }
}

/// The tensor of `file` that has this name in a whole checkpoint, be there wrappers before it or not.
#[must_use]
pub fn find_unwrapped<'a>(file: &'a Checkpoint, name: &str) -> Option<&'a TensorInfo> {
    file.get(name)
        .or_else(|| file.tensors().find(|tensor| tensor.name.ends_with(name) && unwrapped_name(&tensor.name) == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappers_are_told_from_names() {
        let unet = ["model.diffusion_model.", "diffusion_model.", "unet.", ""];
        for before in [
            "module.",
            "_orig_mod.",
            "_forward_module.",
            "model.",
            "model.module.",
            "module._orig_mod.unet.",
            "unet.module.",
            "model.diffusion_model._orig_mod.",
            "state_dict.model.model.diffusion_model.",
            "module.model.diffusion_model.",
        ] {
            assert!(is_wrapped(before, &unet), "{before}");
        }
        for before in ["control_model.", "ema.", "model.model.model.", "unet.other.", "modules."] {
            assert!(!is_wrapped(before, &unet), "{before}");
        }
    }

    #[test]
    fn names_lose_what_is_before_them() {
        for (name, own) in [
            ("module.model.diffusion_model.out.0.weight", "model.diffusion_model.out.0.weight"),
            ("model.model.diffusion_model.out.0.weight", "model.diffusion_model.out.0.weight"),
            ("model.diffusion_model.out.0.weight", "model.diffusion_model.out.0.weight"),
            ("state_dict.alphas_cumprod", "alphas_cumprod"),
            ("model.betas", "betas"),
            ("model.ln_final.weight", "model.ln_final.weight"),
            ("alphas_cumprod", "alphas_cumprod"),
        ] {
            assert_eq!(unwrapped_name(name), own);
        }
    }
}
