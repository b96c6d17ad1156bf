//! LoRA: what a run writes, and that it goes on as if it had never stopped.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use calotype_formats::{Checkpoint, SafeTensors};
use calotype_image::{RgbImage, encode_png};
use calotype_models::{
    Component, ModelConfig, ParamSource, UNetConfig,
    adapters::{Adapted, Adapter, Applied},
};
use calotype_tensor::{Backend, cpu::Cpu};
use calotype_train::{Notice, Progress, RunOptions, Summary, train_autoencoder, train_diffusion, train_lora};

type Train = fn(&Path, RunOptions<'_>) -> calotype_train::Result<Summary>;

/// Three pictures, and a small model that was trained on them for a step.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let pictures = place.path().join("pictures");
    fs::create_dir(&pictures).unwrap();
    for i in 0..3u8 {
        let picture = RgbImage::filled(8, 8, [i * 80, 255 - i * 20, 128]);
        fs::write(pictures.join(format!("{i}.png")), encode_png(&picture, &[]).unwrap()).unwrap();
        fs::write(pictures.join(format!("{i}.txt")), format!("picture {i}")).unwrap();
    }
    let common =
        "data = { folder = \"pictures\", size = 8 }\ntrain = { batch_size = 2, steps = 1, learning_rate = 1e-3 }\n";
    let vae = format!("output = \"vae\"\n{common}model = {{ block_out_channels = [32, 32], norm_num_groups = 32 }}\n");
    run(place.path(), "vae", &vae, train_autoencoder, false, None).unwrap();
    let model = format!(
        "output = \"base\"\n{common}[model]\nautoencoder = \"vae/model\"\nblock_out_channels = [32, 64]\nlayers_per_block = 1\n\
         attention_levels = [false, true]\nattention_heads = 2\nnorm_num_groups = 32\n\
         text_encoder = {{ hidden_size = 64, num_hidden_layers = 1, num_attention_heads = 1 }}\n"
    );
    run(place.path(), "base", &model, train_diffusion, false, None).unwrap();
    place
}

fn run(
    folder: &Path,
    name: &str,
    text: &str,
    train: Train,
    resume: bool,
    until: Option<u64>,
) -> calotype_train::Result<Summary> {
    let path = folder.join(format!("{name}.toml"));
    fs::write(&path, text).unwrap();
    let stop = AtomicBool::new(false);
    let mut progress = |now: &Progress| stop.store(Some(now.step) == until, Ordering::Relaxed);
    let options = RunOptions {
        resume,
        threads: 1,
        skip_bad: false,
        set: &[],
        stop: &stop,
        progress: &mut progress,
        tell: &mut |_: &Notice| {},
    };
    train(&path, options)
}

fn lora(name: &str, more: &str) -> String {
    format!(
        "output = \"{name}\"\ndata.folder = \"pictures\"\n{more}\n[train]\ninit_from = \"base/model\"\nsteps = 6\n\
         batch_size = 2\nlearning_rate = 0.01\n[report]\nprecision = \"f32\"\nprompts = [\"picture 1\"]\nsample_steps = 2\n"
    )
}

/// The UNet's weights with a LoRA of this file.
fn applied(model: &Path, file: &Path) -> BTreeMap<String, Vec<f32>> {
    let model = calotype::Model::open(model).unwrap();
    let (unet, text) = (model.unet_config(), model.text_config());
    let specs = unet.specs().unwrap();
    let adapter = Adapter::new(Checkpoint::open(file, "").unwrap(), &specs, &text.specs().unwrap()).unwrap();
    assert_eq!(adapter.matched().unused, Vec::<String>::new());
    let adapters = [Applied { adapter: adapter.into(), unet: 1.0, text_encoder: 1.0, ranks: None }];
    let (mut base, cpu) = (model.unet().stored().unwrap(), Cpu::new(1).unwrap());
    let mut changed = Adapted::new(&mut base, Component::UNet, &adapters, Backend::threads(&cpu));
    specs.iter().map(|spec| (spec.name.clone(), changed.data(spec).unwrap().to_vec().unwrap())).collect()
}

