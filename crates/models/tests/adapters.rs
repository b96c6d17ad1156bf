//! Adapters against diffusers, PEFT and LyCORIS (`reference/adapters.py`), taken off again, and refused.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use calotype_formats::{Checkpoint, DType, SafeTensors, encode_f32, to_bytes};
use calotype_models::{
    Component, Error, LayerKind, ModelConfig, ParamSource, TextConfig, UNetConfig, UNetInputs,
    adapters::{Adapted, Adapter, AdapterSummary, AdapterWeights, Algorithm, Applied},
};
use calotype_tensor::{
    Backend, Precision, Threads,
    cpu::{Cpu, CpuOptions},
    reference::Reference,
};
use common::{Formula, assert_close, tensor, values};
use serde::Deserialize;

const TOLERANCE: f32 = 1e-4;

/// What `reference/adapters.py` writes.
#[derive(Deserialize)]
struct Goldens {
    size: f64,
    unet: serde_json::Value,
    text_encoder: serde_json::Value,
    latents: Vec<usize>,
    context: Vec<usize>,
    timestep: f32,
    ids: Vec<Vec<u32>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    network: String,
    strength: f32,
    metadata: BTreeMap<String, String>,
    /// PEFT's `adapter_config.json` beside it.
    config: Option<String>,
    tensors: BTreeMap<String, Values>,
    output: Vec<f32>,
}

/// The values of a tensor: of this shape by formula, or one number.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Values {
    Shape(Vec<usize>),
    Number(f32),
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

impl Goldens {
    fn read() -> Self {
        #[derive(Deserialize)]
        struct More {
            cases: Vec<Case>,
        }
        let read = |name: &str| {
            std::fs::read_to_string(format!("{}/tests/goldens/{name}.json", env!("CARGO_MANIFEST_DIR"))).unwrap()
        };
        let mut goldens: Self = serde_json::from_str(&read("adapters")).unwrap();
        goldens.cases.extend(serde_json::from_str::<More>(&read("peft")).unwrap().cases);
        goldens
    }

    fn case(&self, name: &str) -> &Case {
        self.cases.iter().find(|case| case.name == name).unwrap()
    }

    fn unet(&self) -> UNetConfig {
        UNetConfig::from_json(&self.unet.to_string()).unwrap()
    }

    fn text_encoder(&self) -> TextConfig {
        TextConfig::from_json(&self.text_encoder.to_string()).unwrap()
    }

    fn tensors(&self, case: &Case) -> Tensors {
        let made = case.tensors.iter().map(|(key, made)| {
            let (shape, values) = match made {
                Values::Number(number) => (Vec::new(), vec![*number]),
                Values::Shape(shape) => {
                    let values = values(key, shape.iter().product());
                    (shape.clone(), values.into_iter().map(|v| (v * self.size) as f32).collect())
                }
            };
            (key.clone(), (shape, values))
        });
        made.collect()
    }

    fn adapter(&self, tensors: &Tensors, metadata: &BTreeMap<String, String>) -> Result<Adapter, Error> {
        Adapter::new(file(tensors, metadata), &self.unet().specs()?, &self.text_encoder().specs()?)
    }

    fn applied(&self, case: &Case) -> Applied {
        let adapter = match &case.config {
            None => self.adapter(&self.tensors(case), &case.metadata).unwrap(),
            Some(config) => {
                let folder = tempfile::tempdir().unwrap();
                write_peft(folder.path(), config, &self.tensors(case));
                // Data are read later, from the open file.
                let weights = AdapterWeights::open(folder.path()).unwrap();
                Adapter::new(weights, &self.unet().specs().unwrap(), &self.text_encoder().specs().unwrap()).unwrap()
            }
        };
        assert_eq!(adapter.matched().unused, Vec::<String>::new(), "{}", case.name);
        let adapter = Arc::new(adapter);
        Applied { adapter, unet: case.strength, text_encoder: case.strength, ranks: None }
    }

