//! Runs with adapters: equal to diffusers' (`reference/adapters_pipeline.py`), and without a trace once they are off.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::sync::Arc;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use calotype::{
    Keep, Model, Pipeline, PipelineOptions, Precision, Request,
    adapters::{AdapterFile, AdapterFolders, AdapterOptions, EmbeddingOptions, LoraOptions},
    metadata::Metadata,
};
use serde::Deserialize;
use tempfile::TempDir;

use crate::common::{Sizes, Tensors, begin, distance, values, write_weights};

#[derive(Deserialize)]
struct Golden {
    size: f64,
    prompt: String,
    negative: String,
    /// Shapes by key, and the strength.
    loras: BTreeMap<String, (BTreeMap<String, Vec<usize>>, f32)>,
    /// Vectors by token.
    embeddings: BTreeMap<String, usize>,
    plain: Vec<f32>,
    kohya: Vec<f32>,
    both: Vec<f32>,
    with_embeddings: Vec<f32>,
    everything: Vec<f32>,
}

/// A model and adapters in a folder.
struct Fixture {
    golden: Golden,
    folder: TempDir,
    model: Arc<Model>,
}

fn tensors(shapes: &BTreeMap<String, Vec<usize>>, size: f64) -> Tensors {
    let made = shapes.iter().map(|(key, shape)| {
        let values = values(key, shape.iter().product());
        (key.clone(), (shape.clone(), values.into_iter().map(|v| (v * size) as f32).collect()))
    });
    made.collect()
}

impl Fixture {
    fn new() -> Self {
        let golden: Golden = serde_json::from_str(include_str!("goldens/adapters.json")).unwrap();
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("model")).unwrap();
        Sizes::default().write(&path("model"));
        fs::create_dir_all(path("loras/deeper")).unwrap();
        fs::create_dir(path("embeddings")).unwrap();
        for (name, place) in [("kohya", "loras/kohya.safetensors"), ("peft", "loras/deeper/peft.safetensors")] {
            write_weights(&path(place), &tensors(&golden.loras[name].0, golden.size));
        }
        for (n, (token, &vectors)) in golden.embeddings.iter().enumerate() {
            // One by its own token, one by its file's name.
            let (file, key) = if n == 0 { ("toy", token.as_str()) } else { (token.as_str(), "emb_params") };
            let numbers = values(token, 8 * vectors).into_iter().map(|v| v as f32).collect();
            let tensors = BTreeMap::from([(key.to_owned(), (vec![vectors, 8], numbers))]);
            write_weights(&path(&format!("embeddings/{file}.safetensors")), &tensors);
        }
        let model = Arc::new(Model::open(path("model")).unwrap());
        Self { golden, folder, model }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn folders(&self) -> AdapterFolders {
        AdapterFolders { loras: vec![self.path("loras")], embeddings: Vec::new(), ..AdapterFolders::default() }
    }

    fn request(&self, prompt: &str, adapters: AdapterOptions) -> Request {
        Request {
            prompt: prompt.to_owned(),
            negative_prompt: self.golden.negative.clone(),
            adapters,
            num_inference_steps: 4,
            width: Some(32),
            height: Some(32),
            seed: 3,
            ..Request::default()
        }
    }

    fn lora(&self, name: &str, place: &str) -> LoraOptions {
        let strength = self.golden.loras[name].1;
        let file = AdapterFile::Path(self.path(place));
        LoraOptions { file, text_encoder: strength, unet: strength, ranks: None }
    }

    fn both(&self) -> Vec<LoraOptions> {
        vec![self.lora("kohya", "loras/kohya.safetensors"), self.lora("peft", "loras/deeper/peft.safetensors")]
    }

    fn embeddings(&self) -> Vec<EmbeddingOptions> {
        let names = ["toy.safetensors", "inkwash.safetensors"];
        names.map(|name| EmbeddingOptions { file: self.path("embeddings").join(name), name: None }).to_vec()
    }
}

fn load(model: &Arc<Model>, keep: Keep, precision: Precision) -> Pipeline {
    Pipeline::load(Arc::clone(model), PipelineOptions { keep, precision, ..PipelineOptions::default() }).unwrap()
}

fn latents(pipeline: &Pipeline, request: &Request) -> Vec<f32> {
    begin(pipeline, request).unwrap().finish_latents().unwrap().to_nchw()
}

