//! Weights from files: every way they may be named, and every way they may be wrong.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;

use std::{borrow::Cow, collections::BTreeMap};

use calotype_formats::{Checkpoint, DType, SafeTensors, encode_f32, to_bytes};
use calotype_models::{
    Component, Layout, ModelConfig, ParamSource, Stored, TextConfig, UNetConfig, VaeConfig, WeightSet,
};
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
    bad.insert("decoder.\nextra.weight".into(), (vec![1], vec![0.0]));
    refused(&bad, DType::F32, r#"tensor "decoder.\nextra.weight" is not part of the model"#);
    let mut bad = good.clone();
    bad.insert(name.into(), (vec![6, 6, 9], vec![0.0; 324]));
    refused(&bad, DType::F32, &format!("tensor {name} is [6, 6, 9], but the config asks for [6, 6, 3, 3]"));
    let integers = good
        .iter()
        .map(|(name, (shape, data))| (name.clone(), DType::I8, shape.clone(), Cow::from(vec![1; data.len()])));
    let file = to_bytes(integers.collect::<Vec<_>>(), &BTreeMap::new()).unwrap();
    let file = SafeTensors::from_bytes(file).unwrap().into();
    let error = vae().load(&Reference::<f32>::default(), &file).map(drop).unwrap_err().to_string();
    assert!(error.contains("is of dtype I8, but the config asks for floats"), "{error}");
    // Without a config it is the other tensors that say it.
    let mut bad = good.clone();
    bad.remove(name);
    let bad = self::file(&bad, DType::F32);
    let layout = Layout::detect(&bad, Component::Vae, WeightSet::Auto).unwrap();
    let error = Stored::in_layout(&bad, &layout, &vae().specs().unwrap()).map(drop).unwrap_err().to_string();
    assert!(error.ends_with("is missing: the file is not whole, or of another kind of model: give another"), "{error}");
}

#[test]
fn wrappers_around_the_names() {
    let tensors = tensors(&text());
    let expected = context(&file(&tensors, DType::F32));
    for before in
        ["module.", "_orig_mod.", "_forward_module.", "model.", "module.state_dict.", "model.module._orig_mod."]
    {
        let wrapped = renamed(tensors.clone(), |name| format!("{before}{name}"));
        assert_eq!(context(&file(&wrapped, DType::F32)), expected, "{before}");
    }
    // Where not all of them have one, what has none counts.
    let mut half =
        renamed(tensors, |name| if name.contains("fc1") { format!("module.{name}") } else { name.to_owned() });
    let error = text().load(&Reference::<f32>::default(), &file(&half, DType::F32)).map(drop).unwrap_err().to_string();
    assert!(error.contains("mlp.fc1.weight and 1 more are missing"), "{error}");
    half.clear();
}

#[test]
fn f64_and_f8_are_read() {
    let tensors = tensors(&vae());
    assert_eq!(picture(&file(&tensors, DType::F64)), picture(&file(&tensors, DType::F32)));
    // Each number as the nearest of a few floats of 8 bits, E5M2: the upper half of an f16.
    let coarse = |data: &[f32]| -> Vec<f32> {
        let halves = encode_f32(data, DType::F16).unwrap();
        let cut: Vec<u8> = halves.chunks(2).flat_map(|half| [0, half[1]]).collect();
        let cut = to_bytes([("x", DType::F16, vec![data.len()], Cow::from(cut))], &BTreeMap::new()).unwrap();
        SafeTensors::from_bytes(cut).unwrap().read_f32("x").unwrap()
    };
    let mut cut = tensors.clone();
    cut.values_mut().for_each(|(_, data)| *data = coarse(data));
    let bytes =
        |data: &[f32]| -> Vec<u8> { encode_f32(data, DType::F16).unwrap().chunks(2).map(|half| half[1]).collect() };
    let all = |scaled: bool| {
        let mut entries = Vec::new();
        for (name, (shape, data)) in &cut {
            let (mut shape, mut stored) = (shape.clone(), DType::F8E5M2);
            let mut raw = bytes(data);
            if let Some(stem) = name.strip_suffix("weight").filter(|_| scaled && shape.len() > 1) {
                // Stored as half of what it is, or each row as a quarter.
                let (scale, count) = if stem.contains("conv1") { (4.0, shape[0]) } else { (2.0, 1) };
                raw = bytes(&data.iter().map(|x| x / scale).collect::<Vec<_>>());
                let scales = encode_f32(&vec![scale; count], DType::F32).unwrap();
                let key = if count == 1 { "scale_weight" } else { "weight_scale" };
                entries.push((format!("{stem}{key}"), DType::F32, vec![count], Cow::from(scales)));
            } else if scaled {
                // Norms and biases stay as they are.
                (raw, stored) = (encode_f32(data, DType::F32).unwrap(), DType::F32);
                shape = shape.clone();
            }
            entries.push((name.clone(), stored, shape, Cow::from(raw)));
        }
        if scaled {
            entries.push(("scaled_fp8".into(), DType::F8E5M2, vec![0], Cow::from(vec![])));
        }
        Checkpoint::from(SafeTensors::from_bytes(to_bytes(entries, &BTreeMap::new()).unwrap()).unwrap())
    };
    let expected = picture(&file(&cut, DType::F32));
    let (plain, scaled) = (all(false), all(true));
    assert_eq!(picture(&plain), expected);
    // Halves of the least numbers are not all there.
    assert_close("scaled", &picture(&scaled), &expected, 1e-3);
    let dtype =
        |file: &Checkpoint, name: &str| Stored::new(file, Component::Vae, &vae().specs().unwrap()).unwrap().dtype(name);
    let name = "decoder.conv_in.weight";
    assert_eq!((dtype(&plain, name), dtype(&scaled, name)), (DType::F16, DType::F32));
}

