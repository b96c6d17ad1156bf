//! Key maps: what CompVis' checkpoints call what, and what is in a file at all.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
};

use calotype_formats::{Checkpoint, DType, SafeTensors, to_bytes};
use calotype_models::{
    AdapterForm, CompVisConfig, Component, FileKind, Layout, ModelConfig, TextConfig, UNetConfig, UNetLevel, VaeConfig,
    WeightSet, has_ema, has_raw,
};

fn sd15_unet() -> Layout {
    let level = |attends| UNetLevel { layers: 2, attends };
    Layout::compvis_unet([true, true, true, false].map(level).to_vec())
}

fn keys(layout: &Layout, config: &impl ModelConfig) -> Vec<String> {
    config.specs().unwrap().iter().map(|spec| layout.places(&spec.name).first().unwrap().key.clone()).collect()
}

/// Tensors of no elements with these names and shapes.
fn file(tensors: &[(String, Vec<usize>)]) -> Checkpoint {
    let bytes = |shape: &[usize]| Cow::from(vec![0; 2 * shape.iter().product::<usize>()]);
    let tensors = tensors.iter().map(|(name, shape)| (name.clone(), DType::F16, shape.clone(), bytes(shape)));
    SafeTensors::from_bytes(to_bytes(tensors.collect::<Vec<_>>(), &BTreeMap::new()).unwrap()).unwrap().into()
}

fn named(names: &[&str]) -> Checkpoint {
    file(&names.iter().map(|name| ((*name).to_owned(), vec![1])).collect::<Vec<_>>())
}

#[test]
fn every_parameter_has_a_place_of_its_own() {
    let unet = keys(&sd15_unet(), &UNetConfig::sd15());
    assert_eq!((unet.len(), unet.iter().collect::<HashSet<_>>().len()), (686, 686));
    let vae = keys(&Layout::compvis_vae(4), &VaeConfig::sd15());
    assert_eq!((vae.len(), vae.iter().collect::<HashSet<_>>().len()), (248, 248));
    let text = keys(&Layout::compvis_text(), &TextConfig::sd15());
    assert_eq!((text.len(), text.iter().collect::<HashSet<_>>().len()), (196, 196));
    // Six parameters of each layer are in two tensors.
    let open_clip: HashSet<String> = keys(&Layout::compvis_open_clip(), &TextConfig::sd15()).into_iter().collect();
    assert_eq!(open_clip.len(), 196 - 12 * 4);
}

#[test]
fn known_names() {
    let is = |layout: &Layout, ours: &str, theirs: &str| {
        assert_eq!(layout.places(ours).first().map(|place| place.key.as_str()), Some(theirs), "{ours}");
    };
    let unet = sd15_unet();
    is(&unet, "down_blocks.0.resnets.0.norm1.weight", "model.diffusion_model.input_blocks.1.0.in_layers.0.weight");
    is(&unet, "down_blocks.2.downsamplers.0.conv.bias", "model.diffusion_model.input_blocks.9.0.op.bias");
    is(&unet, "mid_block.attentions.0.proj_in.weight", "model.diffusion_model.middle_block.1.proj_in.weight");
    is(&unet, "up_blocks.0.upsamplers.0.conv.weight", "model.diffusion_model.output_blocks.2.1.conv.weight");
    is(&unet, "up_blocks.1.upsamplers.0.conv.weight", "model.diffusion_model.output_blocks.5.2.conv.weight");
    is(
        &unet,
        "up_blocks.3.resnets.2.conv_shortcut.bias",
        "model.diffusion_model.output_blocks.11.0.skip_connection.bias",
    );
    let vae = Layout::compvis_vae(4);
    is(&vae, "decoder.up_blocks.0.resnets.0.norm1.weight", "first_stage_model.decoder.up.3.block.0.norm1.weight");
    is(&vae, "encoder.mid_block.attentions.0.to_q.weight", "first_stage_model.encoder.mid.attn_1.q.weight");
    for (layout, none) in [
        (&unet, "down_blocks.4.resnets.0.norm1.weight"),
        (&unet, "down_blocks.3.downsamplers.0.conv.weight"),
        (&unet, "up_blocks.0.resnets.3.norm1.weight"),
        (&unet, "up_blocks.99999999999999999999.resnets.0.norm1.weight"),
        (&vae, "decoder.up_blocks.4.resnets.0.norm1.weight"),
        (&vae, "decoder"),
        (&vae, ""),
    ] {
        assert_eq!(layout.places(none), [], "{none}");
    }
}