    /// The output of a network with adapters.
    fn run<B: Backend>(&self, b: &B, network: &str, adapters: &[Applied]) -> Result<Vec<f32>, Error> {
        let mut formula = Formula;
        if network == "text_encoder" {
            let mut source = Adapted::new(&mut formula, Component::TextEncoder, adapters, b.threads());
            let encoder = self.text_encoder().init(b, &mut source)?;
            return Ok(b.to_f32(&encoder.forward(b, &self.ids.concat(), self.ids.len())?).unwrap());
        }
        let mut source = Adapted::new(&mut formula, Component::UNet, adapters, b.threads());
        let unet = self.unet().init(b, &mut source)?;
        let input = |name, shape| {
            let (shape, data) = tensor(name, shape);
            b.from_f32(shape, data)
        };
        let context = unet.prepare(b, &input("context", &self.context)?)?;
        let time = unet.time_embedding(b, &[self.timestep], None)?;
        Ok(b.to_f32(&unet.forward(b, &UNetInputs::new(&input("latents", &self.latents)?, &time, &context))?).unwrap())
    }
}

/// A folder as PEFT writes it.
fn write_peft(folder: &std::path::Path, config: &str, tensors: &Tensors) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("adapter_config.json"), config).unwrap();
    std::fs::write(folder.join("adapter_model.safetensors"), bytes(tensors, &BTreeMap::new())).unwrap();
}

fn bytes(tensors: &Tensors, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let tensors = tensors.iter().map(|(key, (shape, values))| {
        (key.as_str(), DType::F32, shape.clone(), Cow::from(encode_f32(values, DType::F32).unwrap()))
    });
    to_bytes(tensors.collect::<Vec<_>>(), metadata).unwrap()
}

fn file(tensors: &Tensors, metadata: &BTreeMap<String, String>) -> Checkpoint {
    SafeTensors::from_bytes(bytes(tensors, metadata)).unwrap().into()
}

fn goldens_on<B: Backend>(b: &B) {
    let goldens = Goldens::read();
    assert!(goldens.cases.len() >= 24);
    for case in &goldens.cases {
        let output = goldens.run(b, &case.network, &[goldens.applied(case)]).unwrap();
        assert_close(&case.name, &output, &case.output, TOLERANCE);
    }
}

#[test]
fn outputs_are_the_references() {
    goldens_on(&Reference::<f32>::default());
    goldens_on(&Cpu::new(2).unwrap());
}

#[test]
fn what_is_taken_off_leaves_no_trace() {
    let goldens = Goldens::read();
    for precision in [Precision::F32, Precision::BF16, Precision::Int8] {
        let b = Cpu::with_options(CpuOptions { threads: 2, precision, ..CpuOptions::default() }).unwrap();
        let before = goldens.run(&b, "unet", &[]).unwrap();
        let applied = goldens.applied(goldens.case("kohya"));
        let with = goldens.run(&b, "unet", std::slice::from_ref(&applied)).unwrap();
        assert_ne!(before, with);
        // Changes are added before weights are rounded: the result is as near as those of the network alone.
        let tolerance = if precision == Precision::F32 { TOLERANCE } else { 0.05 };
        assert_close(&precision.to_string(), &with, &goldens.case("kohya").output, tolerance);
        assert_eq!(before, goldens.run(&b, "unet", &[Applied { unet: 0.0, ..applied }]).unwrap());
        assert_eq!(before, goldens.run(&b, "unet", &[]).unwrap());
    }
}

#[test]
fn the_order_of_adapters_does_not_matter() {
    let goldens = Goldens::read();
    let b = Reference::<f32>::default();
    let [first, second] = ["kohya", "lokr second"].map(|name| goldens.applied(goldens.case(name)));
    let one_way = goldens.run(&b, "unet", &[first.clone(), second.clone()]).unwrap();
    let other_way = goldens.run(&b, "unet", &[second, first.clone()]).unwrap();
    assert_close("order", &one_way, &other_way, 1e-5);
    let half = Applied { unet: first.unet / 2.0, ..first.clone() };
    let twice = goldens.run(&b, "unet", &[half.clone(), half]).unwrap();
    assert_close("two halves", &twice, &goldens.case("kohya").output, TOLERANCE);
}

#[test]
fn values_do_not_depend_on_pieces() {
    let goldens = Goldens::read();
    for case in goldens.cases.iter().filter(|case| case.network == "unet") {
        let adapters = [goldens.applied(case)];
        for spec in goldens.unet().specs().unwrap() {
            let mut formula = Formula;
            let mut source = Adapted::new(&mut formula, Component::UNet, &adapters, Threads::CALLER);
            let data = source.data(&spec).unwrap();
            let whole = data.to_vec().unwrap();
            let mut pieces = vec![f32::NAN; whole.len()];
            for (n, piece) in pieces.chunks_mut(7).enumerate() {
                data.read(7 * n, piece).unwrap();
            }
            assert!(whole == pieces, "{}: {}", case.name, spec.name);
        }
    }
}

