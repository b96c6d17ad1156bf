//! From any layout to any other: every bit stays, and what is written is whole or not there.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{collections::BTreeMap, fs, path::Path};

use calotype::{
    Model, ModelOptions,
    checkpoint::{DType, WeightSet},
};
use calotype_checkpoint::{ConvertOptions, ConvertTo, Inspection, convert, inspect, list, verify};
use calotype_formats::{Checkpoint, encode_f32, write_safetensors};
use tempfile::TempDir;

use crate::common::{
    Tensors, distance,
    family::{Family, SD1, SD2, UNET, VAE, latents, only, renamed, write},
    write_weights,
};

const DIFFUSERS: ConvertOptions = ConvertOptions { to: ConvertTo::Diffusers, dtype: None };
const COMPVIS: ConvertOptions = ConvertOptions { to: ConvertTo::CompVis, dtype: None };

fn done(from: &Path, options: &ModelOptions, to: &Path, how: ConvertOptions) {
    let mut last = (0, 0);
    convert(from, options, to, how, &mut |done, total| {
        last = (done, total);
        true
    })
    .unwrap();
    assert!(last.0 == last.1 && last.1 > 0, "progress ends at the end: {last:?}");
}

/// Every tensor of a file: dtype, shape and bytes.
fn bits(path: &Path) -> BTreeMap<String, (DType, Vec<usize>, Vec<u8>)> {
    let file = Checkpoint::open(path, "").unwrap();
    file.tensors().map(|t| (t.name.clone(), (t.dtype, t.shape.clone(), file.read(&t.name).unwrap()))).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const FILES: [&str; 3] = [
    "text_encoder/model.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
];

fn round_trip(family: &Family) {
    let place = TempDir::new().unwrap();
    let path = |name: &str| place.path().join(name);
    let original = write(place.path(), "original.safetensors", &family.compvis());
    done(&original, &family.options(), &path("folder"), DIFFUSERS);
    // What is in the folder is what CompVis' file was made of, bit for bit.
    for (file, network) in FILES.iter().zip(["text_encoder", "unet", "vae"]) {
        let expected = path("expected.safetensors");
        write_weights(&expected, &family.weights[network]);
        assert_eq!(bits(&path("folder").join(file)), bits(&expected), "{network}");
    }
    done(&path("folder"), &ModelOptions::default(), &path("back.safetensors"), COMPVIS);
    assert_eq!(bits(&path("back.safetensors")), bits(&original));
    // The config beside it says what the shapes don't: nothing else need be said.
    let expected = latents(&original, &family.options());
    for name in ["folder", "back.safetensors"] {
        assert!(distance(&latents(&path(name), &ModelOptions::default()), &expected) <= 1e-6, "{name}");
    }
    let half = ConvertOptions { dtype: Some(DType::F16), ..COMPVIS };
    done(&original, &family.options(), &path("half.safetensors"), half);
    assert!(bits(&path("half.safetensors")).values().all(|(dtype, ..)| *dtype == DType::F16));
    done(&path("half.safetensors"), &ModelOptions::default(), &path("half-folder"), DIFFUSERS);
    done(&path("half-folder"), &ModelOptions::default(), &path("half-back.safetensors"), COMPVIS);
    assert_eq!(bits(&path("half-back.safetensors")), bits(&path("half.safetensors")));
    let left: Vec<String> = names(place.path()).into_iter().filter(|name| name.starts_with('.')).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn every_bit_comes_back() {
    round_trip(&SD1);
}

#[test]
fn every_bit_comes_back_of_stable_diffusion_2() {
    round_trip(&SD2);
}

/// A training checkpoint: EMA, other raw weights, and more.
fn full() -> Tensors {
    let compvis = SD1.compvis();
    let is_unet = |name: &str| name.starts_with(UNET);
    let mut full: Tensors = compvis.clone();
    full.iter_mut().filter(|(name, _)| is_unet(name)).flat_map(|(_, (_, data))| data).for_each(|x| *x += 0.5);
    let unet: Tensors = compvis.into_iter().filter(|(name, _)| is_unet(name)).collect();
    full.extend(renamed(&unet, |name| format!("model_ema.{}", name["model.".len()..].replace('.', ""))));
    full.insert("optimizer.step".into(), (vec![2], vec![0.0; 2]));
    full
}

#[test]
fn one_set_of_weights_and_no_optimiser_is_written() {
    let place = TempDir::new().unwrap();
    let path = |name: &str| place.path().join(name);
    let compvis = SD1.compvis();
    let full = write(place.path(), "full.safetensors", &full());
    write(place.path(), "expected.safetensors", &compvis);
    done(&full, &ModelOptions::default(), &path("ema.safetensors"), COMPVIS);
    assert_eq!(bits(&path("ema.safetensors")), bits(&path("expected.safetensors")));
    let raw = ModelOptions { weights: WeightSet::Raw, ..Default::default() };
    done(&full, &raw, &path("raw.safetensors"), COMPVIS);
    assert_ne!(bits(&path("raw.safetensors")), bits(&path("expected.safetensors")));

    let Inspection::Model(model) = inspect(&full, &ModelOptions::default()).unwrap() else { panic!("it is a model") };
    assert_eq!(
        (model.layout, model.weights.ema, model.weights.raw, model.weights.used),
        ("compvis", true, true, "ema")
    );
    assert_eq!(model.family, "Stable Diffusion 1");
    let extra: Vec<&str> = model.extra.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(extra, ["model", "optimizer"], "the raw weights are not in use");
    assert_eq!(model.short_hash, model.model_hash[..10]);
    let Inspection::Model(model) = inspect(&full, &raw).unwrap() else { panic!("it is a model") };
    assert!(model.weights.used == "raw" && model.warnings.len() == 1, "{:?}", model.warnings);
}

#[test]
fn a_network_alone_is_converted_too() {
    let place = TempDir::new().unwrap();
    let path = |name: &str| place.path().join(name);
    let vae = write(place.path(), "vae.ckpt", &only(&SD1.compvis(), VAE));
    done(&vae, &ModelOptions::default(), &path("vae"), DIFFUSERS);
    assert_eq!(names(&path("vae")), ["config.json", "diffusion_pytorch_model.safetensors"]);
    done(&path("vae"), &ModelOptions::default(), &path("back.safetensors"), COMPVIS);
    let whole = bits(&path("back.safetensors"));
    let prefixed = bits(&vae).into_iter().map(|(name, tensor)| (format!("{VAE}{name}"), tensor)).collect();
    assert_eq!(whole, prefixed);
}

/// What a checkpoint has that pictures are made without stays where the layout has a place for it, and is named where not.
#[test]
fn what_no_network_needs_is_kept_or_named() {
    let place = TempDir::new().unwrap();
    let path = |name: &str| place.path().join(name);
    let mut whole = SD2.compvis();
    let last = only(&SD2.compvis(), "cond_stage_model.model.transformer.resblocks.1.");
    whole.extend(renamed(&last, |name| format!("cond_stage_model.model.transformer.resblocks.2.{name}")));
    whole.insert("cond_stage_model.model.text_projection".into(), (vec![128, 128], vec![0.25; 128 * 128]));
    whole.insert("cond_stage_model.model.logit_scale".into(), (vec![], vec![4.6]));
    whole.insert("v_pred".into(), (vec![0], vec![]));
    let alphas = Model::open_with(write(place.path(), "plain.safetensors", &SD2.compvis()), &SD2.options()).unwrap();
    let alphas = alphas.noise_schedule().alphas_cumprod().to_vec();
    whole.insert("alphas_cumprod".into(), (vec![1000], alphas));
    whole.insert("betas".into(), (vec![1000], vec![0.001; 1000]));
    let kept = write(place.path(), "kept.safetensors", &whole);
    let mut more = whole.clone();
    more.insert("first_stage_model.loss.logvar".into(), (vec![], vec![0.0]));
    more.extend((0..9).map(|n| (format!("junk.{n}"), (vec![1], vec![0.0]))));
    let source = write(place.path(), "source.safetensors", &more);
    let convert_to =
        |name: &str, how| convert(&source, &ModelOptions::default(), &path(name), how, &mut |_, _| true).unwrap();
    let left_out = convert_to("back.safetensors", COMPVIS);
    assert_eq!(bits(&path("back.safetensors")), bits(&kept));
    let [one] = left_out.as_slice() else { panic!("{left_out:?}") };
    assert!(one.starts_with("10 tensors that belong to no network: first_stage_model.loss.logvar, junk.0"), "{one}");
    assert!(one.ends_with("and 5 more"), "{one}");
    let left_out = convert_to("folder", DIFFUSERS);
    assert!(left_out.len() == 2 && left_out[0].starts_with("14 tensors of the text encoder"), "{left_out:?}");
    // In half precision numbers of the noise stay as they are.
    convert_to("half.safetensors", ConvertOptions { dtype: Some(DType::F16), ..COMPVIS });
    for (name, (dtype, ..)) in bits(&path("half.safetensors")) {
        let expected = if ["alphas_cumprod", "betas"].contains(&name.as_str()) { DType::F32 } else { DType::F16 };
        assert_eq!(dtype, expected, "{name}");
    }
}

/// Noise that no first and last beta say: in the buffers of one layout, in the betas of the other.
#[test]
fn tables_of_noise_go_along() {
    #[derive(serde::Deserialize)]
    struct Noise {
        alphas_cumprod: Vec<f32>,
    }
    let noise: Noise = serde_json::from_str(include_str!("goldens/zero_snr.json")).unwrap();
    let place = TempDir::new().unwrap();
    let path = |name: &str| place.path().join(name);
    let mut table = SD2.compvis();
    table.insert("alphas_cumprod".into(), (vec![1000], noise.alphas_cumprod.clone()));
    let table = write(place.path(), "table.safetensors", &table);
    let plain = write(place.path(), "zero.safetensors", &SD2.compvis());
    let zero = ModelOptions { zero_terminal_snr: true, ..SD2.options() };
    for (from, options, key) in [(&table, SD2.options(), "trained_betas"), (&plain, zero, "rescale_betas_zero_snr")] {
        let stem = from.file_stem().unwrap().to_str().unwrap();
        let [folder, back] = ["folder", "back.safetensors"].map(|end| path(&format!("{stem}-{end}")));
        done(from, &options, &folder, DIFFUSERS);
        done(&folder, &ModelOptions::default(), &back, COMPVIS);
        let config = fs::read_to_string(folder.join("scheduler/scheduler_config.json")).unwrap();
        assert!(config.contains(key), "{config}");
        let expected = Model::open_with(from, &options).unwrap();
        for other in [&folder, &back] {
            let got = Model::open(other).unwrap();
            assert_eq!(got.noise_schedule_name(), expected.noise_schedule_name());
            let sigmas = |model: &Model| model.noise_schedule().sigmas().to_vec();
            assert!(distance(&sigmas(&got), &sigmas(&expected)) <= 1e-4, "{other:?}");
        }
    }
    // Too uneven for betas in f32.
    let mut uneven = SD2.compvis();
    let mut alphas = noise.alphas_cumprod;
    alphas[1..].iter_mut().for_each(|alpha| *alpha *= 1e-9);
    uneven.insert("alphas_cumprod".into(), (vec![1000], alphas));
    let uneven = write(place.path(), "uneven.safetensors", &uneven);
    let error = convert(&uneven, &SD2.options(), &path("uneven"), DIFFUSERS, &mut |_, _| true).unwrap_err().to_string();
    assert!(error.contains("no betas say it") && !error.contains('\n') && !path("uneven").exists(), "{error}");
}

fn refused(from: &Path, to: &Path, how: ConvertOptions, message: &str) {
    let error = convert(from, &ModelOptions::default(), to, how, &mut |_, _| true).unwrap_err().to_string();
    assert!(error.contains(message) && !error.contains('\n'), "{error}");
}

#[test]
fn nothing_half_written_is_left() {
    let place = TempDir::new().unwrap();
    let path = |name: &str| place.path().join(name);
    let mut tensors = SD1.compvis();
    tensors.get_mut("model.diffusion_model.out.2.bias").unwrap().1[0] = 1e6;
    let model = write(place.path(), "model.safetensors", &tensors);
    fs::write(path("there"), "old").unwrap();
    refused(&model, &path("there"), DIFFUSERS, "is there already");
    fs::write(path("new.yaml"), "old").unwrap();
    refused(&model, &path("new.safetensors"), COMPVIS, "new.yaml: is there already");
    let half = ConvertOptions { dtype: Some(DType::F16), ..DIFFUSERS };
    refused(&model, &path("half"), half, "conv_out.bias has numbers too large for f16: convert to bf16 or f32");
    crate::common::Sizes::default().write(&{
        fs::create_dir(path("narrow")).unwrap();
        path("narrow")
    });
    refused(&path("narrow"), &path("narrow.safetensors"), COMPVIS, "its norms have other than 32 groups");
    let stopped = convert(&model, &ModelOptions::default(), &path("y"), DIFFUSERS, &mut |done, _| done < 100_000);
    assert!(stopped.unwrap_err().to_string().ends_with("stopped"));
    refused(&path("nowhere"), &path("x"), DIFFUSERS, "nowhere: there is no such file or folder");
    assert_eq!(names(place.path()), ["model.safetensors", "narrow", "new.yaml", "there"]);
}

/// A pipeline saved with words of its own: they stay what they are, in a folder and in memory.
#[test]
fn added_tokens_go_along_or_are_refused() {
    let place = TempDir::new().unwrap();
    let path = |name: &str| place.path().join(name);
    let mut sizes = crate::common::Sizes::default();
    sizes.text.vocab_size += 2;
    sizes.write(&path("model"));
    fs::create_dir(path("model/tokenizer")).unwrap();
    let added = r#"{"<cat-toy>": 49408, "Sks": 49409}"#.to_owned();
    for (name, text) in calotype_text::clip_files().into_iter().chain([("added_tokens.json", added)]) {
        fs::write(path("model/tokenizer").join(name), text).unwrap();
    }
    done(&path("model"), &ModelOptions::default(), &path("again"), DIFFUSERS);
    for folder in ["model", "again"] {
        let files = FILES.iter().copied().chain([
            "model_index.json",
            "scheduler/scheduler_config.json",
            "text_encoder/config.json",
            "unet/config.json",
            "vae/config.json",
            "tokenizer/vocab.json",
            "tokenizer/merges.txt",
            "tokenizer/added_tokens.json",
        ]);
        let bytes = files.map(|name| (name, fs::read(path(folder).join(name)).unwrap()));
        let in_memory = Model::from_files("memory", bytes.collect::<Vec<_>>()).unwrap();
        for model in [Model::open(path(folder)).unwrap(), in_memory] {
            assert_eq!(model.tokenizer().encode_raw("a <cat-toy>, sks"), [320, 49408, 267, 49409], "{folder}");
        }
    }
    let words = "its tokenizer has the added tokens \"<cat-toy>\", \"Sks\", which a checkpoint in one file";
    refused(&path("model"), &path("model.safetensors"), COMPVIS, words);
    // Rows for them have to be there.
    sizes.text.vocab_size -= 1;
    sizes.write(&path("short"));
    fs::rename(path("model/tokenizer"), path("short/tokenizer")).unwrap();
    let error = Model::open(path("short")).err().unwrap().to_string();
    assert!(error.contains("vocab_size = 49409, but the tokenizer has 49410 tokens"), "{error}");
}

#[test]
fn what_is_damaged_is_found() {
    let place = TempDir::new().unwrap();
    let path = write(place.path(), "model.safetensors", &SD1.compvis());
    let none = ModelOptions::default();
    let run = |expected: Option<&str>| verify(&path, &none, expected, &mut |_, _| true);
    let found = run(None).unwrap();
    assert!(found.whole_model && found.checked_against.is_none());
    assert_eq!(found.sha256, Model::open(&path).unwrap().hash().unwrap());
    assert_eq!(run(Some(&found.sha256)).unwrap().checked_against.as_deref(), Some("--sha256"));
    let wrong = run(Some(&"0".repeat(64))).unwrap_err().to_string();
    assert!(wrong.contains("expected 0000") && wrong.contains("--sha256"), "{wrong}");
    assert!(run(Some("abc")).unwrap_err().is_request());
    fs::write(place.path().join("model.safetensors.sha256"), format!("{}  x\n", "1".repeat(64))).unwrap();
    assert!(run(None).unwrap_err().to_string().contains("model.safetensors.sha256"));
    let mut tensors = SD1.compvis();
    tensors.get_mut("first_stage_model.decoder.conv_out.bias").unwrap().1[2] = f32::NAN;
    let path = write(place.path(), "nan.safetensors", &tensors);
    let error = verify(&path, &none, None, &mut |_, _| true).unwrap_err().to_string();
    assert!(error.contains("decoder.conv_out.bias") && error.contains("has NaN at its place 2"), "{error}");
}

#[test]
fn trees_of_other_programs_are_listed() {
    let place = TempDir::new().unwrap();
    let folder = |name: &str| {
        let path = place.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    };
    let vae = only(&SD1.compvis(), VAE);
    let lora = Tensors::from([("lora_unet_x.lora_down.weight".to_owned(), (vec![1], vec![0.0]))]);
    write(&folder("a1111/models/Stable-diffusion/sub"), "model.ckpt", &SD1.compvis());
    write(&folder("a1111/models/Lora"), "style.safetensors", &lora);
    fs::write(folder("a1111/models/VAE").join("broken.pt"), "x").unwrap();
    fs::write(folder("a1111/models/VAE").join("note.txt"), "x").unwrap();
    write(&folder("comfy/models/vae"), "vae.bin", &vae);
    write(&folder("elsewhere/more"), "other.safetensors", &lora);
    let extra =
        format!("a:\n  base_path: {}\n  loras: |\n    more\n    none\n", place.path().join("elsewhere").display());
    fs::write(place.path().join("comfy/extra_model_paths.yaml"), extra).unwrap();
    crate::common::Sizes::default().write(&folder("hub/models--org--name/snapshots/abc"));
    fs::create_dir_all(place.path().join("hub/models--org--name/refs")).unwrap();
    fs::write(place.path().join("hub/models--org--name/refs/main"), "abc").unwrap();
    let found = list(&["a1111", "comfy", "hub"].map(|name| place.path().join(name))).unwrap();
    let told: Vec<(&str, &str, &str)> = found.iter().map(|l| (l.tree, l.name.as_str(), l.what.as_str())).collect();
    assert_eq!(
        told,
        [
            ("a1111", "style", "an adapter (LoRA (kohya))"),
            ("a1111", "model", "Stable Diffusion 1 checkpoint"),
            ("a1111", "broken", "cannot be read: see models inspect"),
            ("comfyui", "vae", "VAE"),
            ("comfyui", "other", "an adapter (LoRA (kohya))"),
            ("hub", "org/name", "diffusers model"),
        ]
    );
    assert_eq!(list(&[place.path().join("nowhere")]).unwrap(), []);
}

/// The weights of a family in a folder: plain, in half precision as a variant, or in shards.
fn folder_of(family: &Family, folder: &Path, form: &str) {
    fs::create_dir(folder).unwrap();
    family.sizes.write(folder);
    for file in FILES {
        let path = folder.join(file);
        let (network, name) = file.split_once('/').unwrap();
        let stem = name.strip_suffix(".safetensors").unwrap();
        let tensors = &family.weights[network];
        match form {
            "fp16" => {
                fs::remove_file(&path).unwrap();
                let encoded = tensors.iter().map(|(name, (shape, data))| {
                    (name.clone(), DType::F16, shape.clone(), encode_f32(data, DType::F16).unwrap().into())
                });
                let path = folder.join(network).join(format!("{stem}.fp16.safetensors"));
                write_safetensors(path, encoded.collect::<Vec<_>>(), &BTreeMap::new()).unwrap();
            }
            "shards" => {
                fs::remove_file(&path).unwrap();
                let mut places = serde_json::Map::new();
                for n in 0..2 {
                    let name = format!("{stem}-0000{}-of-00002.safetensors", n + 1);
                    let part = tensors.iter().enumerate().filter(|(at, _)| at % 2 == n).map(|(_, tensor)| tensor);
                    let part: Tensors = part.map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
                    places.extend(part.keys().map(|key| (key.clone(), name.clone().into())));
                    write_weights(&folder.join(network).join(name), &part);
                }
                let index = serde_json::json!({"metadata": {}, "weight_map": places});
                fs::write(folder.join(network).join(format!("{stem}.safetensors.index.json")), index.to_string())
                    .unwrap();
            }
            _ => {}
        }
    }
}

/// Every source to every layout and number type: the bits that they were made of.
#[test]
fn any_layout_becomes_any_other_in_any_number_type() {
    for family in [&*SD1, &*SD2] {
        let place = TempDir::new().unwrap();
        let path = |name: &str| place.path().join(name);
        let compvis = family.compvis();
        for form in ["plain", "fp16", "shards"] {
            folder_of(family, &path(form), form);
        }
        let unet: Tensors =
            compvis.iter().filter(|(name, _)| name.starts_with(UNET)).map(|(n, t)| (n.clone(), t.clone())).collect();
        let mut full = renamed(&unet, |name| format!("model_ema.{}", name["model.".len()..].replace('.', "")));
        full.extend(compvis.iter().map(|(name, (shape, data))| {
            let raw = name.starts_with(UNET);
            (name.clone(), (shape.clone(), data.iter().map(|x| if raw { x + 0.5 } else { *x }).collect()))
        }));
        full.insert("optimizer.step".into(), (vec![2], vec![0.0; 2]));
        let mut no_vae = compvis.clone();
        no_vae.retain(|name, _| !name.starts_with(VAE));
        let vae = write(place.path(), "vae.safetensors", &only(&compvis, VAE));
        let options = family.options();
        let sources = [
            (write(place.path(), "single.ckpt", &compvis), options.clone()),
            (write(place.path(), "full.safetensors", &full), options.clone()),
            (write(place.path(), "parts.safetensors", &no_vae), ModelOptions { vae: Some(vae), ..options.clone() }),
            (path("plain"), ModelOptions::default()),
            (path("fp16"), ModelOptions::default()),
            (path("shards"), ModelOptions::default()),
        ];
        let mut count = 0;
        let half = |(file, network): (&&str, &'static str)| {
            let file = path("fp16").join(file.replace(".safetensors", ".fp16.safetensors"));
            (network, Checkpoint::open(&file, "").unwrap())
        };
        let halves: BTreeMap<&str, Checkpoint> = FILES.iter().zip(["text_encoder", "unet", "vae"]).map(half).collect();
        // All of one family, and of the other what differs.
        let first = family.name == "sd1";
        let dtypes: &[_] = if first { &[None, Some(DType::F16), Some(DType::BF16)] } else { &[None, Some(DType::F16)] };
        for (source, options) in sources.iter().filter(|(source, _)| first || source.ends_with("single.ckpt")) {
            let is_half = source.ends_with("fp16");
            for to in [ConvertTo::Diffusers, ConvertTo::CompVis] {
                for &dtype in dtypes {
                    let (made, canonical) = (path(&format!("made{count}")), path(&format!("canonical{count}")));
                    done(source, options, &made, ConvertOptions { to, dtype });
                    // By way of the folder's names, in which nothing changes.
                    let folder = match to {
                        ConvertTo::Diffusers => &made,
                        ConvertTo::CompVis => {
                            done(&made, &ModelOptions::default(), &canonical, DIFFUSERS);
                            &canonical
                        }
                    };
                    let own = if is_half { DType::F16 } else { DType::F32 };
                    for (file, network) in FILES.iter().zip(["text_encoder", "unet", "vae"]) {
                        let got = bits(&folder.join(file));
                        assert_eq!(got.len(), family.weights[network].len());
                        for (name, (shape, data)) in &family.weights[network] {
                            let data = if is_half { halves[network].read_f32(name).unwrap() } else { data.clone() };
                            let dtype = dtype.unwrap_or(own);
                            let expected = (dtype, shape.clone(), encode_f32(&data, dtype).unwrap());
                            assert!(got[name] == expected, "{source:?} {to:?} {dtype:?}: {name}");
                        }
                    }
                    let _ = (fs::remove_dir_all(&canonical), fs::remove_dir_all(&made), fs::remove_file(&made));
                    count += 1;
                    let _ = fs::remove_file(made.with_extension("yaml"));
                }
            }
        }
        assert_eq!(count, if first { 36 } else { 4 });
    }
}

/// A checkpoint that torch wrote, with both sets and an optimiser, if `../shared/goldens` is beside the repository.
#[test]
fn a_ckpt_of_torch_becomes_what_its_pruned_file_is() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/goldens/compvis-tiny");
    if !folder.exists() {
        return;
    }
    let place = TempDir::new().unwrap();
    let path = |name: &str| place.path().join(name);
    let options = ModelOptions { config: Some(folder.join("config.yaml")), ..Default::default() };
    done(&folder.join("full.ckpt"), &options, &path("full"), DIFFUSERS);
    done(&folder.join("pruned-ema.safetensors"), &options, &path("pruned"), DIFFUSERS);
    for file in FILES {
        assert_eq!(bits(&path("full").join(file)), bits(&path("pruned").join(file)), "{file}");
    }
}
