//! Hypernetworks and textual inversion embeddings in files that PyTorch wrote (`reference/adapters.py`).

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;

use std::{borrow::Cow, collections::BTreeMap, path::PathBuf};

use calotype_formats::{Checkpoint, DType, SafeTensors, TorchFile, encode_f32, to_bytes};
use calotype_models::{
    ModelConfig, ParamSource, TextConfig, UNetConfig, UNetInputs,
    adapters::{Embedding, Hypernetwork, WithEmbeddings},
};
use calotype_tensor::{Backend, cpu::Cpu, reference::Reference};
use common::{Formula, assert_close, tensor, values};
use serde::Deserialize;

const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
struct Goldens {
    unet: serde_json::Value,
    text_encoder: serde_json::Value,
    latents: Vec<usize>,
    context: Vec<usize>,
    timestep: f32,
    hypernetworks: Vec<Case>,
    embeddings: Embeddings,
}

#[derive(Deserialize)]
struct Case {
    strengths: [f32; 2],
    output: Vec<f32>,
}

#[derive(Deserialize)]
struct Embeddings {
    ids: Vec<Vec<u32>>,
    output: Vec<f32>,
}

fn path(name: &str) -> PathBuf {
    format!("{}/tests/goldens/adapters{name}", env!("CARGO_MANIFEST_DIR")).into()
}

impl Goldens {
    fn read() -> Self {
        serde_json::from_str(&std::fs::read_to_string(path(".json")).unwrap()).unwrap()
    }

    fn text_encoder(&self) -> TextConfig {
        TextConfig::from_json(&self.text_encoder.to_string()).unwrap()
    }
}

fn hypernetwork(n: usize) -> Hypernetwork {
    Hypernetwork::new(TorchFile::open(&path(&format!("_hypernetwork_{n}.pt"))).unwrap()).unwrap()
}

fn hypernetworks_on<B: Backend>(b: &B) {
    let goldens = Goldens::read();
    let mut unet = UNetConfig::from_json(&goldens.unet.to_string()).unwrap().init(b, &mut Formula).unwrap();
    let [first, second] = [hypernetwork(1), hypernetwork(2)];
    assert_eq!((first.widths(), second.widths()), (&[8, 12][..], &[12, 16][..]));
    let input = |name, shape| {
        let (shape, data) = tensor(name, shape);
        b.from_f32(shape, data).unwrap()
    };
    let (latents, context) = (input("latents", &goldens.latents), input("context", &goldens.context));
    let time = unet.time_embedding(b, &[goldens.timestep], None).unwrap();
    let run = |unet: &calotype_models::UNet<B::Param>| {
        let context = unet.prepare(b, &context).unwrap();
        b.to_f32(&unet.forward(b, &UNetInputs::new(&latents, &time, &context)).unwrap()).unwrap()
    };
    let before = run(&unet);
    for case in &goldens.hypernetworks {
        let loaded = [(&first, case.strengths[0]), (&second, case.strengths[1])];
        let loaded: Vec<_> = loaded.iter().map(|(network, strength)| network.load(b, *strength).unwrap()).collect();
        unet.set_hypernetworks(&loaded);
        assert_close(&format!("{:?}", case.strengths), &run(&unet), &case.output, TOLERANCE);
    }
    unet.set_hypernetworks(&[]);
    assert_eq!(before, run(&unet));
}

#[test]
fn outputs_with_hypernetworks_are_the_references() {
    hypernetworks_on(&Reference::<f32>::default());
    hypernetworks_on(&Cpu::new(2).unwrap());
}

#[test]
fn what_is_no_hypernetwork_is_refused_in_one_line() {
    let file = TorchFile::open(&path("_embedding.pt")).unwrap();
    let message = Hypernetwork::new(file).err().unwrap().to_string();
    assert!(message.contains("no networks for contexts of any width") && !message.contains('\n'), "{message}");
}

