//! Runs that start from a model, in whatever layout it is: the same numbers from each.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use calotype::ModelOptions;
use calotype_checkpoint::{ConvertOptions, ConvertTo, NetworkFiles, convert};
use calotype_diffusion::PredictionType;
use calotype_formats::{SafeTensors, write_safetensors};
use calotype_image::{RgbImage, encode_png};
use calotype_models::VaeConfig;
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
                "model.attention_heads is 4, and it has 8: set it to 8, or leave it out",
            ),
            (
                "num_attention_heads = 1",
                "num_attention_heads = 2",
                "model.text_encoder.num_attention_heads is 2, and it has 1: set it to 1, or leave it out",
            ),
            (
                "norm_num_groups = 32",
                "norm_num_groups = 16",
                "model.norm_num_groups is 16, and it has 32: set it to 32, or leave it out",
            ),
        ] {
            let error =
                train(folder, "heads", Some(start), &diffusion(&vae).replacen(from, to, 1)).unwrap_err().to_string();
            assert_eq!(error, format!("{}: {problem}", start.display()));
            assert!(!folder.join("heads").exists(), "a refused start leaves nothing behind");
        }
        let groups = AUTOENCODER.replace("norm_num_groups = 32", "norm_num_groups = 16");
        let error = train(folder, "groups", Some(start), &groups).unwrap_err().to_string();
        let problem = "model.norm_num_groups is 16, and it has 32: set it to 32, or leave it out";
        assert_eq!(error, format!("{}: {problem}", start.display()));
    }
    fs::write(folder.join("model.yaml"), "model: {params: {parameterization: v}}").unwrap();
    let of_v = train(folder, "v", Some(&single), &diffusion(&single)).unwrap().model;
    assert_eq!(calotype::Model::open(&of_v).unwrap().prediction_type(), PredictionType::VPrediction);
    let other = diffusion(&single).replace("norm_num_groups", "prediction_type = \"epsilon\"\nnorm_num_groups");
    let error = train(folder, "epsilon", Some(&single), &other).unwrap_err().to_string();
    let problem = "model.prediction_type is \"epsilon\", and it has \"v_prediction\": set it to \"v_prediction\", or leave it out";
    assert_eq!(error, format!("{}: {problem}", single.display()));
    let other = diffusion(&single) + "[loss]\nweighting = { velocity = { max = 20 } }\n";
    let error = train(folder, "twice", Some(&single), &other).unwrap_err().to_string();
    assert!(error.contains("this UNet predicts v: leave it out"), "{error}");
}

/// Runs a config file of this text with these settings, and gives what was filled in.
fn run_text(folder: &Path, name: &str, text: &str, set: &[&str]) -> (calotype_train::Result<Summary>, Vec<String>) {
    let path = folder.join(format!("{name}.toml"));
    fs::write(&path, text).unwrap();
    let set: Vec<String> = set.iter().map(|&text| text.to_owned()).collect();
    let (stop, progress, mut filled) = (&AtomicBool::new(false), &mut |_: &calotype_train::Progress| {}, Vec::new());
    let tell = &mut |notice: &Notice| {
        if let Notice::Filled(settings) = notice {
            filled.extend(settings.iter().cloned());
        }
    };
    let options = RunOptions { resume: false, threads: 1, skip_bad: false, set: &set, stop, progress, tell };
    let result = if text.contains("# autoencoder") { train_autoencoder } else { train_diffusion }(&path, options);
    (result, filled)
}