#[test]
fn an_adapter_says_what_it_is() {
    let goldens = Goldens::read();
    let applied = goldens.applied(goldens.case("kohya"));
    let matched = applied.adapter.matched();
    let layers = goldens.unet().specs().unwrap().iter().filter(|spec| spec.shape.len() > 1).count();
    assert_eq!((matched.unet, matched.text_encoder), (layers, 0));
    assert_eq!(matched.algorithms.iter().map(|a| a.name()).collect::<Vec<_>>(), [Algorithm::Lora.name()]);
    assert_eq!(matched.ranks, BTreeMap::from([(3, layers)]));
    let ranks = Applied { ranks: Some(2), ..applied };
    let b = Reference::<f32>::default();
    assert_ne!(goldens.run(&b, "unet", &[ranks]).unwrap(), goldens.case("kohya").output);
}

/// Two folders as PEFT's own scripts save them: each network's config is its own.
#[test]
fn folders_for_both_networks_are_one_adapter() {
    let goldens = Goldens::read();
    let folder = tempfile::tempdir().unwrap();
    for (network, name) in [("unet", "folder rslora"), ("text_encoder", "folder text")] {
        let case = goldens.case(name);
        write_peft(&folder.path().join(network), case.config.as_ref().unwrap(), &goldens.tensors(case));
    }
    let weights = AdapterWeights::open(folder.path()).unwrap();
    let adapter = Adapter::new(weights, &goldens.unet().specs().unwrap(), &goldens.text_encoder().specs().unwrap());
    let applied = [Applied { adapter: Arc::new(adapter.unwrap()), unet: 1.0, text_encoder: 1.0, ranks: None }];
    for name in ["folder rslora", "folder text"] {
        let case = goldens.case(name);
        let output = goldens.run(&Reference::<f32>::default(), &case.network, &applied).unwrap();
        assert_close(name, &output, &case.output, TOLERANCE);
    }
}

/// `save_lora_adapter` of a network alone writes its config's keys without the network's name: it counts all the same. What
/// changes nothing beside the factors, and lists and objects that are empty, are no reason to refuse.
#[test]
fn a_config_without_the_names_of_networks_counts() {
    let goldens = Goldens::read();
    for name in ["peft", "peft rslora"] {
        let case = goldens.case(name);
        let key = "lora_adapter_metadata";
        let usual = r#"{"bias": "none", "init_lora_weights": true, "modules_to_save": null, "layer_replication": [], "#;
        let metadata = case.metadata[key].replace("\"unet.", "\"").replacen('{', usual, 1);
        let adapter = goldens.adapter(&goldens.tensors(case), &BTreeMap::from([(key.to_owned(), metadata)])).unwrap();
        let applied = [Applied { adapter: Arc::new(adapter), unet: case.strength, text_encoder: 1.0, ranks: None }];
        let output = goldens.run(&Reference::<f32>::default(), "unet", &applied).unwrap();
        assert_close(name, &output, &case.output, TOLERANCE);
    }
}