#[test]
fn embeddings_stand_after_the_vocabulary() {
    let goldens = Goldens::read();
    let read = |name| Embedding::read(&Checkpoint::open(&path(name), "").unwrap()).unwrap();
    let [three, one] = [read("_embedding.pt"), read("_learned_embeds.bin")];
    assert_eq!((three.count(), three.width(), three.token.as_deref()), (3, 16, None));
    assert_eq!((one.count(), one.width(), one.token.as_deref()), (1, 16, Some("<cat-toy>")));
    let mut config = goldens.text_encoder();
    three.check(&config).unwrap();
    config.vocab_size += three.count() + one.count();
    let b = Cpu::new(2).unwrap();
    let mut formula = Formula;
    // The table by formula is of its own name and length, so only of the model's own tokens.
    let mut source = WithEmbeddings::new(&mut formula, [&three, &one]);
    let encoder = config.init(&b, &mut source).unwrap();
    let output = encoder.forward(&b, &goldens.embeddings.ids.concat(), 1).unwrap();
    assert_close("embeddings", &b.to_f32(&output).unwrap(), &goldens.embeddings.output, TOLERANCE);
}

#[test]
fn rows_are_read_in_any_pieces() {
    let goldens = Goldens::read();
    let embedding = Embedding::read(&Checkpoint::open(&path("_embedding.pt"), "").unwrap()).unwrap();
    let config = TextConfig { vocab_size: 103, ..goldens.text_encoder() };
    let spec = config.specs().unwrap().into_iter().find(|spec| spec.shape == [103, 16]).unwrap();
    let mut formula = Formula;
    let mut source = WithEmbeddings::new(&mut formula, [&embedding]);
    let data = source.data(&spec).unwrap();
    let whole = data.to_vec().unwrap();
    assert_eq!(whole.len(), 103 * 16);
    assert_eq!(whole[1600], values("three", 1)[0] as f32);
    for (start, length) in [(0, 0), (0, 1600), (1599, 2), (1600, 48), (1647, 1), (1648, 0), (5, 1643)] {
        let mut piece = vec![0.0; length];
        data.read(start, &mut piece).unwrap();
        assert_eq!(piece, whole[start..][..length]);
    }
    assert!(data.read(1600, &mut [0.0; 49]).is_err() && data.read(5000, &mut [0.0]).is_err());
}

fn embedding(tensors: &[(&str, &[usize], f32)]) -> Result<Embedding, String> {
    let tensors = tensors.iter().map(|&(name, shape, value)| {
        let values = vec![value; shape.iter().product()];
        (name, DType::F32, shape.to_vec(), Cow::from(encode_f32(&values, DType::F32).unwrap()))
    });
    let file = SafeTensors::from_bytes(to_bytes(tensors.collect::<Vec<_>>(), &BTreeMap::new()).unwrap()).unwrap();
    Embedding::read(&file.into()).map_err(|error| error.to_string())
}

#[test]
fn every_form_of_an_embedding_is_known() {
    for (name, token) in [("emb_params", None), ("clip_l", None), ("string_to_param.*", None), ("<a b>", Some("<a b>"))]
    {
        let read = embedding(&[(name, &[2, 16], 0.5)]).unwrap();
        assert_eq!((read.count(), read.width(), read.token.as_deref()), (2, 16, token));
    }
    let config = Goldens::read().text_encoder();
    let narrow = embedding(&[("emb_params", &[2, 8], 0.5)]).unwrap();
    let message = narrow.check(&config).unwrap_err().to_string();
    assert!(message.contains("vectors of 8 numbers, but the model's text encoder has 16"), "{message}");
    for (tensors, expected) in [
        (&[("clip_l", &[1, 16][..], 0.5), ("clip_g", &[1, 20], 0.5)][..], "2 tensors"),
        (&[], "0 tensors"),
        (&[("emb_params", &[2, 3, 4], 0.5)], "3-dimensional"),
        (&[("emb_params", &[0, 16], 0.5)], "is [0, 16]"),
        (&[("emb_params", &[1025, 1], 0.5)], "1 to 1024 vectors"),
        (&[("emb_params", &[1, 4], f32::INFINITY)], "has the value inf"),
        (&[("emb_params", &[], 0.5)], "is []"),
    ] {
        let message = embedding(tensors).unwrap_err();
        assert!(message.contains(expected) && !message.contains('\n'), "{message}");
    }
}
