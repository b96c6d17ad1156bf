//! What a config leaves out, taken from the model that the run starts from, and from what other tools have by default.

use std::path::{Path, PathBuf};

use calotype_models::{PerBlock, VaeConfig};
use serde::Serialize;
use toml::{Table, Value};

use crate::{
    Error, Result, RunKind,
    config::is_built_in,
    start::{Start, autoencoder_sizes, open_vae},
};

/// Pictures in a step, which diffusers' guide has for fine-tuning, and up to which side they go through the network at once.
const PICTURES: i64 = 4;
const AT_ONCE: i64 = 128;
/// kohya's `max_train_steps`.
const STEPS: i64 = 1600;
/// The learning rate of diffusers' guide to fine-tuning.
const LEARNING_RATE: f64 = 1e-5;
/// That of kohya's and diffusers' guides to LoRA.
const LORA_LEARNING_RATE: f64 = 1e-4;

/// Puts into the config of a run of this kind, which starts from the model `from`, what it leaves out. Gives what was put there.
pub(crate) fn complete(kind: RunKind, table: &mut Table, from: &str, folder: &Path) -> Result<Vec<String>> {
    let path = if is_built_in(Path::new(from)) { PathBuf::from(from) } else { folder.join(from) };
    let mut filled = Filled { table, told: Vec::new() };
    let side = match kind {
        RunKind::Autoencoder => filled.autoencoder(&path)?,
        RunKind::Diffusion | RunKind::Lora => filled.diffusion(&path, from)?,
    };
    if let Some(side) = side {
        filled.put(&["data"], "size", side as i64);
    }
    filled.training(kind);
    Ok(filled.told)
}

/// A config on its way to be whole.
struct Filled<'a> {
    table: &'a mut Table,
    told: Vec<String>,
}

impl Filled<'_> {
    /// The table of this path, made where there is none; none where something else is there, which is refused later.
    fn at(&mut self, path: &[&str]) -> Option<&mut Table> {
        let mut table = &mut *self.table;
        for name in path {
            table = table.entry(*name).or_insert_with(|| Table::new().into()).as_table_mut()?;
        }
        Some(table)
    }

    fn put(&mut self, path: &[&str], key: &str, value: impl Into<Value>) {
        let Some(table) = self.at(path).filter(|table| !table.contains_key(key)) else { return };
        let value = value.into();
        let said = format!("{}.{key} = {value}", path.join("."));
        table.insert(key.to_owned(), value);
        self.told.push(said);
    }

    /// The values of a struct, those of inner structs in their tables.
    fn put_all(&mut self, path: &[&str], values: &impl Serialize) -> Result<()> {
        let values = Table::try_from(values).map_err(|error| Error::config(Path::new("[model]"), error.to_string()))?;
        for (key, value) in values {
            match value {
                Value::Table(inner) => self.put_all(&[path, &[key.as_str()]].concat(), &inner)?,
                value => self.put(path, &key, value),
            }
        }
        Ok(())
    }

    fn autoencoder(&mut self, path: &Path) -> Result<Option<usize>> {
        let own = open_vae(path)?;
        self.put_all(&["model"], &autoencoder_sizes(own.config()))?;
        Ok(side(own.config()))
    }

    fn diffusion(&mut self, path: &Path, from: &str) -> Result<Option<usize>> {
        let start = Start::open(Some(path))?;
        if let Some(mut sizes) = start.sizes() {
            sizes.autoencoder = PathBuf::from(from);
            // Of a start in parts the autoencoder may be elsewhere, and has to be given.
            let has_own = start.vae().is_some();
            let mut values = Table::try_from(&sizes).map_err(|e| Error::config(Path::new("[model]"), e.to_string()))?;
            if !has_own {
                values.remove("autoencoder");
            }
            self.put_all(&["model"], &values)?;
        }
        Ok(match &start {
            // A square, of what is no square.
            Start::Whole(model) => Some(model.default_size().0.min(model.default_size().1)),
            _ => None,
        })
    }

    /// How to train, as people of other tools do who fine-tune.
    fn training(&mut self, kind: RunKind) {
        let train = ["train"];
        let side = self.at(&["data"]).and_then(|data| data.get("size")?.as_integer()).unwrap_or(i64::MAX);
        let has = |filled: &mut Self, key| filled.at(&train).is_some_and(|table| table.contains_key(key));
        if !has(self, "batch_size") {
            let at_once = if side <= AT_ONCE { PICTURES } else { 1 };
            self.put(&train, "batch_size", at_once);
            self.put(&train, "gradient_accumulation", PICTURES / at_once);
        }
        self.put(&train, "steps", STEPS);
        if kind == RunKind::Lora {
            self.put(&train, "learning_rate", LORA_LEARNING_RATE);
            self.put(&train, "decay", "constant");
            self.put(&train, "ema_decay", 0.0);
        } else if !has(self, "learning_rate") {
            self.put(&train, "learning_rate", LEARNING_RATE);
            self.put(&train, "decay", "constant");
        }
    }
}

/// The side of the pictures that an autoencoder was trained on.
fn side(vae: &VaeConfig) -> Option<usize> {
    vae.sample_size.as_ref().map(|size: &PerBlock| size.get(0)).filter(|side| *side > 0)
}