#[test]
fn configs_of_other_adapters_are_refused_in_one_line() {
    let goldens = Goldens::read();
    let folder = tempfile::tempdir().unwrap();
    let case = goldens.case("folder text");
    for (config, expected) in [
        ("", "no JSON object with a peft_type"),
        ("[1]", "no JSON object with a peft_type"),
        ("{\"r\": 1}", "no JSON object with a peft_type"),
        ("{\"peft_type\": \"PROMPT_TUNING\"}", "peft_type is \"PROMPT_TUNING\", which is not supported: expected LORA"),
        ("{\"peft_type\": \"LORA\", \"fan_in_fan_out\": true}", "fan_in_fan_out of this LORA is true"),
        ("{\"peft_type\": \"LORA\", \"alpha_pattern\": {\"(a\": 1}}", "alpha_pattern has \"(a\", which is no regular"),
        (
            "{\"peft_type\": \"LORA\", \"init_lora_weights\": \"pissa_niter_4\"}",
            "\"pissa_niter_4\" changed the weights of the model",
        ),
        ("{\"peft_type\": \"LORA\", \"init_lora_weights\": \"olora\"}", "\"olora\" changed the weights of the model"),
        (
            "{\"peft_type\": \"LORA\", \"bias\": \"lora_only\"}",
            "bias = \"lora_only\" trained biases, which is not supported",
        ),
        ("{\"peft_type\": \"LORA\", \"modules_to_save\": [\"conv_in\"]}", "modules_to_save trained whole layers"),
        (
            "{\"peft_type\": \"LORA\", \"trainable_token_indices\": [1, 2]}",
            "trainable_token_indices trained vectors of tokens",
        ),
        ("{\"peft_type\": \"LORA\", \"lora_bias\": true}", "lora_bias trained biases of its factors"),
    ] {
        write_peft(folder.path(), config, &goldens.tensors(case));
        let error = AdapterWeights::open(folder.path()).err().unwrap().to_string();
        assert!(error.contains(expected) && error.contains("adapter_config.json") && !error.contains('\n'), "{error}");
    }
    let empty = tempfile::tempdir().unwrap();
    let error = AdapterWeights::open(empty.path()).err().unwrap().to_string();
    assert!(error.contains("no adapter_model.safetensors in this folder"), "{error}");
}

#[test]
fn a_summary_needs_no_model() {
    let goldens = Goldens::read();
    let summary = |name: &str| {
        let case = goldens.case(name);
        AdapterSummary::of(&file(&goldens.tensors(case), &case.metadata).into())
    };
    let found = summary("kohya");
    let specs = goldens.unet().specs().unwrap();
    let layers: Vec<_> = specs.iter().filter(|spec| spec.shape.len() > 1).collect();
    assert_eq!(found.ranks, BTreeMap::from([(3, layers.len())]));
    assert_eq!(found.alphas, [(2.0, layers.len())]);
    assert_eq!(found.algorithms, BTreeMap::from([(Algorithm::Lora, layers.len())]));
    let count = |word: &str| layers.iter().filter(|spec| spec.name.contains(word)).count();
    let of = |kind| found.layers[&(Component::UNet, kind)];
    assert_eq!(of(LayerKind::CrossAttention), count(".attn2."));
    assert_eq!(of(LayerKind::SelfAttention), count(".attn1."));
    assert_eq!(of(LayerKind::FeedForward), count(".ff."));
    assert_eq!(of(LayerKind::TimeEmbedding), count("time_emb"));
    assert_eq!((found.context_width, found.family, found.unknown), (Some(12), None, 0));
    // CompVis' names say the same.
    assert_eq!(summary("compvis").layers, found.layers);
    assert_eq!(summary("kohya text").text_width, Some(16));
    for (name, algorithm) in
        [("loha", Algorithm::LoHa), ("lokr both", Algorithm::LoKr), ("locon core", Algorithm::Lora)]
    {
        let found = summary(name);
        assert!(found.algorithms.contains_key(&algorithm) && !found.ranks.is_empty(), "{name}: {found:?}");
        assert_eq!(found.unknown, 0, "{name}");
    }
    assert!(summary("peft dora").dora && summary("peft dora").alphas[0].0 == 4.0);
    let [sd1, sd2, xl] = [768, 1024, 2048].map(|width| {
        let module = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k";
        let tensors = [("lora_down.weight", vec![4, width]), ("lora_up.weight", vec![320, 4])]
            .map(|(part, shape)| (format!("{module}.{part}"), (shape.clone(), vec![0.0; shape.iter().product()])));
        AdapterSummary::of(&file(&Tensors::from(tensors), &BTreeMap::new()).into()).family
    });
    assert_eq!([sd1, sd2, xl], ["Stable Diffusion 1", "Stable Diffusion 2", "Stable Diffusion XL"].map(Some));
}

