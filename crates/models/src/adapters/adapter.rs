use std::collections::{BTreeMap, BTreeSet, HashMap};

use calotype_formats::Checkpoint;

use super::{
    AdapterWeights, Algorithm, Embedding, bundled,
    peft::PeftConfig,
    recipe::{Extents, Parts, Recipe, Site},
};
use crate::{
    Component, Error, ParamSpec, Result,
    error::quote,
    names::adapter::{self as names, Part},
};

/// A file of LoRA or LyCORIS, matched with the networks that it is for. Its data is on disk.
pub struct Adapter {
    pub(super) file: Checkpoint,
    /// What is done to parameters, by network and checkpoint path.
    pub(super) recipes: HashMap<(Component, String), Recipe>,
    matched: Matched,
    embeddings: Vec<(String, Embedding)>,
}

/// What of an adapter a model has a place for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matched {
    /// Modules of the UNet that it changes.
    pub unet: usize,
    /// Modules of the text encoder that it changes.
    pub text_encoder: usize,
    /// Keys that belong to no module of either, sorted.
    pub unused: Vec<String>,
    /// How changes are kept.
    pub algorithms: BTreeSet<Algorithm>,
    /// The ranks of its products, and of how many modules.
    pub ranks: BTreeMap<usize, usize>,
    /// Whether it has DoRA's lengths.
    pub dora: bool,
}

/// A module of a network: the places of its weight and bias.
#[derive(Clone, Copy)]
struct Module<'a> {
    component: Component,
    path: &'a str,
    weight: Option<&'a ParamSpec>,
    bias: Option<&'a ParamSpec>,
}