#[test]
fn a_scale_of_other_rows_is_refused() {
    let tensors = tensors(&vae());
    let mut wrong = tensors.clone();
    wrong.insert("decoder.conv_in.scale_weight".into(), (vec![2], vec![1.0, 1.0]));
    refused(&wrong, DType::F32, r#""decoder.conv_in.scale_weight" is [2] of F32, expected 1 or 6 finite numbers"#);
    wrong.insert("decoder.conv_in.scale_weight".into(), (vec![1], vec![f32::NAN]));
    refused(&wrong, DType::F32, "expected 1 or 6 finite numbers");
}

#[test]
fn attention_whose_parts_were_fused() {
    let tensors = tensors(&vae());
    let expected = picture(&file(&tensors, DType::F32));
    let mut fused = tensors.clone();
    for half in ["encoder", "decoder"] {
        for last in ["weight", "bias"] {
            let path = format!("{half}.mid_block.attentions.0");
            let parts = ["to_q", "to_k", "to_v"].map(|part| fused.remove(&format!("{path}.{part}.{last}")).unwrap());
            let mut shape = parts[0].0.clone();
            shape[0] *= 3;
            let data = parts.iter().flat_map(|(_, data)| data.clone()).collect();
            fused.insert(format!("{path}.to_qkv.{last}"), (shape, data));
        }
    }
    assert_eq!(picture(&file(&fused, DType::F32)), expected);
    // As diffusers saves it: both.
    fused.extend(tensors);
    assert_eq!(picture(&file(&fused, DType::F32)), expected);
    // A UNet's attention to the text has keys and values together.
    let layout = Layout::folder(Component::UNet);
    let name = "mid_block.attentions.0.transformer_blocks.0.attn2.to_v.weight";
    let places = layout.places(name);
    let place = |key: &str| places.iter().find(|place| place.key.ends_with(key)).unwrap().part;
    assert_eq!((place("attn2.to_kv.weight"), place("attn2.to_qkv.weight")), (Some((1, 2)), Some((2, 3))));
    assert!(UNetConfig::sd15().specs().unwrap().iter().any(|spec| spec.name == name));
}

#[test]
fn buffers_may_stand_beside_weights() {
    let mut tensors = tensors(&text());
    let expected = context(&file(&tensors, DType::F32));
    for (name, shape) in [
        ("text_model.buffer", vec![1]),
        ("logit_scale", vec![]),
        ("text_projection.weight", vec![1, 1]),
        ("vision_model.embeddings.patch_embedding.weight", vec![1, 3, 1, 1]),
        ("visual_projection.weight", vec![1, 1]),
    ] {
        let count = shape.iter().product();
        tensors.insert(name.into(), (shape, vec![0.0; count]));
    }
    let whole = file(&tensors, DType::F32);
    assert_eq!(context(&whole), expected);
    let specs = text().specs().unwrap();
    let stored = Stored::new(&whole, Component::TextEncoder, &specs).unwrap();
    assert_eq!(stored.unused().count(), 5);
}

#[test]
fn a_network_with_an_adapter_inside_is_named() {
    let inside = renamed(tensors(&text()), |name| match name.strip_suffix("q_proj.weight") {
        Some(path) => format!("{path}q_proj.base_layer.weight"),
        None => name.to_owned(),
    });
    let error =
        text().load(&Reference::<f32>::default(), &file(&inside, DType::F32)).map(drop).unwrap_err().to_string();
    assert!(error.contains("q_proj.weight lies inside of an adapter of PEFT (base_layer)"), "{error}");
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
        let mut stored = Stored::new(&file, Component::Vae, &vae().specs().unwrap()).unwrap();
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