/// A1111's `bundle_emb`: embeddings in the file of a LoRA.
#[test]
fn embeddings_are_found_in_the_file_of_a_lora() {
    let goldens = Goldens::read();
    let mut tensors = goldens.tensors(goldens.case("kohya"));
    let vectors = |rows: usize, width: usize| (vec![rows, width], vec![0.5; rows * width]);
    tensors.insert("bundle_emb.one.string_to_param.*".into(), vectors(2, 16));
    tensors.insert("bundle_emb.one.string_to_token.*".into(), (vec![], vec![265.0]));
    tensors.insert("bundle_emb.two.emb_params".into(), vectors(1, 16));
    // For Stable Diffusion XL.
    tensors.insert("bundle_emb.xl.clip_l".into(), vectors(1, 768));
    tensors.insert("bundle_emb.xl.clip_g".into(), vectors(1, 1280));
    // Saved with the layer that it is put around.
    tensors.insert("unet.conv_in.base_layer.weight".into(), vectors(1, 1));
    let adapter = goldens.adapter(&tensors, &BTreeMap::new()).unwrap();
    let found: Vec<_> = adapter.embeddings().iter().map(|(name, e)| (name.as_str(), e.count(), e.width())).collect();
    assert_eq!(found, [("one", 2, 16), ("two", 1, 16)]);
    assert_eq!(adapter.matched().unused, ["bundle_emb.xl.clip_g", "bundle_emb.xl.clip_l"]);
    let summary = AdapterSummary::of(&file(&tensors, &BTreeMap::new()).into());
    assert_eq!((summary.embeddings, summary.unknown), (vec!["one".to_owned(), "two".into(), "xl".into()], 0));
    let wrong = Tensors::from([("bundle_emb.bad.string_to_param.*".into(), (vec![2, 2, 2], vec![0.0; 8]))]);
    let error = goldens.adapter(&wrong, &BTreeMap::new()).err().unwrap().to_string();
    assert!(error.contains("is 3-dimensional, expected 1 to 1024 vectors"), "{error}");
}

#[test]
fn keys_for_nothing_are_counted() {
    let goldens = Goldens::read();
    let mut tensors = goldens.tensors(goldens.case("kohya"));
    tensors.insert("lora_te2_text_model_x.alpha".into(), (vec![], vec![1.0]));
    tensors.insert("emb_params".into(), (vec![1, 2], vec![1.0, 2.0]));
    let adapter = goldens.adapter(&tensors, &BTreeMap::new()).unwrap();
    assert_eq!(adapter.matched().unused, ["emb_params", "lora_te2_text_model_x.alpha"]);
}