#[test]
fn what_is_written_is_read_in_both_forms() {
    let place = place();
    let folder = place.path();
    let options = "lora = { rank = 4, alpha = 2.0, conv_rank = 2 }";
    let summary = run(folder, "ink", &lora("ink", options), train_lora, false, None).unwrap();
    assert_eq!(summary.step, 6);
    assert_eq!(summary.model, folder.join("ink/model"));
    let [kohya, diffusers] =
        ["ink.safetensors", "pytorch_lora_weights.safetensors"].map(|name| summary.model.join(name));
    let base = folder.join("base/model");
    let (one, other) = (applied(&base, &kohya), applied(&base, &diffusers));
    let plain: BTreeMap<String, Vec<f32>> = {
        let model = calotype::Model::open(&base).unwrap();
        let mut stored = model.unet().stored().unwrap();
        let specs = model.unet_config().specs().unwrap();
        specs.iter().map(|spec| (spec.name.clone(), stored.data(spec).unwrap().to_vec().unwrap())).collect()
    };
    let mut changed = 0;
    for (name, values) in &one {
        assert!(values.iter().zip(&other[name]).all(|(a, b)| (a - b).abs() < 1e-6), "{name}");
        changed += usize::from(*values != plain[name]);
    }
    let specs = UNetConfig::specs(calotype::Model::open(&base).unwrap().unet_config()).unwrap();
    let of = |part: &str| {
        specs.iter().filter(|s| s.name.contains(part) && s.name.ends_with("weight") && s.shape.len() > 1).count()
    };
    assert_eq!(changed, of(".attentions.") + of(".resnets.") + of(".downsamplers.") + of(".upsamplers."));

    let file = SafeTensors::open(&kohya).unwrap();
    let get = |key: &str| file.metadata().get(key).map(String::as_str);
    assert_eq!(get("ss_network_module"), Some("networks.lora"));
    assert_eq!((get("ss_network_dim"), get("ss_network_alpha")), (Some("4"), Some("2")));
    assert_eq!(get("ss_network_args"), Some("{\"conv_alpha\":\"2\",\"conv_dim\":\"2\"}"));
    assert_eq!(
        (get("ss_base_model_version"), get("modelspec.architecture")),
        (Some("sd_v1"), Some("stable-diffusion-v1/lora"))
    );
    let base_hash = calotype::Model::open(&base).unwrap();
    assert_eq!(get("ss_new_sd_model_hash"), Some(base_hash.hash().unwrap()));
    assert_eq!(get("sshs_model_hash").unwrap().len(), 64);
    let key = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q";
    assert_eq!(file.get(&format!("{key}.lora_down.weight")).unwrap().shape, [4, 64]);
    assert_eq!(file.read_f32(&format!("{key}.alpha")).unwrap(), [2.0]);
    assert!(file.get("lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight").is_some());
    // The samples are made with it.
    assert!(folder.join("ink/samples/step_000006.png").exists());
}

#[test]
fn a_stopped_lora_goes_on_bit_for_bit() {
    let place = place();
    let folder = place.path();
    let options = "lora = { rank = 2, dropout = 0.25, targets = [\"unet.*.attentions.*\", \"*.q_proj\"] }";
    let text = |name: &str| lora(name, options);
    run(folder, "whole", &text("whole"), train_lora, false, None).unwrap();
    run(folder, "stopped", &text("stopped"), train_lora, false, Some(2)).unwrap();
    run(folder, "stopped", &text("stopped"), train_lora, true, Some(5)).unwrap();
    let summary = run(folder, "stopped", &text("stopped"), train_lora, true, None).unwrap();
    assert_eq!(summary.step, 6);
    let read = |path: PathBuf| fs::read(folder.join(path)).unwrap();
    for file in ["checkpoint.safetensors", "model/pytorch_lora_weights.safetensors", "samples/step_000006.png"] {
        assert!(read(Path::new("whole").join(file)) == read(Path::new("stopped").join(file)), "{file}");
    }
    let checkpoint = SafeTensors::open(&folder.join("whole/checkpoint.safetensors")).unwrap();
    let bytes = fs::metadata(folder.join("base/model/unet/diffusion_pytorch_model.safetensors")).unwrap().len();
    assert!(
        checkpoint.tensors().all(|tensor| tensor.name.contains("lora_")),
        "nothing is kept of weights that don't learn"
    );
    assert!(fs::metadata(folder.join("whole/checkpoint.safetensors")).unwrap().len() < bytes);

    // Another model under it is refused.
    let other = fs::read(folder.join("base/model/unet/diffusion_pytorch_model.safetensors")).unwrap();
    let mut other = other;
    let last = other.len() - 1;
    other[last] ^= 1;
    fs::write(folder.join("base/model/unet/diffusion_pytorch_model.safetensors"), other).unwrap();
    let error = run(folder, "stopped", &text("stopped"), train_lora, true, None).unwrap_err().to_string();
    assert!(error.contains("was made from other train.init_from"), "{error}");
}

#[test]
fn what_makes_no_lora_is_refused() {
    let place = place();
    let folder = place.path();
    for (options, expected) in [
        ("lora.rank = 0", "lora.rank: expected 1 to 1024, got 0"),
        ("lora.alpha = 0", "lora.alpha: expected a number above 0"),
        ("lora.dropout = 1.0", "lora.dropout: expected 0 to below 1, got 1.0"),
        ("lora.targets = [\"unet.nothing\"]", "lora.targets: \"unet.nothing\" is no module of this model: give"),
        ("lora.dim = 4", "unknown field `dim`"),
        ("lora.network_dim = 4", "it may be lora.rank that is meant"),
    ] {
        let error = run(folder, "bad", &lora("bad", options), train_lora, false, None).unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "{error}");
        assert!(!folder.join("bad").exists());
    }
    let text = lora("bad", "lora.rank = 4");
    let error = run(folder, "bad", &text, train_diffusion, false, None).unwrap_err().to_string();
    assert!(error.contains("lora: is a table of `calotype train lora`"), "{error}");
    let text = text.replace("init_from = \"base/model\"", "");
    let error = run(folder, "bad", &text, train_lora, false, None).unwrap_err().to_string();
    assert!(error.contains("missing field") && error.contains("or train.init_from"), "{error}");
}
