//! Adapters, embeddings, hypernetworks and configs changed at random: each is read or refused by one line. The test command
//! makes twenty thousand of each, the same every time; `MUTATIONS` and `SEED` make others.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../../fuzz/mutator.rs"]
mod mutator;

use std::{borrow::Cow, collections::BTreeMap, fs, path::Path};

use calotype_formats::{Checkpoint, DType, SafeTensors, TorchFile, to_bytes};
use calotype_models::{
    CompVisConfig, ModelConfig, TextConfig, UNetConfig, VaeConfig,
    adapters::{Adapter, Embedding, Hypernetwork},
};
use calotype_tensor::cpu::Cpu;

/// A UNet and a text encoder with the names of Stable Diffusion's and few of its numbers.
fn configs() -> (UNetConfig, TextConfig) {
    let unet = r#"{"block_out_channels":[8,16],"down_block_types":["CrossAttnDownBlock2D","DownBlock2D"],"up_block_types":["UpBlock2D","CrossAttnUpBlock2D"],"layers_per_block":1,"cross_attention_dim":8,"attention_head_dim":2,"norm_num_groups":4}"#;
    let text = r#"{"hidden_size":8,"intermediate_size":16,"num_hidden_layers":1,"num_attention_heads":2}"#;
    (UNetConfig::from_json(unet).unwrap(), TextConfig::from_json(text).unwrap())
}

fn told(message: &str) -> bool {
    assert!(!message.contains('\n'), "{message}");
    false
}

fn weights(bytes: Vec<u8>) -> Option<Checkpoint> {
    match bytes.starts_with(b"PK") {
        true => TorchFile::from_bytes(bytes).and_then(Checkpoint::try_from).ok(),
        false => SafeTensors::from_bytes(bytes).map(Checkpoint::from).ok(),
    }
}

fn file(tensors: &[(&str, &[usize])]) -> Vec<u8> {
    let tensors = tensors.iter().map(|(name, shape)| {
        let bytes = vec![0x3c; shape.iter().product::<usize>() * 2];
        (*name, DType::F16, shape.to_vec(), Cow::from(bytes))
    });
    to_bytes(tensors, &BTreeMap::new()).unwrap()
}

fn goldens(ending: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn adapters_that_are_wrong() {
    let (unet, text) = configs();
    let (unet, text) = (unet.specs().unwrap(), text.specs().unwrap());
    let module = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q";
    let of = |parts: &[(&str, &[usize])]| {
        let names: Vec<String> = parts.iter().map(|(part, _)| format!("{module}.{part}")).collect();
        let tensors: Vec<(&str, &[usize])> =
            names.iter().map(String::as_str).zip(parts.iter().map(|part| part.1)).collect();
        file(&tensors)
    };
    let corpus = [
        of(&[("alpha", &[]), ("lora_down.weight", &[2, 8]), ("lora_up.weight", &[8, 2])]),
        of(&[("hada_w1_a", &[8, 1]), ("hada_w1_b", &[1, 8]), ("hada_w2_a", &[8, 1]), ("hada_w2_b", &[1, 8])]),
        of(&[("lokr_w1", &[2, 2]), ("lokr_w2", &[4, 4])]),
        of(&[("diff", &[8, 8])]),
        file(&[
            ("lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight", &[1, 8]),
            ("lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight", &[8, 1]),
        ]),
        file(&[
            ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight", &[1, 8]),
            ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_B.weight", &[8, 1]),
        ]),
    ];
    let words: [&[u8]; 14] = [
        b"alpha",
        b"lora_mid.weight",
        b"dora_scale",
        b"hada_t1",
        b"lokr_w1_a",
        b"lokr_t2",
        b"w_norm",
        b"on_input",
        b"bias",
        b"[8,8]",
        b"\"F32\"",
        b"[0,2]",
        b"[]",
        b"[1,1,1,1]",
    ];
    let read = |bytes| {
        let Some(weights) = weights(bytes) else { return false };
        Adapter::new(weights, &unet, &text).map_or_else(|error| told(&error.to_string()), |_| true)
    };
    assert!(corpus.iter().all(|bytes| read(bytes.clone())));
    mutator::run("adapter", &corpus, &words, read);
}

#[test]
fn embeddings_that_are_wrong() {
    let corpus = [goldens("embedding.pt"), goldens("embeds.bin"), vec![file(&[("emb_params", &[2, 8])])]].concat();
    let (_, config) = configs();
    let words: [&[u8]; 4] = [b"string_to_param", b"*", b"emb_params", b"K\x01K\x02\x86"];
    mutator::run("embedding", &corpus, &words, |bytes| {
        let Some(weights) = weights(bytes) else { return false };
        match Embedding::read(&weights) {
            Ok(embedding) => {
                let _ = embedding.check(&config);
                true
            }
            Err(error) => told(&error.to_string()),
        }
    });
}

#[test]
fn hypernetworks_that_are_wrong() {
    let corpus = [goldens("hypernetwork_1.pt"), goldens("hypernetwork_2.pt")].concat();
    let cpu = Cpu::new(1).unwrap();
    let words: [&[u8]; 6] =
        [b"layer_structure", b"activation_func", b"X\x04\0\0\0relu", b"K\x01", b"G?\xf8\0\0\0\0\0\0", b"N"];
    // To load one takes longer than to read it.
    let mut to_load = 500_u32;
    mutator::run("hypernetwork", &corpus, &words, |bytes| {
        let Ok(file) = TorchFile::from_bytes(bytes) else { return false };
        let read = Hypernetwork::new(file).and_then(|hypernetwork| {
            to_load = to_load.saturating_sub(1);
            if to_load > 0 { hypernetwork.load(&cpu, 1.0).map(drop) } else { Ok(()) }
        });
        read.map_or_else(|error| told(&error.to_string()), |()| true)
    });
}

#[test]
fn configs_that_are_wrong() {
    let (unet, text) = configs();
    let corpus = [unet.to_json(), text.to_json(), VaeConfig::with_channels(&[8, 8]).to_json()].map(String::into_bytes);
    let words: [&[u8]; 12] = [
        b"null",
        b"true",
        b"-1",
        b"0",
        b"1e300",
        b"18446744073709551615",
        b"[",
        b"]",
        b"\"DownBlock2D\"",
        b"\"gelu\"",
        b"{}",
        b",",
    ];
    fn read<C: ModelConfig>(text: &str) -> bool {
        let config = C::from_json(text).and_then(|config| config.specs());
        config.map_or_else(|error| told(&error.to_string()), |_| true)
    }
    mutator::run("config", &corpus, &words, |bytes| {
        let text = String::from_utf8_lossy(&bytes);
        // As each of them, whatever it is.
        [read::<UNetConfig>, read::<TextConfig>, read::<VaeConfig>].map(|read| read(&text)).contains(&true)
    });
}

#[test]
fn compvis_configs_that_are_wrong() {
    let corpus = [b"model:\n  params:\n    timesteps: 1000\n    linear_start: 0.00085\n    parameterization: v\n    unet_config:\n      params:\n        num_heads: 8\n        channel_mult: [1, 2, 4, 4]\n".to_vec()];
    let words: [&[u8]; 8] = [b"\n  ", b": ", b"- ", b"[", b"1e99", b"null", b"params", b"num_head_channels: 64"];
    mutator::run("compvis", &corpus, &words, |bytes| {
        let read = CompVisConfig::from_yaml(&String::from_utf8_lossy(&bytes), "config");
        read.map_or_else(|error| told(&error.to_string()), |_| true)
    });
}
