//! The adapters of one run, open.

use std::{collections::HashSet, sync::Arc};

use calotype_models::{
    ClipTextEncoder, Component, ModelConfig, UNet,
    adapters::{Adapted, Adapter, Applied, Embedding, Hypernetwork, WithEmbeddings},
};
use calotype_tensor::Backend;
use calotype_text::EmbeddingNames;

use super::{
    AdapterOptions,
    library::{COMFYUI_PREFIX, Library, Opened, Skipped},
};
use crate::{Model, Plan, Result, Warning};

/// What a network in memory was read with: another has to be read for another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Key(Vec<String>);

#[cfg(test)]
impl Key {
    pub(crate) fn of_text(text: &str) -> Self {
        Self(vec![text.to_owned()])
    }
}

/// An adapter in use.
pub(super) struct AppliedAdapter<T, O> {
    pub(super) opened: Arc<Opened<T>>,
    /// How it is applied.
    pub(super) options: O,
    /// Whether the prompt called for it.
    pub(super) in_prompt: bool,
}

/// An embedding that texts may name.
struct NamedEmbedding {
    vectors: Vectors,
    /// The id of its first vector.
    first: u32,
    /// Whether a prompt named it.
    is_named: bool,
}

/// Where an embedding is.
enum Vectors {
    /// In a file of its own, and what texts may call it beside the file's names.
    File(Arc<Opened<Embedding>>, Option<String>),
    /// The `n`th of a LoRA's, which is in use.
    Bundled(Arc<Adapter>, usize),
}

impl Vectors {
    fn embedding(&self) -> Option<&Embedding> {
        match self {
            Self::File(opened, _) => Some(&opened.adapter),
            Self::Bundled(adapter, n) => adapter.embeddings().get(*n).map(|(_, embedding)| embedding),
        }
    }
}

/// The adapters of one run.
#[derive(Default)]
pub(crate) struct LoadedAdapters {
    pub(super) loras: Vec<AppliedAdapter<Adapter, Applied>>,
    pub(super) hypernetworks: Vec<AppliedAdapter<Hypernetwork, f32>>,
    /// Those that texts may name.
    embeddings: Vec<NamedEmbedding>,
    /// The names of the embeddings, and the ids of their vectors.
    pub(crate) names: EmbeddingNames,
}