#[test]
fn latents_are_those_of_diffusers() {
    let fixture = Fixture::new();
    let golden = &fixture.golden;
    // The same pipeline for all: networks are read again where adapters change.
    let pipeline = load(&fixture.model, Keep::All, Precision::F32);
    let (loras, embeddings) = (fixture.both(), fixture.embeddings());
    let options = |loras: &[LoraOptions], embeddings: &[EmbeddingOptions]| AdapterOptions {
        loras: loras.to_vec(),
        embeddings: embeddings.to_vec(),
        ..AdapterOptions::default()
    };
    for (name, options, expected) in [
        ("plain", options(&[], &[]), &golden.plain),
        ("kohya", options(&loras[..1], &[]), &golden.kohya),
        ("both", options(&loras, &[]), &golden.both),
        ("embeddings", options(&[], &embeddings), &golden.with_embeddings),
        ("everything", options(&loras, &embeddings), &golden.everything),
        ("plain again", options(&[], &[]), &golden.plain),
    ] {
        let got = latents(&pipeline, &fixture.request(&golden.prompt, options));
        let error = distance(&got, expected);
        assert!(error <= 1e-4, "{name}: {error:.1e}");
    }
}

#[test]
fn files_in_memory_are_those_on_disk() {
    let fixture = Fixture::new();
    let pipeline = load(&fixture.model, Keep::All, Precision::F32);
    let with = |loras| fixture.request("a", AdapterOptions { loras, ..AdapterOptions::default() });
    let in_memory = |place: &str| {
        let bytes = fs::read(fixture.path(place)).unwrap().into();
        AdapterFile::Memory { name: "kohya".into(), bytes }
    };
    // Two files of one name are two adapters.
    for place in ["loras/kohya.safetensors", "loras/deeper/peft.safetensors"] {
        let on_disk = fixture.lora("kohya", place);
        let loaded = LoraOptions { file: in_memory(place), ..on_disk.clone() };
        let hash = |lora: LoraOptions| begin(&pipeline, &with(vec![lora])).unwrap().adapters().unwrap().remove(0);
        let (expected, found) = (hash(on_disk.clone()), hash(loaded.clone()));
        assert_eq!((found.sha256, found.short_hash), (expected.sha256, expected.short_hash));
        assert_eq!(found.name, "kohya");
        assert_eq!(latents(&pipeline, &with(vec![loaded])), latents(&pipeline, &with(vec![on_disk])));
    }
}

#[test]
fn a_prompt_calls_by_name() {
    let fixture = Fixture::new();
    let pipeline = load(&fixture.model, Keep::UNet, Precision::F32);
    let prompt = &fixture.golden.prompt;
    let loras = fixture.both();
    let given = latents(&pipeline, &fixture.request(prompt, AdapterOptions { loras, ..AdapterOptions::default() }));
    let folders = AdapterOptions { folders: fixture.folders(), ..AdapterOptions::default() };
    let called = fixture.request(&format!("<lora:kohya:0.5>{prompt}<lora:peft:1.25:te=1.25>"), folders.clone());
    assert_eq!(given, latents(&pipeline, &called));
    // One may say the folder that it is in, on either system.
    for (first, second) in [("loras/kohya", "deeper/peft"), ("kohya", "loras\\deeper\\peft")] {
        let prompt = format!("<lora:{first}:0.5>{prompt}<lora:{second}:1.25>");
        assert_eq!(given, latents(&pipeline, &fixture.request(&prompt, folders.clone())), "{second}");
    }
    // And the next line without them.
    let plain = latents(&pipeline, &fixture.request(prompt, folders.clone()));
    assert_eq!(
        plain,
        latents(
            &load(&fixture.model, Keep::Nothing, Precision::F32),
            &fixture.request(prompt, AdapterOptions::default())
        )
    );
    for (prompt, expected) in [
        ("<lora:none:1>", "there is no LoRA \"none\" among 2 files"),
        ("<lora:../loras/kohya:1>", "there is no LoRA \"../loras/kohya\" among 2 files (there is \"kohya\")"),
        ("<lora:other/peft:1>", "there is no LoRA \"other/peft\" among 2 files (there is \"peft\")"),
        ("<lora:kohya:0,5>", "\"0,5\" has a comma: write 0.5"),
        ("<hypernet:x:1>", "the hypernetwork \"x\" can't be looked up: give the folder that it is in"),
        ("<lora:kohya:much>", "\"much\" is no number"),
    ] {
        let error = begin(&pipeline, &fixture.request(prompt, folders.clone())).err().unwrap();
        assert!(error.to_string().contains(expected) && error.is_request(), "{error}");
    }
}

