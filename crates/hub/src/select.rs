//! Which files of a model are needed.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Error, ModelInfo, Result, error::show, glob, names};

/// What to take of a model.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Patterns of paths, as `fnmatch` has them; if there are none, what Stable Diffusion needs is taken.
    pub include: Vec<String>,
    /// Take the weights of this variant where there are some, `fp16` for one.
    pub variant: Option<String>,
}

/// The networks of a pipeline, and its other parts.
const NETWORKS: [&str; 3] = ["text_encoder", "unet", "vae"];
const OTHERS: [&str; 2] = ["scheduler", "tokenizer"];

/// The names that diffusers and transformers give to weights.
const STEMS: [&str; 3] = ["diffusion_pytorch_model", "model", "pytorch_model"];

/// The endings of weights, the better one first.
const ENDINGS: [&str; 2] = ["safetensors", "bin"];

/// The endings of a model in a single file, the better one first.
const SINGLE: [&str; 2] = ["safetensors", "ckpt"];

/// How many names a message lists.
const LISTED: usize = 8;

/// The file that makes a folder a pipeline.
pub(crate) const INDEX: &str = "model_index.json";

impl Selection {
    /// The paths of a model to take, each of which may become a file here; a pipeline's index is the last.
    ///
    /// # Errors
    /// There is nothing to take, or too much to choose from, or a path is not one.
    pub fn paths(&self, model: &ModelInfo) -> Result<Vec<String>> {
        select(model, self)
    }
}

fn select(model: &ModelInfo, selection: &Selection) -> Result<Vec<String>> {
    let paths: BTreeSet<&str> = model.files.iter().map(|file| file.path.as_str()).collect();
    let mut chosen = if !selection.include.is_empty() {
        included(model, &paths, &selection.include)?
    } else if paths.contains(INDEX) {
        pipeline(model, &paths, selection)?
    } else {
        single(model, &paths, selection)?
    };
    for path in &chosen {
        if let Some(problem) = names::problem(path) {
            return Err(Error::answer(format!("{}: the file {:?}", model.id, show(path)), problem));
        }
    }
    // Whoever finds the index finds a whole model.
    chosen.sort_by_key(|path| *path == INDEX);
    Ok(chosen.into_iter().map(str::to_owned).collect())
}

fn included<'a>(model: &ModelInfo, paths: &BTreeSet<&'a str>, patterns: &[String]) -> Result<Vec<&'a str>> {
    for pattern in patterns {
        if !paths.iter().any(|path| glob::matches(pattern, path)) {
            let listed = list(paths.iter().copied());
            return Err(Error::Request(format!(
                "--include {}: {} has no such file, but {listed}",
                show(pattern),
                model.id
            )));
        }
    }
    Ok(paths.iter().copied().filter(|path| patterns.iter().any(|pattern| glob::matches(pattern, path))).collect())
}

/// A diffusers folder.
fn pipeline<'a>(model: &ModelInfo, paths: &BTreeSet<&'a str>, selection: &Selection) -> Result<Vec<&'a str>> {
    let mut chosen = BTreeSet::from_iter(paths.get(INDEX).copied());
    let mut has_variant = selection.variant.is_none();
    for folder in NETWORKS {
        let part = Part::new(paths, folder);
        let weights = part.weights(model, selection)?;
        has_variant |= weights.variant.is_some();
        chosen.extend(part.path("config.json").into_iter().chain(weights.paths));
    }
    if !has_variant {
        return Err(no_variant(model, selection));
    }
    let is_text = |path: &&str| path.ends_with(".json") || path.ends_with(".txt");
    for folder in OTHERS {
        chosen.extend(Part::new(paths, folder).files.into_iter().map(|(path, _)| path).filter(is_text));
    }
    Ok(chosen.into_iter().collect())
}