#[test]
fn what_does_not_fit_is_refused_in_one_line() {
    let goldens = Goldens::read();
    let module = "lora_unet_mid_block_resnets_0_conv1";
    let tensors = |of: &[(&str, &[usize], f32)]| -> Tensors {
        let named = of.iter().map(|&(part, shape, value)| {
            (format!("{module}.{part}"), (shape.to_vec(), vec![value; shape.iter().product()]))
        });
        named.collect()
    };
    let (up, down) = (("lora_up.weight", &[16, 2, 1, 1][..], 1.0), ("lora_down.weight", &[2, 16, 3, 3][..], 1.0));
    let refused = |made: Tensors| match goldens.adapter(&made, &BTreeMap::new()) {
        Err(error) => error.to_string(),
        Ok(adapter) => {
            let adapters = [Applied { adapter: Arc::new(adapter), unet: 1.0, text_encoder: 1.0, ranks: None }];
            goldens.run(&Reference::<f32>::default(), "unet", &adapters).unwrap_err().to_string()
        }
    };
    assert!(goldens.adapter(&tensors(&[up, down]), &BTreeMap::new()).is_ok());
    let nan = f32::NAN;
    for (made, expected) in [
        (tensors(&[]), "it has no tensors"),
        (tensors(&[("hada", &[1], 1.0)]), "not one of its 1 tensors is for a layer of this model (the first is"),
        (tensors(&[("alpha", &[], 1.0)]), "not one of its 1 tensors"),
        (
            tensors(&[up]),
            "resnets_0_conv1.lora_up.weight\", but no \"lora_unet_mid_block_resnets_0_conv1.lora_down.weight\"",
        ),
        (
            tensors(&[("lora_A.default.weight", &[2, 16, 3, 3], 1.0)]),
            "but no \"lora_unet_mid_block_resnets_0_conv1.lora_B.default.weight\"",
        ),
        (tensors(&[up, ("lora_down.weight", &[2, 16, 1, 1], 1.0)]), "is [2, 16, 1, 1], expected 288 numbers"),
        (tensors(&[("lora_up.weight", &[2, 16], 1.0), down]), "is [2, 16], expected 16 x 2"),
        (tensors(&[up, ("lora_down.weight", &[0, 16, 3, 3], 1.0)]), "has rank 0"),
        (tensors(&[up, ("lora_down.weight", &[5000, 1], 1.0)]), "has rank 5000, expected 1 to 4096"),
        (tensors(&[up, down, ("alpha", &[2], 1.0)]), "expected 1 numbers"),
        (tensors(&[up, down, ("alpha", &[], nan)]), "has the value NaN"),
        (tensors(&[up, ("lora_down.weight", &[2, 16, 3, 3], nan)]), "has the value NaN"),
        (tensors(&[up, down, ("dora_scale", &[3], 1.0)]), "is [3], expected 16 numbers"),
        (tensors(&[("diff", &[16, 16, 3, 3], nan)]), "has the value NaN"),
        (tensors(&[("diff", &[16, 16, 3, 2], nan)]), "expected 2304 numbers"),
        (tensors(&[("lokr_w1", &[3, 4], 1.0)]), "a factor of 3 x 4, which does not divide a layer of 16 x 16"),
        (tensors(&[("lokr_w1", &[4, 4, 2], 1.0)]), "is [4, 4, 2], expected 16 numbers"),
        (
            tensors(&[("lokr_w1", &[4, 4], 1.0)]),
            "conv1.lokr_w1\", but no \"lora_unet_mid_block_resnets_0_conv1.lokr_w2_a\"",
        ),
        (
            tensors(&[("hada_w1_a", &[16, 2], 1.0), ("hada_w1_b", &[2, 144], 1.0)]),
            "but no \"lora_unet_mid_block_resnets_0_conv1.hada_w2_a\"",
        ),
    ] {
        let message = refused(made);
        assert!(message.contains(expected) && !message.contains('\n'), "{message}\nexpected {expected}");
    }
    for (part, kind) in [
        ("oft_blocks", "LyCORIS OFT or BOFT"),
        ("a1.weight", "GLoRA"),
        ("lora_embedding_A", "a LoRA of an embedding table"),
        ("to_k_custom_diffusion.weight", "Custom Diffusion"),
        ("token_adapter.trainable_tokens_delta", "trained vectors of tokens (PEFT)"),
    ] {
        let part = if part.starts_with("to_k") { format!("processor.{part}") } else { part.to_owned() };
        let message = refused(tensors(&[up, down, (part.as_str(), &[2], 1.0)]));
        assert!(message.contains(&format!("it has {kind} (")) && message.contains("is not supported"), "{message}");
    }
    let mut peft = Tensors::new();
    for (part, shape) in [("lora_A.weight", vec![2, 16]), ("lora_B.weight", vec![8, 2]), ("bias", vec![8])] {
        let count = shape.iter().product();
        let key = format!("base_model.model.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.{part}");
        peft.insert(key, (shape, vec![1.0; count]));
    }
    assert!(refused(peft).contains("it has trained biases or whole layers (PEFT) ("));
    let long = BTreeMap::from([(format!("{}\n", "x".repeat(10_000)), (vec![], vec![1.0]))]);
    let message = refused(long);
    assert!(message.len() < 400 && !message.contains('\n'), "{message}");
    let metadata = BTreeMap::from([("lora_adapter_metadata".to_owned(), "[".to_owned())]);
    let message = goldens.adapter(&tensors(&[up, down]), &metadata).err().unwrap().to_string();
    assert!(message.contains("not a JSON object"), "{message}");
}

#[test]
fn a_layer_under_two_names_is_refused() {
    let goldens = Goldens::read();
    let (up, down) = ((vec![8, 1], vec![1.0; 8]), (vec![1, 8], vec![1.0; 8]));
    let path = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q";
    let tensors = BTreeMap::from([
        (format!("unet.{path}.lora_A.weight"), down.clone()),
        (format!("unet.{path}.lora_B.weight"), up.clone()),
        (format!("lora_unet_{}.lora_down.weight", path.replace('.', "_")), down),
        (format!("lora_unet_{}.lora_up.weight", path.replace('.', "_")), up),
    ]);
    let message = goldens.adapter(&tensors, &BTreeMap::new()).err().unwrap().to_string();
    assert!(message.contains("to_q.weight is changed under two names"), "{message}");
}
