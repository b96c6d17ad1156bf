//! Runs that start from a model, in whatever layout it is: the same numbers from each.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use calotype::ModelOptions;
use calotype_checkpoint::{ConvertOptions, ConvertTo, convert};
use calotype_formats::{SafeTensors, write_safetensors};
use calotype_image::{RgbImage, encode_png};
use calotype_train::{Notice, RunOptions, Summary, train_autoencoder, train_diffusion};

const AUTOENCODER: &str = "[model]\nblock_out_channels = [32, 32]\nnorm_num_groups = 32\n";
const DIFFUSION: &str = "[model]\nautoencoder = \"VAE\"\nblock_out_channels = [32, 64]\nlayers_per_block = 1\n\
    attention_levels = [false, true]\nattention_heads = 8\nnorm_num_groups = 32\n\
    [model.text_encoder]\nhidden_size = 64\nnum_hidden_layers = 1\nnum_attention_heads = 1\n";

fn pictures(folder: &Path) {
    let pictures = folder.join("pictures");
    fs::create_dir(&pictures).unwrap();
    let mut list = String::new();
    for i in 0..3u8 {
        let picture = RgbImage::filled(8, 8, [i * 80, 255 - i * 20, 128]);
        fs::write(pictures.join(format!("{i}.png")), encode_png(&picture, &[]).unwrap()).unwrap();
        list += &format!("{{\"file_name\":\"{i}.png\",\"text\":\"picture {i}\"}}\n");
    }
    fs::write(pictures.join("metadata.jsonl"), list).unwrap();
}

fn train(folder: &Path, run: &str, from: Option<&Path>, model: &str) -> calotype_train::Result<Summary> {
    told(folder, run, from, model).0
}

/// The run, and the warnings it gave.
fn told(folder: &Path, run: &str, from: Option<&Path>, model: &str) -> (calotype_train::Result<Summary>, Vec<String>) {
    let path = folder.join(format!("{run}.toml"));
    let from = from.map_or(String::new(), |from| format!("init_from = \"{}\"\n", from.display()));
    let text = format!(
        "output = \"{run}\"\n[data]\nfolder = \"pictures\"\nsize = 8\n\
         [train]\nbatch_size = 2\nsteps = 2\nlearning_rate = 0.002\n{from}\
         [report]\nsample_every = 0\nevaluate_every = 0\nsample_steps = 1\nprecision = \"f32\"\n{model}"
    );
    fs::write(&path, text).unwrap();
    let (stop, progress) = (&AtomicBool::new(false), &mut |_: &calotype_train::Progress| {});
    let mut warnings = Vec::new();
    let tell = &mut |notice: &Notice| {
        if let Notice::Warning(text) = notice {
            warnings.push(text.clone());
        }
    };
    let options = RunOptions { resume: false, threads: 1, skip_bad: false, set: &[], stop, progress, tell };
    let is_diffusion = model.contains("text_encoder");
    let result = if is_diffusion { train_diffusion(&path, options) } else { train_autoencoder(&path, options) };
    (result, warnings)
}

fn weights(summary: &Summary, network: &str) -> Vec<u8> {
    fs::read(summary.model.join(network)).unwrap()
}

const TEXT_WEIGHTS: &str = "text_encoder/model.safetensors";
const TOKEN_EMBEDDING: &str = "text_model.embeddings.token_embedding.weight";

/// Writes a model with the tokens alone that some texts need; their number.
fn reduce(model: &Path, out: &Path, texts: [&str; 1]) -> usize {
    for part in ["unet", "vae", "scheduler", "text_encoder", "tokenizer"] {
        fs::create_dir_all(out.join(part)).unwrap();
        for file in fs::read_dir(model.join(part)).unwrap().flatten() {
            fs::copy(file.path(), out.join(part).join(file.file_name())).unwrap();
        }
    }
    fs::copy(model.join("model_index.json"), out.join("model_index.json")).unwrap();
    let calotype_text::ReducedClip { kept, files } = calotype_text::reduced_clip(texts);
    files.iter().for_each(|(name, text)| fs::write(out.join("tokenizer").join(name), text).unwrap());
    let file = SafeTensors::open(&model.join(TEXT_WEIGHTS)).unwrap();
    let tensors = file.tensors().map(|info| {
        let (mut shape, mut data) = (info.shape.clone(), file.read(&info.name).unwrap());
        if info.name == TOKEN_EMBEDDING {
            let row = data.len() / shape[0];
            data = kept.iter().flat_map(|&id| data[id as usize * row..][..row].to_vec()).collect();
            shape[0] = kept.len();
        }
        (info.name.clone(), info.dtype, shape, data.into())
    });
    write_safetensors(out.join(TEXT_WEIGHTS), tensors.collect::<Vec<_>>(), file.metadata()).unwrap();
    let config = fs::read_to_string(out.join("text_encoder/config.json")).unwrap();
    let config = config.replace("49408", &kept.len().to_string());
    fs::write(out.join("text_encoder/config.json"), config).unwrap();
    kept.len()
}