/// A model without an index: one network, or one file with all.
fn single<'a>(model: &ModelInfo, paths: &BTreeSet<&'a str>, selection: &Selection) -> Result<Vec<&'a str>> {
    let root = Part::new(paths, "");
    if let Some(config) = root.path("config.json").filter(|_| !root.sets.is_empty()) {
        let weights = root.weights(model, selection)?;
        if selection.variant.is_some() && weights.variant.is_none() {
            return Err(no_variant(model, selection));
        }
        return Ok([config].into_iter().chain(weights.paths).collect());
    }
    if selection.variant.is_some() {
        return Err(no_variant(model, selection));
    }
    let with_ending = |ending: &'static str| {
        let suffix = format!(".{ending}");
        paths.iter().copied().filter(move |path| path.ends_with(&suffix))
    };
    // The same model as a pickle is not needed.
    let has_better = |path: &str| {
        let stem = path.strip_suffix(SINGLE[1]).unwrap_or(path);
        paths.contains(format!("{stem}{}", SINGLE[0]).as_str())
    };
    let pickles = with_ending(SINGLE[1]).filter(|path| !has_better(path));
    let candidates: Vec<&str> = with_ending(SINGLE[0]).chain(pickles).collect();
    match candidates.as_slice() {
        [] => Err(Error::Request(format!(
            "{}: no model of Stable Diffusion: it has neither {INDEX} nor a .safetensors or .ckpt file, but {}",
            model.id,
            list(paths.iter().copied())
        ))),
        [one] => Ok(vec![one]),
        several => Err(Error::Request(format!(
            "{}: several models in one place: choose with --include one of {}",
            model.id,
            list(several.iter().copied())
        ))),
    }
}

fn no_variant(model: &ModelInfo, selection: &Selection) -> Error {
    let variant = show(selection.variant.as_deref().unwrap_or_default());
    Error::Request(format!("--variant {variant}: {} has no weights of this variant: leave it out", model.id))
}

/// Names for a message.
fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let shown: Vec<String> = names.iter().take(LISTED).map(|name| show(name)).collect();
    match names.len() {
        0 => "no files at all".to_owned(),
        count if count > LISTED => format!("{} and {} more", shown.join(", "), count - LISTED),
        _ => shown.join(", "),
    }
}

/// One folder of a pipeline, or the top of a model that is one network.
struct Part<'a> {
    name: &'static str,
    /// The files right in it: their paths and their names.
    files: Vec<(&'a str, &'a str)>,
    /// The weights among them, by variant and ending.
    sets: BTreeMap<(Option<&'a str>, &'static str), Vec<&'a str>>,
}

/// The weights to take.
struct Weights<'a> {
    variant: Option<&'a str>,
    paths: Vec<&'a str>,
}

impl<'a> Part<'a> {
    fn new(paths: &BTreeSet<&'a str>, name: &'static str) -> Self {
        let inside = |path: &&'a str| {
            let path: &'a str = path;
            let file = if name.is_empty() { Some(path) } else { path.strip_prefix(name)?.strip_prefix('/') };
            file.filter(|file| !file.contains('/')).map(|file| (path, file))
        };
        let files: Vec<_> = paths.iter().filter_map(inside).collect();
        let mut sets = BTreeMap::<_, Vec<_>>::new();
        for (path, file) in &files {
            if let Some(kind) = weights_name(file) {
                sets.entry(kind).or_default().push(*path);
            }
        }
        Self { name, files, sets }
    }

    fn path(&self, name: &str) -> Option<&'a str> {
        self.files.iter().find(|(_, file)| *file == name).map(|(path, _)| *path)
    }

    /// The weights of the variant if there are some, else those of none; safetensors before pickles.
    fn weights(&self, model: &ModelInfo, selection: &Selection) -> Result<Weights<'a>> {
        for variant in [selection.variant.as_deref(), None] {
            for ending in ENDINGS {
                if let Some((kind, paths)) = self.sets.iter().find(|(kind, _)| **kind == (variant, ending)) {
                    return Ok(Weights { variant: kind.0, paths: paths.clone() });
                }
            }
        }
        let variants: BTreeSet<&str> = self.sets.keys().filter_map(|(variant, _)| *variant).collect();
        let place = if self.name.is_empty() { String::new() } else { format!(" in {}", self.name) };
        Err(Error::Request(match variants.first() {
            Some(variant) => {
                let variants = list(variants.iter().copied());
                format!(
                    "{}: only variants of the weights{place}: {variants}: add --variant {}",
                    model.id,
                    show(variant)
                )
            }
            None => {
                format!("{}: no weights{place}: it is no model of Stable Diffusion, or choose with --include", model.id)
            }
        }))
    }
}

/// The variant and the ending of a name of weights, of a shard of them, or of the index of shards:
/// `model.safetensors`, `model.fp16.safetensors`, `model-00001-of-00002.safetensors`, `model.fp16-00001-of-00002.safetensors`,
/// of old `model-00001-of-00002.fp16.safetensors`; `model.safetensors.index.json`, `model.safetensors.index.fp16.json`.
fn weights_name(name: &str) -> Option<(Option<&str>, &'static str)> {
    if let Some(indexed) = name.strip_suffix(".json") {
        return ENDINGS.iter().find_map(|ending| {
            let (stem, tail) = indexed.split_once(&format!(".{ending}.")[..])?;
            let variant = if tail == "index" {
                None
            } else {
                Some(tail.strip_prefix("index.").or_else(|| tail.strip_suffix(".index"))?)
            };
            STEMS.contains(&stem).then_some((variant, *ending))
        });
    }
    let (ending, stem) =
        ENDINGS.iter().find_map(|ending| Some((*ending, name.strip_suffix(*ending)?.strip_suffix('.')?)))?;
    let (first, variant) = stem.split_once('.').map_or((stem, None), |(first, variant)| (first, Some(variant)));
    let first = without_shard(first);
    let variant = variant.map(without_shard);
    (STEMS.contains(&first) && variant.is_none_or(|variant| !variant.contains('.'))).then_some((variant, ending))
}

