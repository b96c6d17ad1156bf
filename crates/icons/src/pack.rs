//! A trained model as it goes into the program: no token that its captions don't need.

use std::{borrow::Cow, fs, path::Path};

use calotype_checkpoint::{VOCABULARY, Vocabulary};
use calotype_formats::{SafeTensors, write_atomic, write_safetensors};
use serde_json::{Value, json};

use crate::{Error, Result};

/// The rows of a text encoder's tokens.
const TOKEN_EMBEDDING: &str = "text_model.embeddings.token_embedding.weight";
const TEXT_WEIGHTS: &str = "text_encoder/model.safetensors";
const TEXT_CONFIG: &str = "text_encoder/config.json";
const VAE_WEIGHTS: &str = "vae/diffusion_pytorch_model.safetensors";

/// What is taken as it is.
const COPIED: [&str; 5] = [
    "scheduler/scheduler_config.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    VOCABULARY,
];

/// Writes the model of a run, a diffusers folder with a `vocabulary.json`, to the folder `out`, its tokenizer and token embedding cut
/// down to the vocabulary's words (see [`calotype_text::reduced_clip`]); the autoencoder's weights are those of the model `autoencoder`, if one is given.
/// The number of tokens that are left.
///
/// # Errors
/// `out` is there already, or a file can't be read, is not as the trainer writes it, or can't be written.
pub fn pack(model: &Path, autoencoder: Option<&Path>, out: &Path) -> Result<usize> {
    if out.exists() {
        return Err(Error::Exists { path: out.to_owned() });
    }
    let vocabulary: Vocabulary = json_of(&model.join(VOCABULARY))?;
    let phrases = [&vocabulary.subjects, &vocabulary.styles, &vocabulary.backgrounds].into_iter().flatten();
    let reduced = calotype_text::reduced_clip(phrases.chain(&vocabulary.words).map(String::as_str));

    for file in COPIED {
        put(out, file, &get(&model.join(file))?)?;
    }
    put(out, VAE_WEIGHTS, &get(&autoencoder.unwrap_or(model).join(VAE_WEIGHTS))?)?;
    for (name, text) in &reduced.files {
        put(out, &format!("tokenizer/{name}"), text.as_bytes())?;
    }
    let tokens = reduced.kept.len();
    let path = model.join(TEXT_CONFIG);
    let mut config: Value = json_of(&path)?;
    let Some(rows) = config["vocab_size"].as_u64().filter(|&rows| reduced.kept.iter().all(|&id| u64::from(id) < rows))
    else {
        return Err(Error::Contents {
            path,
            reason: "its tokens are not CLIP's: give the model that was trained".into(),
        });
    };
    // The special tokens are the last, as they were.
    for (field, id) in [("bos_token_id", tokens - 2), ("eos_token_id", tokens - 1), ("pad_token_id", tokens - 1)] {
        config[field] = json!(id);
    }
    config["vocab_size"] = json!(tokens);
    put(out, TEXT_CONFIG, format!("{config:#}\n").as_bytes())?;
    reduce_rows(&model.join(TEXT_WEIGHTS), rows as usize, &reduced.kept, &out.join(TEXT_WEIGHTS))?;
    // Last: a folder with an index is a whole model.
    put(out, "model_index.json", &get(&model.join("model_index.json"))?)?;
    Ok(tokens)
}

/// Writes the file with these rows alone of its token embedding.
fn reduce_rows(from: &Path, rows: usize, kept: &[u32], to: &Path) -> Result<()> {
    let file = SafeTensors::open(from)?;
    let mut tensors = Vec::new();
    for info in file.tensors() {
        let (mut shape, mut data) = (info.shape.clone(), file.read(&info.name)?);
        if info.name == TOKEN_EMBEDDING {
            let row = data.len() / rows.max(1);
            let all = std::mem::take(&mut data);
            data.extend(kept.iter().filter_map(|&id| all.chunks_exact(row).nth(id as usize)).flatten());
            shape[0] = kept.len();
        }
        tensors.push((info.name.clone(), info.dtype, shape, Cow::from(data)));
    }
    fs::create_dir_all(to.parent().unwrap_or(to)).map_err(|source| Error::Write { path: to.to_owned(), source })?;
    Ok(write_safetensors(to, tensors, file.metadata())?)
}

fn get(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

fn json_of<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&get(path)?)
        .map_err(|error| Error::Contents { path: path.to_owned(), reason: error.to_string() })
}

fn put(out: &Path, file: &str, bytes: &[u8]) -> Result<()> {
    let path = out.join(file);
    let failed = |source| Error::Write { path: path.clone(), source };
    fs::create_dir_all(path.parent().unwrap_or(out)).map_err(failed)?;
    Ok(write_atomic(&path, |writer| writer.write_all(bytes))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_keeps_its_row() {
        let place = tempfile::tempdir().unwrap();
        let (model, out) = (place.path().join("model"), place.path().join("out"));
        for file in COPIED.into_iter().chain([VAE_WEIGHTS, "model_index.json"]) {
            put(&model, file, file.as_bytes()).unwrap();
        }
        put(&model, VOCABULARY, br#"{"subjects": ["red fox"], "words": ["a", "fox", "red"]}"#).unwrap();
        let clip = calotype_text::Tokenizer::clip();
        put(&model, TEXT_CONFIG, format!("{{\"vocab_size\": {}}}", clip.vocab_size()).as_bytes()).unwrap();
        // The row of a token is its id.
        let ids: Vec<u8> = (0..clip.vocab_size() as u32).flat_map(|id| (id as f32).to_le_bytes()).collect();
        let embedding = (TOKEN_EMBEDDING, calotype_formats::DType::F32, vec![clip.vocab_size(), 1], Cow::from(ids));
        fs::create_dir_all(model.join("text_encoder")).unwrap();
        write_safetensors(model.join(TEXT_WEIGHTS), [embedding], &Default::default()).unwrap();

        let tokens = pack(&model, None, &out).unwrap();
        let small = calotype_text::Tokenizer::from_folder(&out.join("tokenizer")).unwrap();
        let rows = SafeTensors::open(&out.join(TEXT_WEIGHTS)).unwrap().read_f32(TOKEN_EMBEDDING).unwrap();
        assert_eq!((small.vocab_size(), rows.len()), (tokens, tokens));
        let found: Vec<u32> = small.encode("a red fox").ids.into_iter().map(|id| rows[id as usize] as u32).collect();
        assert_eq!(found, clip.encode("a red fox").ids);
        let config: Value = json_of(&out.join(TEXT_CONFIG)).unwrap();
        assert_eq!((&config["vocab_size"], &config["eos_token_id"]), (&json!(tokens), &json!(small.eos())));
        assert_eq!(fs::read(out.join(VAE_WEIGHTS)).unwrap(), VAE_WEIGHTS.as_bytes());
        assert!(pack(&model, None, &out).unwrap_err().to_string().contains("exists already"));
    }
}