#[test]
fn sizes_come_from_shapes() {
    let unet = UNetConfig {
        block_out_channels: vec![32, 64],
        down_block_types: UNetConfig::default().down_block_types[2..].to_vec(),
        up_block_types: UNetConfig::default().up_block_types[..2].to_vec(),
        cross_attention_dim: calotype_models::PerBlock::All(48),
        in_channels: 9,
        ..UNetConfig::default()
    };
    let layout =
        Layout::compvis_unet(vec![UNetLevel { layers: 2, attends: true }, UNetLevel { layers: 2, attends: false }]);
    let specs = unet.specs().unwrap();
    let tensors: Vec<_> =
        specs.iter().map(|spec| (layout.places(&spec.name)[0].key.clone(), spec.shape.clone())).collect();
    let file = file(&tensors);
    assert_eq!(Layout::detect(&file, Component::UNet, WeightSet::Auto), Some(layout.clone()));
    assert_eq!((has_ema(&file), has_raw(&file)), (false, true));
    assert_eq!(Layout::detect(&file, Component::UNet, WeightSet::Ema), None);
    assert_eq!(UNetConfig::infer(&file, &layout, &CompVisConfig::default()).unwrap(), unet);
}

#[test]
fn attention_at_other_levels_of_a_vae_is_refused() {
    let config = VaeConfig { norm_num_groups: 4, ..VaeConfig::with_channels(&[4, 8]) };
    let layout = Layout::compvis_vae(2);
    let specs = config.specs().unwrap();
    let mut tensors: Vec<_> =
        specs.iter().map(|spec| (layout.places(&spec.name)[0].key.clone(), spec.shape.clone())).collect();
    tensors.push(("first_stage_model.encoder.down.1.attn.0.q.weight".into(), vec![8, 8, 1, 1]));
    let error = VaeConfig::infer(&file(&tensors), &layout, &CompVisConfig::default()).unwrap_err().to_string();
    assert!(error.contains("attention outside its middle"), "{error}");
}

#[test]
fn files_are_told_by_their_keys() {
    let is = |names: &[&str], kind: FileKind| assert_eq!(FileKind::of(&named(names)), kind, "{names:?}");
    is(&["lora_unet_x.lora_down.weight"], FileKind::Adapter(AdapterForm::KohyaLora));
    is(&["unet.x.lora_A.weight"], FileKind::Adapter(AdapterForm::DiffusersLora));
    is(&["lora_unet_x.hada_w1_a", "lora_unet_y.lora_down.weight"], FileKind::Adapter(AdapterForm::LoHa));
    is(&["lora_unet_x.lokr_w1"], FileKind::Adapter(AdapterForm::LoKr));
    is(&["lora_unet_x.diff"], FileKind::Adapter(AdapterForm::Full));
    is(&["lora_unet_x.oft_blocks"], FileKind::Adapter(AdapterForm::Oft));
    is(&["lora_unet_x.weight", "lora_unet_x.on_input"], FileKind::Adapter(AdapterForm::Ia3));
    is(&["lora_te_x.w_norm", "lora_unet_x.lora_down.weight"], FileKind::Adapter(AdapterForm::KohyaLora));
    is(&["base_model.model.x.lora_A.weight"], FileKind::Adapter(AdapterForm::Peft));
    is(&["string_to_param.*"], FileKind::TextualInversion);
    is(&["768.0.linear.0.weight"], FileKind::Hypernetwork);
    is(&["conditioner.embedders.1.model.ln_final.weight"], FileKind::Other("Stable Diffusion XL"));
    is(&["first_stage_model.decoder.up.0.block.0.norm1.weight"], FileKind::Networks(vec![Component::Vae]));
    is(&["x"], FileKind::Unknown);
    assert_eq!(FileKind::of(&file(&[("a-word".into(), vec![1024])])), FileKind::TextualInversion);
    assert_eq!(FileKind::of(&file(&[("weight".into(), vec![1000, 768])])), FileKind::Unknown);
    assert_eq!(FileKind::of(&file(&[("<cat>".into(), vec![2, 768])])), FileKind::TextualInversion);
}