/// Without `-00001-of-00002`.
fn without_shard(name: &str) -> &str {
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    let cut = || {
        let (rest, count) = name.rsplit_once("-of-")?;
        let (rest, number) = rest.rsplit_once('-')?;
        (is_number(count) && is_number(number)).then_some(rest)
    };
    cut().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{License, RemoteFile};

    /// As the repositories of v1.5 have been.
    const SD15: [&str; 30] = [
        ".gitattributes",
        "README.md",
        "feature_extractor/preprocessor_config.json",
        "model_index.json",
        "safety_checker/config.json",
        "safety_checker/model.safetensors",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.fp16.safetensors",
        "text_encoder/model.safetensors",
        "text_encoder/pytorch_model.bin",
        "text_encoder/pytorch_model.fp16.bin",
        "tokenizer/merges.txt",
        "tokenizer/special_tokens_map.json",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.bin",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "v1-5-pruned-emaonly.ckpt",
        "v1-5-pruned-emaonly.safetensors",
        "v1-5-pruned.ckpt",
        "v1-5-pruned.safetensors",
        "v1-inference.yaml",
        "vae/config.json",
        "vae/diffusion_pytorch_model.bin",
        "vae/diffusion_pytorch_model.safetensors",
    ];

    fn chosen(paths: &[&str], include: &[&str], variant: Option<&str>) -> Result<Vec<String>, String> {
        let files = paths.iter().map(|path| RemoteFile { path: (*path).to_owned(), size: None }).collect();
        let license = License { name: String::new(), link: String::new() };
        let model = ModelInfo { id: "o/n".parse().unwrap(), commit: "0".repeat(40), files, license };
        let include = include.iter().map(|pattern| (*pattern).to_owned()).collect();
        select(&model, &Selection { include, variant: variant.map(str::to_owned) }).map_err(|error| error.to_string())
    }

    proptest! {
        /// Whatever names a model has, what is taken of it is of it, and may be written.
        #[test]
        fn only_what_there_is(
            names in prop::collection::vec(
                "(unet/|vae/|text_encoder/|\\.\\./|/)?(model_index|config|model|diffusion_pytorch_model)(\\.fp16)?(-0000[12]-of-00002)?\\.(safetensors|bin|json|ckpt)(\\.index)?(\\.json)?",
                0..20,
            ),
            variant in prop::option::of(Just("fp16")),
            include in prop::option::of("[a-z*?/\\[\\]!.-]{0,6}"),
        ) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            if let Ok(chosen) = chosen(&names, &include.iter().map(String::as_str).collect::<Vec<_>>(), variant) {
                prop_assert!(chosen.iter().all(|path| names.contains(&path.as_str()) && names::problem(path).is_none()));
                prop_assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), chosen.len());
                prop_assert!(include.is_some() || !chosen.is_empty());
            }
        }
    }

    #[test]
    fn a_pipeline_without_what_it_does_not_need() {
        let expected = [
            "scheduler/scheduler_config.json",
            "text_encoder/config.json",
            "text_encoder/model.safetensors",
            "tokenizer/merges.txt",
            "tokenizer/special_tokens_map.json",
            "tokenizer/tokenizer_config.json",
            "tokenizer/vocab.json",
            "unet/config.json",
            "unet/diffusion_pytorch_model.safetensors",
            "vae/config.json",
            "vae/diffusion_pytorch_model.safetensors",
            "model_index.json",
        ];
        assert_eq!(chosen(&SD15, &[], None).unwrap(), expected);
    }

    #[test]
    fn a_variant_where_there_is_one() {
        let weights = |variant| -> Vec<String> {
            chosen(&SD15, &[], Some(variant))
                .unwrap()
                .into_iter()
                .filter(|path| path.ends_with(".safetensors"))
                .collect()
        };
        let vae = "vae/diffusion_pytorch_model.safetensors";
        assert_eq!(
            weights("fp16"),
            ["text_encoder/model.fp16.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors", vae]
        );
        assert_eq!(
            weights("non_ema"),
            ["text_encoder/model.safetensors", "unet/diffusion_pytorch_model.non_ema.safetensors", vae]
        );
        let error = "--variant fp8: o/n has no weights of this variant: leave it out";
        assert_eq!(chosen(&SD15, &[], Some("fp8")).unwrap_err(), error);
        let only: Vec<&str> = SD15
            .into_iter()
            .filter(|path| !path.starts_with("unet") || path.contains("fp16") || path.contains("config"))
            .collect();
        let error = "o/n: only variants of the weights in unet: fp16: add --variant fp16";
        assert_eq!(chosen(&only, &[], None).unwrap_err(), error);
        let none: Vec<&str> = SD15.into_iter().filter(|path| !path.starts_with("vae/diff")).collect();
        assert!(chosen(&none, &[], None).unwrap_err().starts_with("o/n: no weights in vae: "));
    }

    #[test]
    fn pickles_only_where_there_is_nothing_better() {
        let pickles: Vec<&str> = SD15.into_iter().filter(|path| !path.ends_with("safetensors")).collect();
        let chosen = chosen(&pickles, &[], None).unwrap();
        assert!(
            chosen.contains(&"unet/diffusion_pytorch_model.bin".to_owned())
                && !chosen.iter().any(|path| path.contains("fp16"))
        );
    }

    #[test]
    fn shards_come_with_their_index() {
        let names = [
            ("model.safetensors", Some((None, "safetensors"))),
            ("model.fp16.safetensors", Some((Some("fp16"), "safetensors"))),
            ("model-00001-of-00002.safetensors", Some((None, "safetensors"))),
            ("model.fp16-00001-of-00002.safetensors", Some((Some("fp16"), "safetensors"))),
            ("pytorch_model-00001-of-00002.fp16.bin", Some((Some("fp16"), "bin"))),
            ("model.safetensors.index.json", Some((None, "safetensors"))),
            ("model.safetensors.index.fp16.json", Some((Some("fp16"), "safetensors"))),
            ("model.safetensors.fp16.index.json", Some((Some("fp16"), "safetensors"))),
            ("config.json", None),
            ("model.onnx", None),
            ("flax_model.msgpack", None),
            ("model.safetensors.json", None),
            ("other.safetensors", None),
            ("model.a.b.safetensors", None),
            ("openvino_model.bin", None),
            ("model", None),
        ];
        for (name, expected) in names {
            assert_eq!(weights_name(name), expected, "{name}");
        }
    }

    #[test]
    fn single_files() {
        assert_eq!(chosen(&["README.md", "a.ckpt", "a.safetensors"], &[], None).unwrap(), ["a.safetensors"]);
        assert_eq!(chosen(&["a.ckpt", "x.bin"], &[], None).unwrap(), ["a.ckpt"]);
        let error = chosen(&["a.ckpt", "b.safetensors"], &[], None).unwrap_err();
        assert_eq!(error, "o/n: several models in one place: choose with --include one of b.safetensors, a.ckpt");
        assert!(chosen(&["x.txt"], &[], None).unwrap_err().contains("no model of Stable Diffusion"));
        assert!(chosen(&[], &[], None).unwrap_err().ends_with("but no files at all"));
        let vae =
            ["config.json", "diffusion_pytorch_model.bin", "diffusion_pytorch_model.safetensors", "extra.safetensors"];
        assert_eq!(chosen(&vae, &[], None).unwrap(), ["config.json", "diffusion_pytorch_model.safetensors"]);
    }

    #[test]
    fn included_by_pattern() {
        assert_eq!(chosen(&SD15, &["v1-5-pruned.safetensors"], None).unwrap(), ["v1-5-pruned.safetensors"]);
        assert_eq!(chosen(&SD15, &["vae/", "*.yaml"], None).unwrap().len(), 4);
        let error = chosen(&SD15, &["vae/", "x*"], None).unwrap_err();
        assert!(
            error.starts_with("--include x*: o/n has no such file, but .gitattributes, ")
                && error.ends_with("and 22 more"),
            "{error}"
        );
    }

    #[test]
    fn a_path_out_of_the_folder_is_refused_if_it_is_asked_for() {
        for path in ["../../.bashrc", "/etc/passwd", "a\\..\\b", "con", "a\u{1b}b"] {
            assert!(chosen(&[path, "a.safetensors"], &[], None).is_ok());
            let error = chosen(&[path], &["*"], None).unwrap_err();
            assert!(error.starts_with("o/n: the file ") && error.lines().count() == 1, "{error}");
        }
    }
}