#[test]
fn a_run_may_start_from_any_layout() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    pictures(folder);
    let vae = train(folder, "vae", None, AUTOENCODER).unwrap().model;
    let diffusion = |vae: &Path| DIFFUSION.replace("VAE", &vae.display().to_string());
    let model: PathBuf = train(folder, "model", None, &diffusion(&vae)).unwrap().model;
    let single = folder.join("model.safetensors");
    let how = ConvertOptions { to: ConvertTo::CompVis, dtype: None };
    convert(&model, &ModelOptions::default(), &single, how, &mut |_, _| true).unwrap();

    let starts: [&Path; 2] = [&model, &single];
    let [one, other] = starts.map(|start| {
        let run = if start == model { "from-folder" } else { "from-file" };
        train(folder, run, Some(start), &diffusion(start)).unwrap()
    });
    for file in ["unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors", "vae/config.json"] {
        assert!(weights(&one, file) == weights(&other, file), "{file}");
    }
    assert!(
        weights(&one, "unet/diffusion_pytorch_model.safetensors")
            != fs::read(model.join("unet/diffusion_pytorch_model.safetensors")).unwrap()
    );
    // Of a model with a tokenizer of its own, which splits these captions in the same way.
    let small = folder.join("small");
    let tokens = reduce(&model, &small, ["picture 0 1 2"]);
    let reduced = train(folder, "from-small", Some(&small), &diffusion(&small)).unwrap();
    let unet = "unet/diffusion_pytorch_model.safetensors";
    assert!(weights(&one, unet) == weights(&reduced, unet), "the same captions are the same training");
    let text = SafeTensors::from_bytes(weights(&reduced, TEXT_WEIGHTS)).unwrap();
    assert_eq!(text.get(TOKEN_EMBEDDING).unwrap().shape, [tokens, 64]);
    for file in ["tokenizer/vocab.json", "tokenizer/merges.txt"] {
        assert!(fs::read(small.join(file)).unwrap() == weights(&reduced, file), "{file}");
    }
    // An autoencoder out of the whole file.
    let runs = starts.map(|start| {
        let run = if start == model { "vae-from-folder" } else { "vae-from-file" };
        weights(&train(folder, run, Some(start), AUTOENCODER).unwrap(), "vae/diffusion_pytorch_model.safetensors")
    });
    assert!(runs[0] == runs[1]);
    // What is there must be what is trained.
    let other = diffusion(&single).replace("hidden_size = 64", "hidden_size = 128");
    let error = train(folder, "other", Some(&single), &other).unwrap_err().to_string();
    assert!(error.contains("model.safetensors") && error.contains("128") && !error.contains('\n'), "{error}");
    // Heads and groups are in no shape.
    for start in starts {
        for (from, to, problem) in [
            (
                "attention_heads = 8",
                "attention_heads = 4",
                "its UNet has 8 attention heads, and model.attention_heads is 4: set it to 8",
            ),
            (
                "num_attention_heads = 1",
                "num_attention_heads = 2",
                "its text encoder has 1 attention heads, and model.text_encoder.num_attention_heads is 2: set it to 1",
            ),
            (
                "norm_num_groups = 32",
                "norm_num_groups = 16",
                "its UNet has 32 groups in its norms, and model.norm_num_groups is 16: set it to 32",
            ),
        ] {
            let error =
                train(folder, "heads", Some(start), &diffusion(&vae).replacen(from, to, 1)).unwrap_err().to_string();
            assert_eq!(error, format!("{}: {problem}", start.display()));
            assert!(!folder.join("heads").exists(), "a refused start leaves nothing behind");
        }
        let groups = AUTOENCODER.replace("norm_num_groups = 32", "norm_num_groups = 16");
        let error = train(folder, "groups", Some(start), &groups).unwrap_err().to_string();
        let problem = "its autoencoder has 32 groups in its norms, and model.norm_num_groups is 16: set it to 32";
        assert_eq!(error, format!("{}: {problem}", start.display()));
    }
    fs::write(folder.join("model.yaml"), "model: {params: {parameterization: v}}").unwrap();
    let error = train(folder, "v", Some(&single), &diffusion(&single)).unwrap_err().to_string();
    assert!(error.contains("it predicts v, and ε is trained here"), "{error}");
}

/// What is cut, and what the model will not do, is said before the first step.
#[test]
fn what_one_should_know_is_told_at_the_start() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    pictures(folder);
    let (run, warnings) = told(folder, "vae", None, AUTOENCODER);
    assert_eq!((run.unwrap().step, warnings), (2, vec![]));
    let (_, warnings) =
        told(folder, "sixteen", None, &AUTOENCODER.replace("norm_num_groups = 32", "norm_num_groups = 16"));
    let stays = "this model will be a diffusers folder and can't be converted to one file, CompVis' layout: ";
    assert_eq!(warnings, [format!("{stays}model.norm_num_groups is 16 and there 32")]);

    let model = DIFFUSION.replace("VAE", "sixteen/model");
    let list = folder.join("pictures/metadata.jsonl");
    let long = fs::read_to_string(&list)
        .unwrap()
        .replace("picture 1", &"cat ".repeat(76))
        .replace("picture 2", &"dog ".repeat(80));
    fs::write(&list, long).unwrap();
    let (run, warnings) = told(folder, "long", None, &model);
    run.unwrap();
    let cut =
        "2 of 3 captions are longer than the 75 tokens that the text encoder takes and are cut; the first is that of ";
    let cut = format!("{cut}{}", folder.join("pictures/1.png").display());
    assert_eq!(warnings, [format!("{stays}norm_num_groups of model.autoencoder is 16 and there 32"), cut]);

    // Texts beside the pictures; an autoencoder needs none.
    fs::remove_file(&list).unwrap();
    assert_eq!(told(folder, "bare", None, AUTOENCODER).1, Vec::<String>::new());
    let (none, _) = told(folder, "none", None, &model);
    assert!(
        none.unwrap_err()
            .to_string()
            .contains("metadata.jsonl: no picture has a caption: write metadata.jsonl, or a .txt beside each such as ")
    );
    assert!(!folder.join("none").exists());
    fs::write(folder.join("pictures/2.txt"), "picture 2").unwrap();
    let (run, warnings) = told(folder, "some", None, &model);
    run.unwrap();
    let first = folder.join("pictures/0.png");
    let expected = format!(
        "2 of 3 pictures have no .txt beside them, so their caption is empty; the first is {}",
        first.display()
    );
    assert_eq!(warnings[1..], [expected]);
}
