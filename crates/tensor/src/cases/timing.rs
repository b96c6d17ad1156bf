use super::{
    Case,
    table::{attention, binary, conv, group_norm, layer_norm, linear, linear_geglu, unary, upsample_conv},
};
use crate::{Activation, Conv2d, Op, Padding};

/// The hot shapes of Stable Diffusion v1 at 512×512, two samples at once (classifier-free guidance), and of its decoder.
pub fn timing() -> Vec<Case> {
    let same = Conv2d::padded;
    let down = Conv2d { stride: 2, ..same(1) };
    let lopsided = Conv2d { stride: 2, padding: Padding { top: 0, left: 0, bottom: 1, right: 1 }, ..same(0) };
    vec![
        // unet
        conv([2, 64, 64, 4], [3, 3, 320], same(1), true, false),
        conv([2, 64, 64, 320], [3, 3, 320], same(1), true, true),
        conv([2, 64, 64, 960], [3, 3, 320], same(1), true, false),
        conv([2, 32, 32, 640], [3, 3, 640], same(1), true, true),
        conv([2, 16, 16, 1280], [3, 3, 1280], same(1), true, true),
        conv([2, 8, 8, 1280], [3, 3, 1280], same(1), true, true),
        conv([2, 8, 8, 2560], [3, 3, 1280], same(1), true, false),
        conv([2, 64, 64, 320], [3, 3, 320], down, true, false),
        upsample_conv([2, 32, 32, 640], 640, true),
        conv([2, 64, 64, 320], [1, 1, 320], same(0), true, false),
        conv([2, 64, 64, 320], [3, 3, 4], same(1), true, false),
        linear([2, 4096, 320], 320, Activation::None, true, true),
        linear([2, 4096, 320], 2560, Activation::None, true, false),
        linear_geglu([2, 4096, 320], 1280, true),
        linear([2, 4096, 1280], 320, Activation::None, true, true),
        linear([2, 256, 1280], 10240, Activation::None, true, false),
        linear([2, 77, 768], 320, Activation::None, false, false),
        linear([2, 320], 1280, Activation::Silu, true, false),
        attention(2, [4096, 4096], 8, 40, false),
        attention(2, [4096, 77], 8, 40, false),
        attention(2, [1024, 1024], 8, 80, false),
        attention(2, [256, 256], 8, 160, false),
        group_norm([2, 64, 64, 320], 32, 1e-5, Activation::Silu),
        group_norm([2, 16, 16, 1280], 32, 1e-5, Activation::Silu),
        layer_norm([2, 4096, 320], 1e-5),
        unary(Op::Geglu, [2, 4096, 2560]),
        binary(Op::Add, ["a", "b"], [2, 64, 64, 320], [2, 64, 64, 320]),
        binary(Op::AddChannels, ["x", "v"], [2, 64, 64, 320], [2, 320]),
        binary(Op::Concat, ["a", "b"], [2, 64, 64, 640], [2, 64, 64, 320]),
        unary(Op::UpsampleNearest2x, [2, 32, 32, 640]),
        // text encoder
        linear([2, 77, 768], 3072, Activation::QuickGelu, true, false),
        attention(2, [77, 77], 12, 64, true),
        // autoencoder
        conv([1, 512, 512, 128], [3, 3, 128], same(1), true, true),
        conv([1, 256, 256, 256], [3, 3, 256], same(1), true, false),
        conv([1, 64, 64, 512], [3, 3, 512], same(1), true, true),
        conv([1, 512, 512, 128], [3, 3, 3], same(1), true, false),
        conv([1, 512, 512, 128], [3, 3, 128], lopsided, true, false),
        attention(1, [4096, 4096], 1, 512, false),
        group_norm([1, 512, 512, 128], 32, 1e-6, Activation::Silu),
    ]
}
