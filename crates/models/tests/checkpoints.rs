//! Weights from files: every way they may be named, and every way they may be wrong.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;

use std::{borrow::Cow, collections::BTreeMap};

use calotype_formats::{Checkpoint, DType, SafeTensors, encode_f32, to_bytes};
use calotype_models::{ModelConfig, Names, ParamSource, Stored, TextConfig, VaeConfig};
use calotype_tensor::{Backend, ParamData, reference::Reference};
use common::{Formula, assert_close, tensor};

fn text() -> TextConfig {
    TextConfig {
        vocab_size: 20,
        hidden_size: 8,
        intermediate_size: 12,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        max_position_embeddings: 5,
        ..TextConfig::default()
    }
}

fn vae() -> VaeConfig {
    VaeConfig { norm_num_groups: 2, ..VaeConfig::with_channels(&[4, 6]) }
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn tensors(config: &impl ModelConfig) -> Tensors {
    let specs = config.specs().unwrap();
    specs
        .iter()
        .map(|spec| (spec.name.clone(), (spec.shape.clone(), Formula.data(spec).unwrap().to_vec().unwrap())))
        .collect()
}

fn file(tensors: &Tensors, dtype: DType) -> Checkpoint {
    let bytes = |data: &[f32]| match dtype {
        DType::F64 => data.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect(),
        _ => encode_f32(data, dtype).unwrap(),
    };
    let encoded =
        tensors.iter().map(|(name, (shape, data))| (name.clone(), dtype, shape.clone(), Cow::from(bytes(data))));
    SafeTensors::from_bytes(to_bytes(encoded.collect::<Vec<_>>(), &BTreeMap::new()).unwrap()).unwrap().into()
}

fn renamed(tensors: Tensors, rename: impl Fn(&str) -> String) -> Tensors {
    tensors.into_iter().map(|(name, tensor)| (rename(&name), tensor)).collect()
}

fn context(file: &Checkpoint) -> Vec<f32> {
    let b = Reference::<f32>::default();
    b.to_f32(&text().load(&b, file).unwrap().forward(&b, &[1, 2, 3], 1).unwrap()).unwrap()
}

fn picture(file: &Checkpoint) -> Vec<f32> {
    let b = Reference::<f32>::default();
    let (shape, data) = tensor("x", &[1, 2, 3, 4]);
    let latents = b.from_f32(shape, data).unwrap();
    b.to_f32(&vae().load(&b, file).unwrap().decode(&b, &latents).unwrap()).unwrap()
}

#[test]
fn text_encoder_names_of_all_ages() {
    let tensors = tensors(&text());
    let expected = context(&file(&tensors, DType::F32));
    let mut short = renamed(tensors.clone(), |name| name.replace("text_model.", ""));
    assert_eq!(context(&file(&short, DType::F32)), expected);
    short.insert("embeddings.position_ids".into(), (vec![1, 5], vec![0.0; 5]));
    assert_eq!(context(&file(&short, DType::F32)), expected);
    assert_close("bf16", &context(&file(&tensors, DType::BF16)), &expected, 2e-2);
    assert_close("f16", &context(&file(&tensors, DType::F16)), &expected, 2e-3);
}

#[test]
fn vae_names_of_all_ages() {
    let tensors = tensors(&vae());
    let expected = picture(&file(&tensors, DType::F32));
    let mut old = renamed(tensors, |name| {
        [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")]
            .iter()
            .fold(name.to_owned(), |name, (new, old)| name.replace(new, old))
    });
    assert!(old.contains_key("decoder.mid_block.attentions.0.proj_attn.bias"));
    assert_eq!(picture(&file(&old, DType::F32)), expected);
    for (shape, _) in old.iter_mut().filter(|(name, _)| name.ends_with("query.weight")).map(|(_, tensor)| tensor) {
        shape.extend([1, 1]);
    }
    assert_eq!(picture(&file(&old, DType::F32)), expected);
}

fn refused(tensors: &Tensors, dtype: DType, message: &str) {
    let error = vae().load(&Reference::<f32>::default(), &file(tensors, dtype)).map(drop).unwrap_err().to_string();
    assert!(error.contains(message) && !error.contains('\n'), "{error}");
}

#[test]
fn missing_extra_and_misshapen_tensors_are_named() {
    let name = "decoder.up_blocks.0.upsamplers.0.conv.weight";
    let good = tensors(&vae());
    let mut bad = good.clone();
    bad.remove(name);
    refused(&bad, DType::F32, &format!("tensor {name} is missing"));
    let mut bad = good.clone();
    bad.insert("decoder.\nextra".into(), (vec![1], vec![0.0]));
    refused(&bad, DType::F32, r#"tensor "decoder.\nextra" is not part of the model"#);
    let mut bad = good.clone();
    bad.insert(name.into(), (vec![6, 6, 9], vec![0.0; 324]));
    refused(&bad, DType::F32, &format!("tensor {name} is [6, 6, 9], but the config asks for [6, 6, 3, 3]"));
    refused(&good, DType::F64, "is F64, but the config asks for f32, f16 or bf16");
}

#[test]
fn parameters_come_in_the_bytes_of_their_file() {
    let tensors = tensors(&vae());
    for (dtype, expected) in [
        (DType::F32, calotype_tensor::DType::F32),
        (DType::F16, calotype_tensor::DType::F16),
        (DType::BF16, calotype_tensor::DType::BF16),
    ] {
        let file = file(&tensors, dtype);
        let mut stored = Stored::new(&file, Names::Vae, &vae().specs().unwrap()).unwrap();
        for spec in vae().specs().unwrap() {
            let data = stored.data(&spec).unwrap();
            assert_eq!(data.dtype(), expected, "{}", spec.name);
            let size = dtype.size();
            let mut bytes = vec![0; data.count() * size];
            data.read_bytes(0, &mut bytes).unwrap();
            assert_eq!(bytes, file.read(&spec.name).unwrap(), "{}", spec.name);
            let mut last = vec![0; size];
            data.read_bytes(data.count() - 1, &mut last).unwrap();
            assert_eq!(last, bytes[bytes.len() - size..], "{}", spec.name);
            assert!(data.read_bytes(data.count(), &mut last).is_err(), "{}", spec.name);
        }
    }
    let floats: &[f32] = &[1.0, -2.5];
    let (mut bytes, data) = ([0; 4], &floats as &dyn ParamData);
    data.read_bytes(1, &mut bytes).unwrap();
    assert_eq!((data.dtype(), bytes), (calotype_tensor::DType::F32, (-2.5f32).to_le_bytes()));
    assert!(data.read_bytes(0, &mut [0; 3]).is_err() && data.read_bytes(2, &mut bytes).is_err());
}
