//! The profile of a small network.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::time::Instant;

use calotype_tensor::cases::table;
use calotype_tensor::profile::{Call, Profile, totals};
use calotype_tensor::reference::Reference;
use calotype_tensor::{Activation, Attention, Backend, Conv2d, Op, ParamKind, Result, Shape, cpu::Cpu};

fn values(count: usize) -> Vec<f32> {
    (0..count).map(|n| (n % 7) as f32 / 7.0 - 0.4).collect()
}

fn param<B: Backend>(b: &B, name: &str, kind: ParamKind, shape: &[usize]) -> B::Param {
    let shape = Shape::new(shape).unwrap();
    b.param(name, kind, shape, &values(shape.count())).unwrap()
}

fn tensor<B: Backend>(b: &B, shape: &[usize]) -> B::Tensor {
    let shape = Shape::new(shape).unwrap();
    b.from_f32(shape, values(shape.count())).unwrap()
}

/// A network with one operation of most kinds, and two convolutions.
fn network<B: Backend>(b: &B) -> impl Fn(&B) -> Result<B::Tensor> {
    let conv_in = param(b, "conv_in.weight", ParamKind::Conv, &[8, 4, 3, 3]);
    let bias = param(b, "conv_in.bias", ParamKind::Vector, &[8]);
    let gamma = param(b, "down_blocks.0.resnets.1.norm1.weight", ParamKind::Vector, &[8]);
    let beta = param(b, "down_blocks.0.resnets.1.norm1.bias", ParamKind::Vector, &[8]);
    let halving = param(b, "down_blocks.0.downsamplers.0.conv.weight", ParamKind::Conv, &[8, 8, 3, 3]);
    let to_k = param(b, "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight", ParamKind::Linear, &[8, 6]);
    let (x, text) = (tensor(b, &[2, 6, 4, 4]), tensor(b, &[2, 5, 6]));
    move |b| {
        let options = Attention { heads: 2, causal: false };
        let h = b.scale(&x, 2.0)?;
        let h = b.conv2d(&h, &conv_in, Some(&bias), None, Conv2d::padded(1))?;
        let h = b.group_norm(&h, &gamma, &beta, 2, 1e-5, Activation::Silu)?;
        let h = b.conv2d(&h, &halving, None, None, Conv2d { stride: 2, ..Conv2d::padded(1) })?;
        let q = b.reshape(&h, [2, 6, 8].into())?;
        let k = b.linear(&text, &to_k, None, None, Activation::None)?;
        let cross = b.attention(&q, &k, &k, options)?;
        b.add(&cross, &b.attention(&q, &q, &q, options)?)
    }
}

#[test]
fn every_operation_of_a_network_is_counted_once() {
    let profile = Profile::new(Cpu::new(2).unwrap());
    let network = network(&profile);
    let start = Instant::now();
    network(&profile).unwrap();
    let whole = start.elapsed().as_secs_f64();
    let calls = profile.take();

    // Multiplications and additions, by hand; for the others the elements of the inputs.
    let attn2 = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k";
    let expected = [
        ("scale", "input", 2 * 6 * 4 * 4),
        ("conv 3x3", "conv_in", 2 * (2 * 6 * 4 * 8) * (9 * 4)),
        ("group_norm", "down_blocks.0.resnets.1.norm1", 2 * 6 * 4 * 8 + 8 + 8),
        ("conv 3x3 stride 2", "down_blocks.0.downsamplers.0.conv", 2 * (2 * 3 * 2 * 8) * (9 * 8)),
        ("reshape", "down_blocks.0.downsamplers.0.conv", 0),
        ("linear", attn2, 2 * (2 * 5) * (6 * 8)),
        ("attention (cross)", attn2, 2 * 2 * (2 * 6 * 5 * 8)),
        ("attention (self)", attn2, 2 * 2 * (2 * 6 * 6 * 8)),
        ("add", attn2, 2 * (2 * 6 * 8)),
    ];
    let got: Vec<_> = calls.iter().map(|call| (call.kind.as_str(), &*call.layer, call.flops as usize)).collect();
    assert_eq!(got, expected);
    assert!(calls.iter().all(|call| call.seconds >= 0.0));
    assert!(calls.iter().map(|call| call.seconds).sum::<f64>() <= whole);

    let blocks = totals(&calls, |call| call.block(1));
    let names: Vec<_> = blocks.iter().map(|block| (block.name.as_str(), block.calls)).collect();
    assert_eq!(names, [("input", 1), ("conv_in", 1), ("down_blocks.0", 3), ("mid_block", 4)]);
    let sum = |of: fn(&Call) -> f64| calls.iter().map(of).sum::<f64>();
    assert_eq!(blocks.iter().map(|block| block.flops).sum::<f64>(), sum(|call| call.flops));
    assert!((blocks.iter().map(|block| block.seconds).sum::<f64>() - sum(|call| call.seconds)).abs() < 1e-9);

    // A second run begins anew.
    assert_eq!(profile.take(), []);
    network(&profile).unwrap();
    assert_eq!(&*profile.take()[0].layer, "input");
}

#[test]
fn the_profile_computes_what_the_inner_backend_does() {
    let inner = Reference::<f32>::new();
    let profile = Profile::new(Reference::<f32>::new());
    for case in table() {
        let data = case.inputs(1);
        let expected = case.forward(&inner, &case.upload(&inner, &data).unwrap()).unwrap();
        let got = case.forward(&profile, &case.upload(&profile, &data).unwrap()).unwrap();
        assert_eq!(profile.shape(&got), inner.shape(&expected), "{case}");
        assert_eq!(profile.to_f32(&got).unwrap(), inner.to_f32(&expected).unwrap(), "{case}");
        let calls = profile.take();
        assert_eq!(calls.len(), 1, "{case}");
        assert_eq!(calls[0].flops, case.flops(), "{case}");
    }
}

#[test]
fn a_failed_operation_is_not_counted() {
    let profile = Profile::new(Reference::<f32>::new());
    let (a, b) = (tensor(&profile, &[2, 3]), tensor(&profile, &[3, 2]));
    assert!(profile.add(&a, &b).is_err());
    assert_eq!(profile.take(), []);
}

#[test]
fn a_block_is_the_beginning_of_a_layers_path() {
    let call = |layer: &str| Call { kind: "conv 3x3".into(), layer: layer.into(), seconds: 0.0, flops: 0.0 };
    let resnet = call("decoder.up_blocks.3.resnets.1.conv1");
    let blocks: Vec<&str> = (0..6).map(|names| resnet.block(names)).collect();
    let conv1 = "decoder.up_blocks.3.resnets.1.conv1";
    assert_eq!(blocks, ["", "decoder", "decoder.up_blocks.3", "decoder.up_blocks.3.resnets.1", conv1, conv1]);
    assert_eq!(call("mid_block.attentions.0.proj_in").block(1), "mid_block");
    assert_eq!(call("conv_in").block(2), "conv_in");
    assert_eq!(call("").block(1), "");
}

#[test]
fn a_lookup_counts_the_elements_it_takes() {
    assert_eq!(Op::Embedding { ids: vec![4, 4, 1], batch: 1 }.flops(&[], &[[5, 7].into()]), 21.0);
}
