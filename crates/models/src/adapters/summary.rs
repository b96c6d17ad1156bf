//! What an adapter's file has, told without a model.

use std::collections::BTreeMap;

use calotype_formats::{Checkpoint, TensorInfo};

use super::{
    AdapterWeights, Algorithm, bundled,
    peft::PeftConfig,
    recipe::{MAX_RANK, Parts, finite},
};
use crate::{
    Component, Family, LayerKind, family,
    names::{
        adapter::{self as names, Part},
        layer,
    },
};

/// What a file of LoRA or LyCORIS has, by its keys and shapes alone, whatever model it is for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdapterSummary {
    /// How changes are kept, and of how many modules.
    pub algorithms: BTreeMap<Algorithm, usize>,
    /// The ranks of its products, and of how many modules.
    pub ranks: BTreeMap<usize, usize>,
    /// Alphas, the least first, and of how many modules. A module without one has the scale 1.
    pub alphas: Vec<(f32, usize)>,
    /// Whether it has DoRA's lengths.
    pub dora: bool,
    /// How many layers of each kind it changes.
    pub layers: BTreeMap<(Component, LayerKind), usize>,
    /// The width of the contexts that its layers read, if one does.
    pub context_width: Option<usize>,
    /// The width of the text encoder that its layers are of, if one is.
    pub text_width: Option<usize>,
    /// The family of models it is for, if that can be told.
    pub family: Option<&'static str>,
    /// The names of embeddings in it (A1111's `bundle_emb`).
    pub embeddings: Vec<String>,
    /// How many tensors belong to no module of a known kind.
    pub unknown: usize,
    /// The first of these.
    pub first_unknown: Option<String>,
}

impl AdapterSummary {
    /// Looks at the keys and shapes of the file, and reads its alphas. What is damaged is passed over:
    /// [`Adapter::new`](super::Adapter::new) says it.
    #[must_use]
    pub fn of(AdapterWeights { file, peft }: &AdapterWeights) -> Self {
        let mut summary = Self { embeddings: bundled::names(file), ..Self::default() };
        let mut modules: BTreeMap<&str, Parts> = BTreeMap::new();
        for tensor in file.tensors().filter(|tensor| names::is_change(&tensor.name)) {
            match names::split(&tensor.name) {
                Some((module, part)) => {
                    modules.entry(module).or_default().insert(part, tensor.name.clone());
                }
                None => summary.pass_over(&tensor.name),
            }
        }
        let peft = peft.clone().or(PeftConfig::of(file).unwrap_or_default());
        for (module, parts) in &modules {
            summary.add(file, module, parts, &peft);
        }
        summary.alphas.sort_by(|a, b| a.0.total_cmp(&b.0));
        summary.family = summary.told_family(&modules);
        summary
    }

    fn pass_over(&mut self, key: &str) {
        self.unknown += 1;
        self.first_unknown.get_or_insert_with(|| key.to_owned());
    }

    fn add(&mut self, file: &Checkpoint, module: &str, parts: &Parts, peft: &PeftConfig) {
        let of = Shapes { file, parts };
        let (Some(algorithm), Some(place)) = (of.algorithm(), layer::layer(&names::modern(module))) else {
            parts.values().for_each(|key| self.pass_over(key));
            return;
        };
        *self.algorithms.entry(algorithm).or_insert(0) += 1;
        *self.layers.entry(place).or_insert(0) += 1;
        self.dora |= parts.contains_key(&Part::DoraScale) || parts.contains_key(&Part::Magnitude);
        if let Some(rank) = of.rank(algorithm).filter(|rank| (1..=MAX_RANK).contains(rank)) {
            *self.ranks.entry(rank).or_insert(0) += 1;
        }
        let own = parts.get(&Part::Alpha).and_then(|key| {
            let single = file.get(key)?.element_count() == 1;
            if single { finite(file, key).ok()?.first().copied() } else { None }
        });
        if let Some(alpha) = own.or_else(|| peft.alpha(place.0, module)) {
            match self.alphas.iter_mut().find(|(known, _)| *known == alpha) {
                Some((_, count)) => *count += 1,
                None => self.alphas.push((alpha, 1)),
            }
        }
        let inputs = || of.inputs(algorithm).filter(|&width| width > 0);
        match place.0 {
            Component::UNet if self.context_width.is_none() && layer::reads_context(module) => {
                self.context_width = inputs();
            }
            Component::TextEncoder if self.text_width.is_none() && layer::reads_hidden_states(module) => {
                self.text_width = inputs();
            }
            _ => {}
        }
    }

