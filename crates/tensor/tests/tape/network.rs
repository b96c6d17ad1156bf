//! A small network with every operation in it, and the data to feed it.

use calotype_tensor::reference::Array;
use calotype_tensor::{Activation, Attention, Backend, Conv2d, Padding, ParamKind, Result, Shape};

use ParamKind::{Conv, Linear, Table, Vector};

/// Name, kind and shape of every parameter, in the order in which `network` names them.
pub(crate) const PARAMETERS: [(&str, ParamKind, &[usize]); 24] = [
    ("conv_in.weight", Conv, &[3, 3, 3, 4]),
    ("conv_in.bias", Vector, &[4]),
    ("time.weight", Linear, &[3, 4]),
    ("time.bias", Vector, &[4]),
    ("norm.weight", Vector, &[4]),
    ("norm.bias", Vector, &[4]),
    ("conv.weight", Conv, &[3, 3, 4, 4]),
    ("conv.bias", Vector, &[4]),
    ("down.weight", Conv, &[3, 3, 4, 4]),
    ("norm1.weight", Vector, &[4]),
    ("norm1.bias", Vector, &[4]),
    ("tokens", Table, &[5, 4]),
    ("to_q.weight", Linear, &[4, 4]),
    ("to_k.weight", Linear, &[4, 4]),
    ("to_v.weight", Linear, &[4, 4]),
    ("to_out.weight", Linear, &[4, 4]),
    ("to_out.bias", Vector, &[4]),
    ("ff.in.weight", Linear, &[4, 12]),
    ("ff.in.bias", Vector, &[12]),
    ("ff.out.weight", Linear, &[6, 4]),
    ("ff.out.bias", Vector, &[4]),
    ("shortcut.weight", Conv, &[1, 1, 8, 4]),
    ("conv_out.weight", Conv, &[3, 3, 4, 2]),
    ("conv_out.bias", Vector, &[2]),
];

/// The shapes of the leaves: a picture, a time embedding and noise.
pub(crate) const LEAVES: [&[usize]; 3] = [&[2, 4, 4, 3], &[2, 3], &[2, 4, 4, 1]];

/// Numbers in `-0.5..0.5` that depend on `seed` only (Knuth's MMIX generator).
pub(crate) fn numbers(seed: u64, shape: &[usize]) -> Array<f64> {
    let shape = Shape::new(shape).unwrap();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Exact in f32, so that a parameter made from f32 data has the same value.
        f64::from(((state >> 40) as f32) / (1 << 24) as f32 - 0.5)
    };
    Array::new(shape, (0..shape.count()).map(|_| next()).collect()).unwrap()
}

/// A loss of shape `(1)`.
pub(crate) fn network<B: Backend>(b: &B, p: &[B::Param], leaves: &[B::Tensor]) -> Result<B::Tensor> {
    let [x, time, noise] = leaves else { panic!("three leaves") };
    let conv = |x: &B::Tensor, w: usize, bias: Option<usize>, residual: Option<&B::Tensor>, options: Conv2d| {
        b.conv2d(x, &p[w], bias.map(|i| &p[i]), residual, options)
    };
    let linear = |x: &B::Tensor, w: usize, bias: Option<usize>, residual: Option<&B::Tensor>, activation| {
        b.linear(x, &p[w], bias.map(|i| &p[i]), residual, activation)
    };

    // A residual block with a time embedding.
    let h = conv(x, 0, Some(1), None, Conv2d::padded(1))?;
    let time = linear(time, 2, Some(3), None, Activation::Silu)?;
    let inside = b.group_norm(&h, &p[4], &p[5], 2, 1e-5, Activation::Silu)?;
    let inside = b.activation(&b.add_channels(&inside, &time)?, Activation::QuickGelu)?;
    let silu = Conv2d { activation: Activation::Silu, ..Conv2d::padded(1) };
    let skip = conv(&inside, 6, Some(7), Some(&h), silu)?;

    // A transformer at half the size.
    let padding = Padding { bottom: 1, right: 1, ..Padding::default() };
    let down = conv(&skip, 8, None, None, Conv2d { stride: 2, padding, activation: Activation::Gelu })?;
    let s = b.reshape(&down, [2, 4, 4].into())?;
    let normal = b.layer_norm(&s, &p[9], &p[10], 1e-5)?;
    let context = b.embedding(&p[11], &[0, 3, 1, 4, 3, 3], 2)?;
    let q = linear(&normal, 12, None, None, Activation::None)?;
    let k = linear(&context, 13, None, None, Activation::None)?;
    let v = linear(&context, 14, None, None, Activation::None)?;
    let crossed = b.attention(&q, &k, &v, Attention { heads: 2, causal: false })?;
    let s = linear(&crossed, 15, Some(16), Some(&s), Activation::None)?;
    let s = b.add(&s, &b.attention(&s, &s, &s, Attention { heads: 1, causal: true })?)?;
    let inside = b.geglu(&linear(&s, 17, Some(18), None, Activation::None)?)?;
    let s = linear(&inside, 19, Some(20), Some(&s), Activation::Gelu)?;

    // Up again, with the skip, to a sample of a Gaussian.
    let up = b.upsample_nearest_2x(&b.reshape(&s, [2, 2, 2, 4].into())?)?;
    let h = conv(&b.concat(&up, &skip)?, 21, None, Some(&skip), Conv2d::padded(0))?;
    let moments = conv(&h, 22, Some(23), None, Conv2d::padded(1))?;
    let mean = b.narrow(&moments, 0, 1)?;
    let log_variance = b.clamp(&b.narrow(&moments, 1, 1)?, -0.1, 0.1)?;
    let deviation = b.exp(&b.scale(&log_variance, 0.5)?)?;
    let z = b.add(&mean, &b.mul(&deviation, noise)?)?;
    let target = b.from_f32([2, 4, 4, 1].into(), (0..32).map(|i| (i as f32).sin()).collect())?;
    let absolute = b.mean(&b.abs(&b.sub(&target, &z)?)?)?;
    b.add(&absolute, &b.mean(&b.mul(&z, &z)?)?)
}
