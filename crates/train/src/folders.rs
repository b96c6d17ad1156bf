//! A diffusers folder: where its parts are, and the files that are not weights.

use std::{fs, path::Path};

use calotype_checkpoint::VOCABULARY;
use calotype_diffusion::NoiseSchedule;
use calotype_models::ModelConfig;
use serde_json::{Value, json};

use crate::{Error, Result, metrics::write_file};

/// Stable Diffusion v1's noise: `scaled_linear` over so many timesteps.
const NUM_TRAIN_TIMESTEPS: usize = 1000;
const BETA_START: f64 = 0.00085;
const BETA_END: f64 = 0.012;

pub(crate) fn noise_schedule() -> Result<NoiseSchedule> {
    Ok(NoiseSchedule::scaled_linear(BETA_START, BETA_END, NUM_TRAIN_TIMESTEPS)?)
}

/// The `config.json` of a network.
pub(crate) fn network_config<C: ModelConfig>(config: &C) -> Result<Value> {
    let mut value: Value = serde_json::from_str(&config.to_json())
        .map_err(|e| Error::run(Path::new(C::COMPONENT.id()), format!("the config can't be written: {e}")))?;
    if C::COMPONENT.is_of_transformers() {
        value["architectures"] = json!(["CLIPTextModel"]);
        // Else transformers computes in the dtype of the file, and diffusers, which does not, can't go on from there.
        value["torch_dtype"] = json!("float32");
    }
    Ok(value)
}

/// Gives a model the words that a folder of captions says it is made of, if it does.
pub(crate) fn copy_vocabulary(data: &Path, model: &Path) -> Result<()> {
    /// Some megabytes are more words than any language has.
    const LONGEST: u64 = 16 << 20;
    let from = data.join(VOCABULARY);
    if !from.exists() {
        return Ok(());
    }
    let text = calotype_files::read(&from, LONGEST).map_err(|e| Error::io(&from, "read the vocabulary", e))?;
    write_file(&model.join(VOCABULARY), &text)
}

/// The scheduler's config of a model that starts from random weights.
pub(crate) fn scheduler_config() -> Value {
    json!({
        "_class_name": "DDIMScheduler",
        "beta_end": BETA_END,
        "beta_schedule": "scaled_linear",
        "beta_start": BETA_START,
        "clip_sample": false,
        "num_train_timesteps": NUM_TRAIN_TIMESTEPS,
        "set_alpha_to_one": false,
        "steps_offset": 1,
    })
}

/// Writes `model_index.json`, the scheduler's config and the tokenizer's files of a folder of Stable Diffusion.
pub(crate) fn write_model(folder: &Path, scheduler: &Value, tokenizer: &[(&str, Vec<u8>)]) -> Result<()> {
    let mut index = calotype_checkpoint::model_index("StableDiffusionPipeline");
    if let Some(class) = scheduler.get("_class_name") {
        index["scheduler"][1] = class.clone();
    }
    write_json(&folder.join("scheduler"), "scheduler_config.json", scheduler)?;
    let words = folder.join("tokenizer");
    make_folder(&words)?;
    tokenizer.iter().try_for_each(|(name, bytes)| write_file(&words.join(name), bytes))?;
    // Last: a folder with an index is a whole model.
    write_json(folder, "model_index.json", &index)
}

pub(crate) fn write_json(folder: &Path, file: &str, value: &Value) -> Result<()> {
    make_folder(folder)?;
    write_file(&folder.join(file), format!("{value:#}\n").as_bytes())
}

fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, "make the folder", e))
}