impl Adapter {
    /// Matches `weights` with a UNet and a text encoder, given as their parameters
    /// ([`ModelConfig::specs`](crate::ModelConfig::specs)). Reads scales, and no other data.
    ///
    /// # Errors
    /// It has a kind of change that is not supported; or not one key is for a module of these networks; or what is for one is misshapen, not whole, or no finite number. The
    /// message names the key, and how many there are.
    pub fn new(weights: impl Into<AdapterWeights>, unet: &[ParamSpec], text_encoder: &[ParamSpec]) -> Result<Self> {
        let AdapterWeights { file, peft } = weights.into();
        check_supported(&file)?;
        let modules = [modules(Component::UNet, unet), modules(Component::TextEncoder, text_encoder)].concat();
        let levels = names::levels(unet.iter().map(|spec| spec.name.as_str()));
        let mut by_key = HashMap::new();
        for module in &modules {
            for key in names::modules(module.component, module.path, &levels) {
                by_key.entry(key).or_insert(*module);
            }
        }
        let (embeddings, unused) = bundled::read(&file)?;
        let mut matched = Matched { unused, ..Matched::default() };
        let mut parts: BTreeMap<String, (Module<'_>, Parts)> = BTreeMap::new();
        for tensor in file.tensors().filter(|tensor| names::is_change(&tensor.name)) {
            let found = names::split(&tensor.name).and_then(|(key, part)| {
                Some((key, part, by_key.get(key).or_else(|| by_key.get(&names::modern(key)))?))
            });
            match found {
                Some((key, part, module)) => {
                    let (_, parts) = parts.entry(key.to_owned()).or_insert_with(|| (*module, Parts::new()));
                    parts.insert(part, tensor.name.clone());
                }
                None => matched.unused.push(tensor.name.clone()),
            }
        }
        let peft = peft.or(PeftConfig::of(&file)?);
        let mut adapter = Self { file, recipes: HashMap::new(), matched, embeddings };
        for (key, (module, parts)) in parts {
            adapter.add(&key, module, &parts, &peft)?;
        }
        adapter.check_any()?;
        Ok(adapter)
    }

    /// What of it the networks have a place for.
    #[must_use]
    pub fn matched(&self) -> &Matched {
        &self.matched
    }

    /// The embeddings in the file, by the names that prompts call them (A1111's `bundle_emb`).
    #[must_use]
    pub fn embeddings(&self) -> &[(String, Embedding)] {
        &self.embeddings
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Checkpoint {
        &self.file
    }

    fn add(&mut self, key: &str, module: Module<'_>, parts: &Parts, peft: &PeftConfig) -> Result<()> {
        let site = |spec: &ParamSpec| Site { file: &self.file, module: key, parts, extents: Extents::of(&spec.shape) };
        let weight = module.weight.map(|spec| Ok::<_, Error>((spec, Recipe::of_weight(&site(spec))?))).transpose()?;
        let bias = module.bias.map(|spec| Ok::<_, Error>((spec, Recipe::of_bias(&site(spec))?))).transpose()?;
        let used = |recipe: &Option<(&ParamSpec, Option<Recipe>)>| matches!(recipe, Some((_, Some(_))));
        if !used(&weight) && !used(&bias) {
            self.matched.unused.extend(parts.values().cloned());
            return Ok(());
        }
        // A layer without bias has no place for the change of one.
        if !used(&bias) {
            let lost = [Part::DiffB, Part::BNorm].iter().filter_map(|part| parts.get(part));
            self.matched.unused.extend(lost.cloned());
        }
        match module.component {
            Component::TextEncoder | Component::TextEncoder2 => self.matched.text_encoder += 1,
            Component::UNet | Component::Vae => self.matched.unet += 1,
        }
        for (spec, recipe) in [weight, bias].into_iter().flatten() {
            let Some(mut recipe) = recipe else { continue };
            self.matched.algorithms.insert(recipe.algorithm);
            self.matched.dora |= recipe.lengths.is_some();
            let rank = recipe.rank();
            if let Some(rank) = rank {
                *self.matched.ranks.entry(rank).or_insert(0) += 1;
            }
            let scaled = matches!(recipe.algorithm, Algorithm::Lora | Algorithm::LoHa | Algorithm::LoKr);
            if scaled && !parts.contains_key(&Part::Alpha) {
                recipe.scale *= peft.scale(module.component, module.path, rank);
            }
            let place = (module.component, spec.name.clone());
            if self.recipes.insert(place, recipe).is_some() {
                let problem = format!("{} is changed under two names: the adapter is damaged", spec.name);
                return Err(Error::Adapter { source_label: self.file.label().to_owned(), problem });
            }
        }
        Ok(())
    }

    fn check_any(&mut self) -> Result<()> {
        self.matched.unused.sort_unstable();
        if !self.recipes.is_empty() || !self.embeddings.is_empty() {
            return Ok(());
        }
        let count = self.file.tensors().len();
        let problem = match self.matched.unused.first() {
            Some(first) => format!(
                "not one of its {count} tensors is for a layer of this model (the first is {}): use an adapter of \
                 a model of this family",
                quote(first)
            ),
            None => "it has no tensors: download it again".to_owned(),
        };
        Err(Error::Adapter { source_label: self.file.label().to_owned(), problem })
    }
}

/// Refuses a file with changes that are not made here: without them the adapter would be another.
fn check_supported(file: &Checkpoint) -> Result<()> {
    let found = file.tensors().find_map(|tensor| Some((&tensor.name, names::unsupported(&tensor.name)?)));
    let Some((key, kind)) = found else { return Ok(()) };
    let problem = format!(
        "it has {kind} ({}), which is not supported: merge it into its model where it was trained, and use that",
        quote(key)
    );
    Err(Error::Adapter { source_label: file.label().to_owned(), problem })
}

/// The modules that parameters are of.
fn modules(component: Component, specs: &[ParamSpec]) -> Vec<Module<'_>> {
    let mut places = HashMap::new();
    let mut modules: Vec<Module<'_>> = Vec::new();
    for spec in specs {
        let Some((path, last)) = spec.name.rsplit_once('.') else { continue };
        let place = *places.entry(path).or_insert_with(|| {
            modules.push(Module { component, path, weight: None, bias: None });
            modules.len() - 1
        });
        if let Some(module) = modules.get_mut(place) {
            match last {
                "weight" => module.weight = Some(spec),
                "bias" => module.bias = Some(spec),
                _ => {}
            }
        }
    }
    modules
}