impl LoadedAdapters {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.loras.is_empty() && self.hypernetworks.is_empty() && self.embeddings.is_empty()
    }

    /// Opens what the request of a plan asks for and its prompt calls for. Also gives what the caller should know.
    ///
    /// # Errors
    /// A name is unknown, or a file can't be used with the model.
    pub(crate) fn open(model: &Model, plan: &Plan, library: &mut Library) -> Result<(Self, Vec<Warning>)> {
        let (request, tags) = (plan.request(), plan.tags());
        let AdapterOptions { loras, hypernetworks, embeddings, folders } = &request.adapters;
        let unused = tags.unused.iter().map(|what| Warning::UnusedArgument { what: what.clone() });
        let mut warnings: Vec<Warning> = unused.collect();
        let mut loaded = Self::default();
        let places = |given: usize, called: usize| [vec![false; given], vec![true; called]].concat();
        let in_prompt = places(loras.len(), tags.loras.len());
        for (options, in_prompt) in loras.iter().chain(&tags.loras).zip(in_prompt) {
            let opened = library.lora(model, &options.file, folders)?;
            let unused = opened.adapter.matched().unused.len();
            if unused > 0 {
                let (file, first) = (opened.name(), opened.adapter.matched().unused.first().cloned());
                let total = opened.adapter.file().tensors().len();
                warnings.push(Warning::Unused { file, unused, total, first: first.unwrap_or_default() });
            }
            let applied = Applied {
                adapter: Arc::clone(&opened.adapter),
                unet: options.unet,
                text_encoder: options.text_encoder,
                ranks: options.ranks,
            };
            loaded.loras.push(AppliedAdapter { opened, options: applied, in_prompt });
        }
        let in_prompt = places(hypernetworks.len(), tags.hypernetworks.len());
        for (options, in_prompt) in hypernetworks.iter().chain(&tags.hypernetworks).zip(in_prompt) {
            let opened = library.hypernetwork(&options.file, folders)?;
            loaded.hypernetworks.push(AppliedAdapter { opened, options: options.strength, in_prompt });
        }
        let mut skipped = Vec::new();
        let mut taken = HashSet::new();
        for found in library.embeddings(model, embeddings, folders, &mut skipped)? {
            for name in &found.names {
                match loaded.names.insert(model.tokenizer(), name, loaded.next_id(model), found.opened.adapter.count())
                {
                    Ok(()) => {
                        taken.insert(name.clone());
                    }
                    // Of a name that the caller chose it is an error, of one in a folder it is not.
                    Err(error) if embeddings.iter().any(|asked| asked.file == found.opened.path) => {
                        return Err(error.into());
                    }
                    Err(error) => skipped.push(Skipped { name: name.clone(), reason: error.to_string() }),
                }
            }
            loaded.push(model, Vectors::File(found.opened, found.given));
        }
        loaded.bundled(model, &taken, &mut skipped);
        let texts = [&tags.prompt, &request.negative_prompt];
        for text in texts {
            let ids = loaded.names.encode_raw(model.tokenizer(), text);
            for named in &mut loaded.embeddings {
                named.is_named |= ids.contains(&named.first);
            }
        }
        // What is wrong with one that no text names is nobody's concern.
        let tokens = |text: &str| model.tokenizer().encode_raw(text);
        let texts = texts.map(|text| (text, tokens(text)));
        for Skipped { name, reason } in &skipped {
            let name = tokens(name);
            if texts.iter().any(|(_, text)| !name.is_empty() && text.windows(name.len()).any(|part| part == name)) {
                warnings.push(Warning::SkippedEmbedding(reason.clone()));
            }
        }
        for name in texts.iter().flat_map(|(text, _)| called_as_in_comfyui(text)) {
            let is_known = taken.iter().any(|known| known.eq_ignore_ascii_case(&format!("{COMFYUI_PREFIX}{name}")));
            let is_skipped = skipped.iter().any(|skipped| skipped.name.eq_ignore_ascii_case(name));
            let warning = Warning::NoEmbedding { name: name.to_owned() };
            if !(is_known || is_skipped || warnings.contains(&warning)) {
                warnings.push(warning);
            }
        }
        Ok((loaded, warnings))
    }

    /// The id that the next embedding's first vector has.
    fn next_id(&self, model: &Model) -> u32 {
        let last = self.embeddings.last();
        last.map_or(model.text_config().vocab_size as u32, |named| {
            named.first.saturating_add(named.vectors.embedding().map_or(0, Embedding::count) as u32)
        })
    }

    fn push(&mut self, model: &Model, vectors: Vectors) {
        self.embeddings.push(NamedEmbedding { first: self.next_id(model), vectors, is_named: false });
    }

    /// The embeddings in the LoRAs. As in A1111, one whose name a file has, or an earlier LoRA, is passed over.
    fn bundled(&mut self, model: &Model, taken: &HashSet<String>, skipped: &mut Vec<Skipped>) {
        let mut taken = taken.clone();
        let adapters: Vec<Arc<Adapter>> = self.loras.iter().map(|used| Arc::clone(&used.opened.adapter)).collect();
        for adapter in adapters {
            for (n, (name, embedding)) in adapter.embeddings().iter().enumerate() {
                if taken.contains(name) {
                    continue;
                }
                let id = self.next_id(model);
                let fits = embedding.check(model.text_config()).map_err(|error| error.to_string());
                let named = fits.and_then(|()| {
                    let inserted = self.names.insert(model.tokenizer(), name, id, embedding.count());
                    inserted.map_err(|error| error.to_string())
                });
                match named {
                    Ok(()) => {
                        taken.insert(name.clone());
                        self.push(model, Vectors::Bundled(Arc::clone(&adapter), n));
                    }
                    Err(reason) => skipped.push(Skipped { name: name.clone(), reason }),
                }
            }
        }
    }

    /// What the UNet is read with.
    pub(crate) fn unet_key(&self) -> Key {
        let key = |used: &AppliedAdapter<_, Applied>| key(&used.opened.path, used.options.unet, used.options.ranks);
        Key(self.loras.iter().map(key).collect())
    }

    /// What the text encoder is read with.
    pub(crate) fn text_key(&self) -> Key {
        let lora =
            |used: &AppliedAdapter<_, Applied>| key(&used.opened.path, used.options.text_encoder, used.options.ranks);
        let embedding = |named: &NamedEmbedding| match &named.vectors {
            Vectors::File(opened, _) => key(&opened.path, 1.0, None),
            Vectors::Bundled(adapter, n) => format!("{} embedding {n}", adapter.file().label()),
        };
        Key(self.loras.iter().map(lora).chain(self.embeddings.iter().map(embedding)).collect())
    }

    /// Reads the UNet. Hypernetworks are not in it: see [`Self::set_hypernetworks`].
    pub(crate) fn load_unet<B: Backend>(&self, model: &Model, b: &B) -> Result<UNet<B::Param>> {
        let applied = self.applied();
        let mut stored = model.unet().stored()?;
        Ok(model.unet_config().init(b, &mut Adapted::new(&mut stored, Component::UNet, &applied, b.threads()))?)
    }

    /// Reads the text encoder, its table with the vectors of the embeddings.
    pub(crate) fn load_text_encoder<B: Backend>(&self, model: &Model, b: &B) -> Result<ClipTextEncoder<B::Param>> {
        let applied = self.applied();
        let mut stored = model.text_encoder().stored()?;
        let mut adapted = Adapted::new(&mut stored, Component::TextEncoder, &applied, b.threads());
        let mut config = model.text_config().clone();
        let embeddings = self.embeddings.iter().filter_map(|named| named.vectors.embedding());
        config.vocab_size += embeddings.clone().map(Embedding::count).sum::<usize>();
        Ok(config.init(b, &mut WithEmbeddings::new(&mut adapted, embeddings))?)
    }

    /// Lets the hypernetworks change the contexts of a UNet, which may have been read before.
    pub(crate) fn set_hypernetworks<B: Backend>(&self, b: &B, unet: &mut UNet<B::Param>) -> Result<()> {
        let loaded: Vec<_> = self
            .hypernetworks
            .iter()
            .map(|used| used.opened.adapter.load(b, used.options))
            .collect::<Result<_, _>>()?;
        unet.set_hypernetworks(&loaded);
        Ok(())
    }

    /// The embeddings that a text of the run names and that have a file of their own, and what texts were to call each.
    pub(super) fn named_embeddings(&self) -> impl Iterator<Item = (&Opened<Embedding>, Option<&String>)> {
        self.embeddings.iter().filter_map(|named| match &named.vectors {
            Vectors::File(opened, given) if named.is_named => Some((&**opened, given.as_ref())),
            _ => None,
        })
    }

    fn applied(&self) -> Vec<Applied> {
        self.loras.iter().map(|used| used.options.clone()).collect()
    }
}

/// The names in `embedding:name`, as ComfyUI writes them.
fn called_as_in_comfyui(text: &str) -> impl Iterator<Item = &str> {
    let ends = |c: char| c.is_whitespace() || ",()[]<>:|".contains(c);
    text.match_indices(COMFYUI_PREFIX)
        .map(move |(at, prefix)| text[at + prefix.len()..].split(ends).next().unwrap_or_default())
        .filter(|name| !name.is_empty())
}

fn key(path: &std::path::Path, strength: f32, ranks: Option<usize>) -> String {
    format!("{} {:08x} {ranks:?}", path.display(), strength.to_bits())
}