#[test]
fn wrapped_checkpoints_are_told_as_they_are() {
    let whole = [
        keys(&sd15_unet(), &UNetConfig::sd15()),
        keys(&Layout::compvis_vae(4), &VaeConfig::sd15()),
        keys(&Layout::compvis_text(), &TextConfig::sd15()),
    ]
    .concat();
    let all = FileKind::Networks(Component::ALL.to_vec());
    for before in ["", "module.", "model.", "_forward_module.module.", "state_dict."] {
        let wrapped: Vec<String> = whole.iter().map(|key| format!("{before}{key}")).collect();
        let mut names: Vec<&str> = wrapped.iter().map(String::as_str).collect();
        let control = format!("{before}control_model.input_blocks.0.0.weight");
        assert_eq!(FileKind::of(&named(&names)), all, "{before}");
        // With a ControlNet beside it, it still is one.
        names.push(&control);
        let file = named(&names);
        assert_eq!(FileKind::of(&file), all, "{before}");
        let unet = Layout::detect(&file, Component::UNet, WeightSet::Auto).unwrap();
        let specs = UNetConfig::sd15().specs().unwrap();
        assert!(specs.iter().all(|spec| file.get(&unet.places(&spec.name)[0].key).is_some()), "{before}");
        assert_eq!(FileKind::of(&named(&[&control])), FileKind::Other("a ControlNet"));
    }
    // Inside as well: a UNet that was compiled by itself.
    let inside: Vec<String> =
        whole.iter().map(|key| key.replace("diffusion_model.", "diffusion_model._orig_mod.")).collect();
    let names: Vec<&str> = inside.iter().map(String::as_str).collect();
    assert_eq!(FileKind::of(&named(&names)), all);
    assert!(has_raw(&named(&names)) && !has_ema(&named(&names)));
    let ema = ["module.model_ema.diffusion_modelinput_blocks00weight"];
    assert!(has_ema(&named(&ema)) && Layout::detect(&named(&ema), Component::UNet, WeightSet::Ema).is_some());
}

#[test]
fn unets_that_are_told_more_are_told_by_their_widths() {
    let unet = |context: usize, key: &str, width: usize| {
        let names = [
            ("model.diffusion_model.input_blocks.0.0.weight".to_owned(), vec![1]),
            (
                "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight".to_owned(),
                vec![1, context],
            ),
            (key.to_owned(), vec![1, width]),
        ];
        FileKind::of(&file(&names))
    };
    let label = "model.diffusion_model.label_emb.0.0.weight";
    for (context, key, width, expected) in [
        (2048, label, 2816, "a UNet of Stable Diffusion XL"),
        (2048, "add_embedding.linear_1.weight", 2816, "a UNet of Stable Diffusion XL"),
        (2048, "module.model.diffusion_model.label_emb.0.0.weight", 2816, "a UNet of Stable Diffusion XL"),
        (1280, label, 2560, "a UNet of the Stable Diffusion XL refiner"),
        (1024, label, 2048, "a UNet with class or image embeddings (unCLIP)"),
        (768, "class_embedding.linear_1.weight", 1536, "a UNet with class or image embeddings (unCLIP)"),
        (4096, "add_embedding.linear_1.weight", 7, "a UNet that is told more than Stable Diffusion's is"),
    ] {
        assert_eq!(unet(context, key, width), FileKind::Other(expected), "{key} {context}");
    }
}

#[test]
fn attention_of_a_vae_by_newer_names() {
    let layout = Layout::compvis_vae(4);
    let places = |name: &str| -> Vec<String> { layout.places(name).into_iter().map(|place| place.key).collect() };
    let of = |own: &str, other: &str| {
        let before = "first_stage_model.decoder.mid.attn_1";
        [format!("{before}.{own}.bias"), format!("{before}.{other}.bias")]
    };
    assert_eq!(places("decoder.mid_block.attentions.0.to_out.0.bias"), of("proj_out", "to_out.0"));
    assert_eq!(places("decoder.mid_block.attentions.0.to_q.bias")[..2], of("q", "to_q"));
}
