//! What a checkpoint in one file has beside the networks.

use std::collections::HashSet;

use calotype_formats::Checkpoint;
use calotype_models::{AuxiliaryKind, Stored, unwrapped_name};

use crate::{Model, Result, error::brief};

/// The tensors of a model that no network computes with.
pub(super) struct Auxiliary<'a> {
    /// The text encoder's: its file, the name there, and the name to write.
    pub(super) text: Vec<(&'a Checkpoint, &'a str, String)>,
    /// The buffers of the noise.
    pub(super) schedule: Vec<(&'a Checkpoint, &'a str)>,
    /// Marks of what the model is.
    marks: Vec<(&'a Checkpoint, &'a str)>,
    /// All else, but for the moving average and the raw weights beside it, and the optimiser.
    other: Vec<&'a str>,
}

impl<'a> Auxiliary<'a> {
    /// That of a model; nothing of a diffusers folder.
    pub(super) fn of(model: &'a Model) -> Result<Self> {
        let mut rest = Self { text: Vec::new(), schedule: Vec::new(), marks: Vec::new(), other: Vec::new() };
        let (unet, text) = (&model.unet.weights, &model.text_encoder.weights);
        let stored = [model.text_encoder.stored()?, model.unet.stored()?, model.vae.stored()?];
        let used: HashSet<&str> = stored.iter().flat_map(Stored::keys).collect();
        for tensor in text.tensors().filter(|tensor| !used.contains(tensor.name.as_str())) {
            if AuxiliaryKind::of(&tensor.name) == AuxiliaryKind::Text {
                // As the layout writes it, whatever the age of the file.
                let name = unwrapped_name(&tensor.name);
                let key = name.replace(".transformer.embeddings.", ".transformer.text_model.embeddings.");
                rest.text.push((text, &tensor.name, key));
            }
        }
        for tensor in unet.tensors().filter(|tensor| !used.contains(tensor.name.as_str())) {
            let name = tensor.name.as_str();
            match AuxiliaryKind::of(name) {
                AuxiliaryKind::Schedule => rest.schedule.push((unet, name)),
                AuxiliaryKind::Mark => rest.marks.push((unet, name)),
                AuxiliaryKind::Other if !model.is_replaced(name) => rest.other.push(name),
                AuxiliaryKind::Text | AuxiliaryKind::Ema | AuxiliaryKind::Optimizer | AuxiliaryKind::Other => {}
            }
        }
        Ok(rest)
    }

    /// The text encoder's and the marks, as a checkpoint in one file has them.
    pub(super) fn kept(&self) -> impl Iterator<Item = (&'a Checkpoint, &'a str, String)> {
        let marks = self.marks.iter().map(|(file, name)| (*file, *name, unwrapped_name(name).to_owned()));
        self.text.iter().cloned().chain(marks)
    }

    /// Lines that say what was left out: what no layout has a place for, and, with `text`, what only one has.
    pub(super) fn left_out(&self, text: bool) -> Vec<String> {
        let text: Vec<&str> = self.text.iter().filter(|_| text).map(|(_, name, _)| *name).collect();
        let line = |names: &[&str], what: &str| {
            const NAMED: usize = 5;
            let shown: Vec<String> = names.iter().take(NAMED).map(|name| brief(name)).collect();
            let more = names.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{} tensors {what}: {}{more}", names.len(), shown.join(", "))
        };
        [
            (text, "of the text encoder, which pictures are made without and a diffusers folder has no place for"),
            (self.other.clone(), "that belong to no network"),
        ]
        .iter()
        .filter(|(names, _)| !names.is_empty())
        .map(|(names, what)| line(names, what))
        .collect()
    }
}