    fn told_family(&self, modules: &BTreeMap<&str, Parts>) -> Option<&'static str> {
        if self.layers.keys().any(|(network, _)| *network == Component::TextEncoder2) {
            return Some(family::XL);
        }
        let (refiner_width, refiner) = family::XL_REFINER;
        let by_width = || match self.context_width {
            Some(width) if width == refiner_width => Some(refiner),
            width => Family::name_of_width(width.or(self.text_width)?),
        };
        modules.keys().find_map(|module| layer::other_family(module)).or_else(by_width)
    }
}

/// The tensors of a module.
struct Shapes<'a> {
    file: &'a Checkpoint,
    parts: &'a Parts,
}

impl Shapes<'_> {
    fn get(&self, part: Part) -> Option<&TensorInfo> {
        self.file.get(self.parts.get(&part)?)
    }

    fn extent(&self, part: Part, n: usize) -> Option<usize> {
        self.get(part)?.shape.get(n).copied()
    }

    fn algorithm(&self) -> Option<Algorithm> {
        let has = |part: Part| self.parts.contains_key(&part);
        Some(match () {
            () if has(Part::LoraUp) && has(Part::LoraDown) => Algorithm::Lora,
            () if has(Part::HadaW1A) => Algorithm::LoHa,
            () if has(Part::LokrW1) || has(Part::LokrW1A) => Algorithm::LoKr,
            () if has(Part::Diff) || has(Part::DiffB) => Algorithm::Full,
            () if has(Part::WNorm) || has(Part::BNorm) => Algorithm::Norm,
            () if has(Part::Ia3) && has(Part::OnInput) => Algorithm::Ia3,
            () => return None,
        })
    }

    fn rank(&self, algorithm: Algorithm) -> Option<usize> {
        let first = |parts: &[Part]| parts.iter().find_map(|&part| self.extent(part, 0));
        match algorithm {
            Algorithm::Lora => first(&[Part::LoraMid, Part::LoraDown]),
            Algorithm::LoHa => first(&[Part::HadaT1, Part::HadaW1B]),
            Algorithm::LoKr => first(&[Part::LokrT2, Part::LokrW2B, Part::LokrW1B]),
            Algorithm::Full | Algorithm::Norm | Algorithm::Ia3 => None,
        }
    }

    /// The width of what the layer reads. (Never asked of a convolution.)
    fn inputs(&self, algorithm: Algorithm) -> Option<usize> {
        match algorithm {
            Algorithm::Lora => self.extent(Part::LoraDown, 1),
            Algorithm::LoHa => self.extent(Part::HadaW1B, 1),
            Algorithm::LoKr => {
                let first = self.extent(Part::LokrW1, 1).or_else(|| self.extent(Part::LokrW1B, 1))?;
                let second = self.extent(Part::LokrW2, 1).or_else(|| self.extent(Part::LokrW2B, 1))?;
                first.checked_mul(second)
            }
            Algorithm::Full => self.extent(Part::Diff, 1),
            Algorithm::Ia3 => {
                let [on_input, factors] = [self.get(Part::OnInput)?, self.get(Part::Ia3)?];
                let is_input = finite(self.file, &on_input.name).ok()?.first().is_some_and(|&x| x != 0.0);
                is_input.then(|| factors.element_count())
            }
            Algorithm::Norm => None,
        }
    }
}

/// The id of the network that an adapter's key is for, if that can be told: see [`Component::id`].
#[must_use]
pub fn network_of(key: &str) -> Option<&'static str> {
    let (module, _) = names::split(key)?;
    Some(layer::layer(&names::modern(module))?.0.id())
}