/// Of a model in the form of Stable Diffusion 2, which predicts v.
#[test]
fn three_lines_are_enough() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    pictures(folder);
    let vae = train(folder, "vae", None, AUTOENCODER).unwrap().model;
    let sizes = DIFFUSION
        .replace("VAE", &vae.display().to_string())
        .replace(
            "attention_heads = 8",
            "attention_heads = [4, 8]\nuse_linear_projection = true\nprediction_type = \"v_prediction\"",
        )
        .replacen("num_hidden_layers", "hidden_act = \"gelu\"\nnum_hidden_layers", 1);
    let first = train(folder, "first", None, &sizes).unwrap().model;
    let opened = calotype::Model::open(&first).unwrap();
    assert!(opened.text_config().is_open_clip() && opened.unet_config().use_linear_projection);

    let lines = "output = \"OUT\"\ndata.folder = \"pictures\"\ntrain.init_from = \"first/model\"\n";
    let short = ["train.steps=2", "report.prompts=[\"picture 1\"]", "report.sample_steps=2"];
    let (tuned, filled) = run_text(folder, "tuned", &lines.replace("OUT", "tuned"), &short);
    let tuned = tuned.unwrap();
    let model = calotype::Model::open(&tuned.model).unwrap();
    assert_eq!(model.prediction_type(), PredictionType::VPrediction);
    assert_eq!((model.unet_config(), model.text_config()), (opened.unet_config(), opened.text_config()));
    assert_eq!(model.vae_config().scaling_factor, opened.vae_config().scaling_factor);
    assert!(folder.join("tuned/samples/step_000002.png").exists());
    for setting in [
        "data.size = 8",
        "model.autoencoder = \"first/model\"",
        "model.attention_heads = [4, 8]",
        "model.prediction_type = \"v_prediction\"",
        "model.text_encoder.hidden_act = \"gelu\"",
        "train.batch_size = 4",
        "train.learning_rate = 0.00001",
        "train.decay = \"constant\"",
    ] {
        assert!(filled.iter().any(|filled| filled == setting), "{setting} of {filled:?}");
    }
    assert!(!filled.iter().any(|filled| filled.starts_with("train.steps")), "it was set");

    // What the run keeps makes it again, wherever it is.
    let kept = fs::read_to_string(folder.join("tuned/run.toml")).unwrap();
    let elsewhere = folder.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let (again, filled) = run_text(&elsewhere, "again", &kept, &["output=again"]);
    let again = again.unwrap();
    assert_eq!(filled, Vec::<String>::new());
    for file in ["unet/diffusion_pytorch_model.safetensors", TEXT_WEIGHTS, "scheduler/scheduler_config.json"] {
        assert!(weights(&tuned, file) == weights(&again, file), "{file}");
    }

    let (of_vae, _) = run_text(folder, "of-vae", &(lines.replace("OUT", "of-vae") + "# autoencoder"), &short);
    let config = NetworkFiles::<VaeConfig>::open(&of_vae.unwrap().model).unwrap().config().clone();
    assert_eq!(config.block_out_channels, [32, 32]);
    // What is not there is said, and what would say it.
    let error = run_text(folder, "none", &lines.replace("first/model", "nothing"), &short).0.unwrap_err().to_string();
    assert!(error.contains("nothing: there is no such file or folder"), "{error}");
    let nothing = lines.replace("train.init_from = \"first/model\"", "");
    let error = run_text(folder, "none", &nothing, &short).0.unwrap_err().to_string();
    assert!(error.contains("missing field") && error.contains("or train.init_from, a model to start from"), "{error}");
}

/// The model inside the program by its name.
#[cfg(feature = "builtin")]
#[test]
fn the_model_inside_is_a_start() {
    let place = tempfile::tempdir().unwrap();
    pictures(place.path());
    let text = "output = \"tuned\"\ndata.folder = \"pictures\"\ntrain.init_from = \"builtin\"\n";
    let set = ["train.steps=1", "train.batch_size=1"];
    let (summary, filled) = run_text(place.path(), "tuned", text, &set);
    let model = calotype::Model::open(summary.unwrap().model).unwrap();
    let built_in = calotype::Model::built_in().unwrap();
    assert_eq!(model.unet_config(), built_in.unet_config());
    assert!(filled.contains(&"model.autoencoder = \"builtin\"".to_owned()), "{filled:?}");
    assert!(fs::read_to_string(place.path().join("tuned/run.toml")).unwrap().contains("init_from = \"builtin\""));
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