#[test]
fn what_is_taken_off_leaves_no_trace_in_any_precision() {
    let fixture = Fixture::new();
    for precision in [Precision::F32, Precision::BF16, Precision::Int8] {
        let pipeline = load(&fixture.model, Keep::All, precision);
        let request = |loras, embeddings| {
            let adapters = AdapterOptions { loras, embeddings, ..AdapterOptions::default() };
            fixture.request(&fixture.golden.prompt, adapters)
        };
        let plain = request(Vec::new(), Vec::new());
        let before = latents(&pipeline, &plain);
        let with = latents(&pipeline, &request(fixture.both(), fixture.embeddings()));
        assert!(distance(&with, &before) > 0.01, "{precision}");
        assert!(distance(&with, &fixture.golden.everything) < if precision == Precision::F32 { 1e-4 } else { 0.1 });
        assert_eq!(before, latents(&pipeline, &plain), "{precision}");
    }
}

#[test]
fn folders_of_embeddings_are_open_to_prompts() {
    let fixture = Fixture::new();
    fs::write(fixture.path("embeddings/broken.pt"), "not a file of PyTorch").unwrap();
    fs::write(fixture.path("embeddings/picture.png"), "not looked at").unwrap();
    let wide = BTreeMap::from([("emb_params".to_owned(), (vec![1, 9], vec![0.0; 9]))]);
    write_weights(&fixture.path("embeddings/wide.safetensors"), &wide);
    let folders = AdapterFolders { embeddings: vec![fixture.path("embeddings")], ..AdapterFolders::default() };
    let request = fixture.request(&fixture.golden.prompt, AdapterOptions { folders, ..AdapterOptions::default() });
    let pipeline = load(&fixture.model, Keep::Nothing, Precision::F32);
    let run = begin(&pipeline, &request).unwrap();
    assert_eq!(run.warnings(), []);
    let names: Vec<String> = run.adapters().unwrap().into_iter().map(|adapter| adapter.name).collect();
    assert_eq!(names, ["inkwash", "toy"]);
    let got = run.finish_latents().unwrap();
    assert!(distance(&got.to_nchw(), &fixture.golden.with_embeddings) <= 1e-4);
    // What is wrong with one matters where a text names it, whatever follows.
    let warned = |prompt: &str, negative: &str| {
        let request = Request { negative_prompt: negative.into(), ..fixture.request(prompt, request.adapters.clone()) };
        let run = begin(&pipeline, &request).unwrap();
        run.warnings().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(warned("unbroken", "a wideness"), Vec::<String>::new());
    let [broken] = &warned("", "a Broken, thing")[..] else { panic!("one warning") };
    assert!(broken.contains("broken.pt") && !broken.contains('\n'), "{broken}");
    let [wide] = &warned("a wide tree", "")[..] else { panic!("one warning") };
    assert!(wide.contains("vectors of 9 numbers, but the model's text encoder has 8"), "{wide}");
    let asked = |name: &str| AdapterOptions {
        embeddings: vec![EmbeddingOptions { file: fixture.path(name), name: None }],
        ..AdapterOptions::default()
    };
    for (name, expected) in [
        ("embeddings/wide.safetensors", "vectors of 9 numbers, but the model's text encoder has 8"),
        ("embeddings/nothing.pt", "there is no such file"),
        ("loras/kohya.safetensors", "expected the one of a textual inversion embedding"),
    ] {
        let error = begin(&pipeline, &fixture.request("", asked(name))).err().unwrap().to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn a_pictures_file_says_what_makes_it_again() {
    let fixture = Fixture::new();
    let pipeline = load(&fixture.model, Keep::Nothing, Precision::F32);
    let adapters = AdapterOptions {
        loras: vec![fixture.lora("peft", "loras/deeper/peft.safetensors")],
        embeddings: fixture.embeddings(),
        folders: fixture.folders(),
        ..AdapterOptions::default()
    };
    let request = fixture.request("a <cat-toy> <lora:kohya:0.5>", adapters);
    let run = begin(&pipeline, &request).unwrap();
    let mut metadata = Metadata::new(&fixture.model, run.plan(), Precision::F32, 0).unwrap();
    metadata.adapters = run.adapters().unwrap();
    let expected = run.finish_latents().unwrap();
    let kinds: Vec<_> = metadata.adapters.iter().map(|adapter| (adapter.kind.id(), adapter.name.as_str())).collect();
    assert_eq!(kinds, [("lora", "peft"), ("lora", "kohya"), ("embedding", "toy")]);

    // JSON: the same request again, beside the folders, which the caller gives.
    let read = Metadata::from_json(&metadata.to_json()).unwrap();
    assert_eq!(read, metadata);
    let mut again = read.request(&[]).unwrap().0;
    again.adapters.folders = fixture.folders();
    assert_eq!(begin(&pipeline, &again).unwrap().finish_latents().unwrap(), expected);

    // A1111's text: what was given is called for in the prompt.
    let text = metadata.parameters();
    let peft = &metadata.adapters[0];
    assert_eq!(peft.short_hash, hash_of_data(&fixture.path("loras/deeper/peft.safetensors")));
    assert!(text.starts_with("a <cat-toy> <lora:kohya:0.5> <lora:peft:1.25:1.25>\n"), "{text}");
    let kohya = &metadata.adapters[1].short_hash;
    assert!(text.contains(&format!("Lora hashes: \"peft: {}, kohya: {kohya}\"", peft.short_hash)), "{text}");
    assert!(text.contains(&format!("TI hashes: \"toy: {}\"", metadata.adapters[2].short_hash)), "{text}");
    let read = Metadata::from_parameters(&text);
    assert_eq!(read.unread, []);
    let mut again = read.metadata.request(&[]).unwrap().0;
    again.adapters = AdapterOptions { folders: fixture.folders(), embeddings: fixture.embeddings(), ..again.adapters };
    let again = begin(&pipeline, &again).unwrap().finish_latents().unwrap();
    assert!(distance(again.data(), expected.data()) <= 1e-5);
}

/// kohya's hash: SHA-256 of the data, and A1111's twelve digits of it.
fn hash_of_data(path: &Path) -> String {
    use sha2::Digest;
    let bytes = fs::read(path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let digest = sha2::Sha256::digest(&bytes[8 + header..]);
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// `embedding:name`, with or without the file's ending, as in ComfyUI.
#[test]
fn embeddings_are_called_as_in_comfyui_too() {
    let fixture = Fixture::new();
    let pipeline = load(&fixture.model, Keep::All, Precision::F32);
    let folders = AdapterFolders { embeddings: vec![fixture.path("embeddings")], ..AdapterFolders::default() };
    let adapters = AdapterOptions { folders, ..AdapterOptions::default() };
    let of = |prompt: &str| {
        let run = begin(&pipeline, &fixture.request(prompt, adapters.clone())).unwrap();
        let warnings: Vec<String> = run.warnings().iter().map(ToString::to_string).collect();
        (run.finish_latents().unwrap(), warnings)
    };
    let (by_name, _) = of("a toy, red");
    assert!(by_name != of("a dog, red").0);
    for prompt in ["a embedding:toy, red", "a embedding:toy.safetensors, red", "a Embedding:Toy, red"] {
        assert_eq!(of(prompt), (by_name.clone(), vec![]), "{prompt}");
    }
    let missing = "the prompt calls for the embedding \"nothing\", which is not there, so its name is read as text";
    assert_eq!(of("a embedding:nothing, (embedding:toy:1.2), embedding:nothing").1, [missing]);
}

#[test]
fn a_name_may_be_the_one_that_it_was_trained_under() {
    let fixture = Fixture::new();
    let tensors = tensors(&fixture.golden.loras["kohya"].0, fixture.golden.size);
    let encoded = tensors.iter().map(|(name, (shape, data))| {
        let bytes = calotype_formats::encode_f32(data, calotype_formats::DType::F32).unwrap();
        (name.clone(), calotype_formats::DType::F32, shape.clone(), bytes.into())
    });
    let metadata = BTreeMap::from([("ss_output_name".to_owned(), "inkstyle".to_owned())]);
    let path = fixture.path("loras/renamed.safetensors");
    calotype_formats::write_safetensors(&path, encoded.collect::<Vec<_>>(), &metadata).unwrap();
    let pipeline = load(&fixture.model, Keep::Nothing, Precision::F32);
    let adapters = AdapterOptions { folders: fixture.folders(), ..AdapterOptions::default() };
    let by = |name: &str| latents(&pipeline, &fixture.request(&format!("x<lora:{name}:1>"), adapters.clone()));
    assert_eq!(by("inkstyle"), by("kohya"));
}

/// The kohya LoRA with the fixture's embeddings in it.
fn write_bundle(fixture: &Fixture, path: &Path) {
    let mut bundle = tensors(&fixture.golden.loras["kohya"].0, fixture.golden.size);
    for (token, &vectors) in &fixture.golden.embeddings {
        let numbers = values(token, 8 * vectors).into_iter().map(|v| v as f32).collect();
        bundle.insert(format!("bundle_emb.{token}.string_to_param.*"), (vec![vectors, 8], numbers));
    }
    write_weights(path, &bundle);
}

/// A1111's rule: they are there while their LoRA is, unless a file has their name.
#[test]
fn embeddings_in_a_loras_file_are_open_to_prompts() {
    let fixture = Fixture::new();
    write_bundle(&fixture, &fixture.path("bundle.safetensors"));
    let pipeline = load(&fixture.model, Keep::All, Precision::F32);
    let lora = |name: &str| LoraOptions {
        file: AdapterFile::Path(fixture.path(name)),
        text_encoder: 0.0,
        unet: 0.0,
        ranks: None,
    };
    let request = |loras, embeddings| {
        let adapters = AdapterOptions { loras, embeddings, ..AdapterOptions::default() };
        fixture.request(&fixture.golden.prompt, adapters)
    };
    // Alone they make what they make in files of their own; the LoRA has no strength.
    let bundled = request(vec![lora("bundle.safetensors")], Vec::new());
    let run = begin(&pipeline, &bundled).unwrap();
    assert_eq!(run.warnings(), []);
    assert_eq!(run.adapters().unwrap().len(), 1, "the LoRA brings them along");
    assert!(distance(&run.finish_latents().unwrap().to_nchw(), &fixture.golden.with_embeddings) <= 1e-4);
    assert!(distance(&latents(&pipeline, &request(Vec::new(), Vec::new())), &fixture.golden.plain) <= 1e-4);
    // Files go before them.
    let other = BTreeMap::from([("emb_params".to_owned(), (vec![1, 8], vec![0.25; 8]))]);
    let own = fixture.path("inkwash.safetensors");
    write_weights(&own, &other);
    let own = vec![EmbeddingOptions { file: own, name: None }];
    let toy = vec![fixture.embeddings().remove(0)];
    let both = latents(&pipeline, &request(vec![lora("bundle.safetensors")], own.clone()));
    assert_eq!(both, latents(&pipeline, &request(Vec::new(), [own, toy].concat())));
    // One for another family is passed over, with a word if a text names it.
    let mut wide = tensors(&fixture.golden.loras["kohya"].0, fixture.golden.size);
    wide.insert("bundle_emb.wide.emb_params".into(), (vec![1, 9], vec![0.0; 9]));
    write_weights(&fixture.path("wide.safetensors"), &wide);
    let warned = |negative: &str| {
        let request = request(vec![lora("wide.safetensors")], Vec::new());
        let run = begin(&pipeline, &Request { negative_prompt: negative.into(), ..request }).unwrap();
        run.warnings().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(warned("width"), Vec::<String>::new());
    let warnings = warned("a wide street");
    assert!(matches!(warnings.as_slice(), [one] if one.contains("vectors of 9 numbers")), "{warnings:?}");
}

/// A folder of PEFT is called by its name, and hashed by its file.
#[test]
fn a_folder_is_an_adapter_too() {
    let fixture = Fixture::new();
    let folder = fixture.path("loras/v1.5 style");
    fs::create_dir(&folder).unwrap();
    let peft = |key: &str| key.strip_prefix("unet.").map(|key| format!("base_model.model.{key}"));
    let all = tensors(&fixture.golden.loras["peft"].0, fixture.golden.size);
    let unet: Tensors = all.into_iter().filter_map(|(key, tensor)| Some((peft(&key)?, tensor))).collect();
    assert!(!unet.is_empty());
    write_weights(&folder.join("adapter_model.safetensors"), &unet);
    let adapters = AdapterOptions { folders: fixture.folders(), ..AdapterOptions::default() };
    let by = |alpha: f64, strength: f64| {
        let rank = unet.iter().find(|(key, _)| key.ends_with("lora_A.weight")).unwrap().1.0[0];
        let config = format!("{{\"peft_type\": \"LORA\", \"r\": {rank}, \"lora_alpha\": {}}}", alpha * rank as f64);
        fs::write(folder.join("adapter_config.json"), config).unwrap();
        let request = fixture.request(&format!("x<lora:v1.5 style:{strength}>"), adapters.clone());
        let pipeline = load(&fixture.model, Keep::Nothing, Precision::F32);
        let hash = begin(&pipeline, &request).unwrap().adapters().unwrap().remove(0).short_hash;
        assert_eq!(hash, hash_of_data(&folder.join("adapter_model.safetensors")));
        latents(&pipeline, &request)
    };
    assert!(distance(&by(2.0, 0.25), &by(1.0, 0.5)) <= 1e-5);
    assert!(distance(&by(2.0, 0.5), &by(1.0, 0.5)) > 1e-3);
}
