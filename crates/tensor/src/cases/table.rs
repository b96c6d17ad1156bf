//! Awkward shapes: extents that are no multiple of any tile, and the smallest ones.

use super::{Case, Input, Role, Values};
use crate::{Activation, Attention, Conv2d, Op, Padding, ParamKind, Shape, op_shapes};

/// The default range of activations.
const ACTIVATION: Values = Values::Uniform { low: -2.0, high: 2.0 };

pub(super) fn tensor(name: &'static str, shape: impl Into<Shape>) -> Input {
    Input { name, shape: shape.into(), role: Role::Tensor, values: ACTIVATION }
}

/// A parameter whose products with `fan_in` activations add up to about 1.
fn param(name: &'static str, kind: ParamKind, shape: impl Into<Shape>, fan_in: usize) -> Input {
    let high = 1.0 / (fan_in.max(1) as f32).sqrt();
    Input { name, shape: shape.into(), role: Role::Param(kind), values: Values::Uniform { low: -high, high } }
}

/// A norm's gain and offset; the offset is not around 0, so that no result is only what a cancellation left.
fn gain_and_offset(channels: usize) -> [Input; 2] {
    [("gamma", Values::Uniform { low: 0.5, high: 1.5 }), ("beta", Values::Uniform { low: 0.25, high: 1.0 })]
        .map(|(name, values)| Input { values, ..param(name, ParamKind::Vector, [channels], 1) })
}

fn optional(mut inputs: Vec<Input>, bias: bool, residual: bool, y: Shape) -> Vec<Input> {
    if bias {
        inputs.push(param("bias", ParamKind::Vector, [y.last()], 1));
    }
    if residual {
        inputs.push(tensor("residual", y));
    }
    inputs
}

/// A convolution of `x (B, H, W, I)` with `weight (KH, KW, I, O)`.
pub(super) fn conv(x: [usize; 4], [kh, kw, o]: [usize; 3], options: Conv2d, bias: bool, residual: bool) -> Case {
    let weight = Shape::from([kh, kw, x[3], o]);
    let inputs = vec![tensor("x", x), param("weight", ParamKind::Conv, weight, kh * kw * x[3])];
    // A case that does not fit is caught when it runs; its residual then does not matter.
    let y = op_shapes::conv2d(x.into(), weight, &options).unwrap_or(x.into());
    Case { op: Op::Conv2d(options), inputs: optional(inputs, bias, residual, y) }
}

/// The same with a shift `(B, O)`.
pub(super) fn shifted_conv(x: [usize; 4], kernel: [usize; 3], options: Conv2d, bias: bool) -> Case {
    let Case { mut inputs, .. } = conv(x, kernel, options, bias, false);
    inputs.push(tensor("shift", [x[0], kernel[2]]));
    Case { op: Op::ShiftedConv2d(options), inputs }
}

/// A linear map of `x (rows, I)` to `(rows, O)`.
pub(super) fn linear(x: impl Into<Shape>, o: usize, activation: Activation, bias: bool, residual: bool) -> Case {
    let x: Shape = x.into();
    let inputs = vec![tensor("x", x), param("weight", ParamKind::Linear, [x.last(), o], x.last())];
    Case { op: Op::Linear(activation), inputs: optional(inputs, bias, residual, x.with_last(o)) }
}

/// A convolution of each channel of `x (B, H, W, C)`.
pub(super) fn depthwise(x: [usize; 4], kernel: [usize; 2], options: Conv2d, bias: bool) -> Case {
    let taps = kernel[0] * kernel[1];
    let weight = param("weight", ParamKind::Table, [taps, x[3]], taps);
    Case {
        op: Op::DepthwiseConv2d { kernel, options },
        inputs: optional(vec![tensor("x", x), weight], bias, false, x.into()),
    }
}

/// Upsampling of `x (B, H, W, I)`, and a 3×3 convolution to `o` channels.
pub(super) fn upsample_conv(x: [usize; 4], o: usize, bias: bool) -> Case {
    let weight = param("weight", ParamKind::UpsampledConv, [3, 3, x[3], o], 9 * x[3]);
    let y = Shape::from([x[0], 2 * x[1], 2 * x[2], o]);
    Case { op: Op::UpsampleConv2d, inputs: optional(vec![tensor("x", x), weight], bias, false, y) }
}

/// GEGLU of a linear map of `x (rows, I)` to `(rows, 2O)`.
pub(super) fn linear_geglu(x: impl Into<Shape>, o: usize, bias: bool) -> Case {
    let Case { inputs, .. } = linear(x, 2 * o, Activation::None, bias, false);
    Case { op: Op::LinearGeglu, inputs }
}

/// Attention of `queries` to `keys` with heads of `head_dim` channels.
pub(super) fn attention(
    batch: usize,
    [queries, keys]: [usize; 2],
    heads: usize,
    head_dim: usize,
    causal: bool,
) -> Case {
    let c = heads * head_dim;
    Case {
        op: Op::Attention(Attention { heads, causal }),
        inputs: vec![tensor("q", [batch, queries, c]), tensor("k", [batch, keys, c]), tensor("v", [batch, keys, c])],
    }
}

pub(super) fn group_norm(x: [usize; 4], groups: usize, eps: f32, activation: Activation) -> Case {
    let [gamma, beta] = gain_and_offset(x[3]);
    let inputs = vec![tensor("x", x), gamma, beta];
    Case { op: Op::GroupNorm { groups, eps, activation }, inputs }
}

pub(super) fn layer_norm(x: impl Into<Shape>, eps: f32) -> Case {
    let x: Shape = x.into();
    let [gamma, beta] = gain_and_offset(x.last());
    Case { op: Op::LayerNorm { eps }, inputs: vec![tensor("x", x), gamma, beta] }
}

pub(super) fn unary(op: Op, x: impl Into<Shape>) -> Case {
    Case { op, inputs: vec![tensor("x", x)] }
}

pub(super) fn binary(op: Op, names: [&'static str; 2], a: impl Into<Shape>, b: impl Into<Shape>) -> Case {
    Case { op, inputs: vec![tensor(names[0], a), tensor(names[1], b)] }
}

fn with_values(mut case: Case, values: Values) -> Case {
    case.inputs.iter_mut().for_each(|input| input.values = values);
    case
}

/// Every operation, at shapes small enough for the reference.
pub fn table() -> Vec<Case> {
    let mut cases = Vec::new();
    convolutions(&mut cases);
    linears(&mut cases);
    attentions(&mut cases);
    norms(&mut cases);
    depthwise_convolutions(&mut cases);
    elementwise(&mut cases);
    form(&mut cases);
    cases
}

fn convolutions(cases: &mut Vec<Case>) {
    use Activation::{Gelu, None, QuickGelu, Silu};
    let same = Conv2d::padded;
    let strided = |padding| Conv2d { stride: 2, padding, activation: None };
    let down = Padding { top: 0, left: 0, bottom: 1, right: 1 };
    let lopsided = Padding { top: 2, left: 0, bottom: 1, right: 3 };
    for (case, activation) in [
        (conv([1, 1, 1, 1], [1, 1, 1], same(0), false, false), None),
        (conv([1, 1, 1, 3], [3, 3, 5], same(1), true, false), Silu),
        (conv([1, 5, 7, 3], [3, 3, 17], same(1), true, false), None),
        (conv([2, 5, 7, 4], [3, 3, 33], same(1), true, true), None),
        (conv([2, 5, 7, 33], [3, 3, 4], same(1), true, false), None),
        (conv([1, 9, 4, 17], [3, 3, 31], same(1), true, true), Silu),
        (conv([3, 5, 7, 31], [3, 3, 48], same(1), false, true), None),
        (conv([1, 9, 4, 65], [3, 3, 130], same(1), true, true), None),
        (conv([1, 9, 4, 130], [3, 3, 100], same(1), true, false), Gelu),
        (conv([1, 5, 7, 100], [3, 3, 1], same(1), true, false), None),
        (conv([1, 9, 14, 48], [3, 3, 48], same(1), true, false), None),
        (conv([1, 17, 33, 5], [3, 3, 16], same(1), true, false), None),
        (conv([1, 46, 51, 17], [3, 3, 4], same(1), true, true), Silu),
        (conv([3, 75, 73, 3], [3, 3, 4], same(1), true, false), None),
        (
            conv(
                [1, 6, 5, 3],
                [3, 3, 5],
                Conv2d { padding: Padding { top: 2, left: 0, bottom: 1, right: 2 }, ..same(0) },
                true,
                false,
            ),
            None,
        ),
        (conv([2, 5, 7, 65], [1, 1, 48], same(0), true, true), None),
        (conv([3, 9, 4, 100], [1, 1, 130], same(0), true, false), QuickGelu),
        (conv([1, 1, 1, 130], [1, 1, 65], same(0), false, false), None),
        (conv([2, 9, 4, 3], [1, 1, 4], same(1), true, false), None),
        (conv([1, 5, 7, 17], [5, 5, 5], same(2), true, false), None),
        (conv([1, 5, 7, 5], [5, 3, 31], same(1), false, false), Silu),
        (conv([2, 9, 7, 4], [3, 1, 17], Conv2d { padding: lopsided, ..same(0) }, true, true), None),
        (conv([1, 5, 7, 31], [3, 3, 33], same(0), true, false), None),
        (conv([1, 8, 6, 33], [3, 3, 48], strided(down), true, false), None),
        (conv([2, 9, 7, 17], [3, 3, 31], strided(Padding::all(1)), true, false), None),
        (conv([1, 9, 4, 48], [3, 3, 65], strided(Padding::all(1)), true, true), Silu),
        (conv([1, 1, 1, 4], [3, 3, 17], strided(Padding::all(1)), true, false), None),
        (conv([2, 9, 7, 100], [1, 1, 33], strided(Padding::default()), false, false), None),
        (conv([1, 15, 14, 3], [5, 5, 17], strided(lopsided), true, false), None),
        (conv([1, 13, 13, 3], [4, 4, 20], Conv2d { stride: 4, ..strided(Padding::default()) }, false, false), None),
    ] {
        cases.push(with_activation(case, activation));
    }
    cases.extend([
        shifted_conv([1, 1, 1, 1], [1, 1, 1], same(0), false),
        shifted_conv([2, 5, 7, 4], [3, 3, 33], same(1), true),
        shifted_conv([3, 9, 4, 17], [3, 3, 8], strided(down), true),
        shifted_conv([2, 7, 9, 65], [1, 1, 48], same(0), false),
        upsample_conv([1, 1, 1, 1], 1, false),
        upsample_conv([1, 5, 7, 3], 17, true),
        upsample_conv([2, 9, 4, 33], 65, true),
        upsample_conv([3, 4, 5, 48], 130, false),
        upsample_conv([1, 17, 3, 130], 64, true),
    ]);
}

/// The same convolution with an activation.
fn with_activation(mut case: Case, with: Activation) -> Case {
    if let Op::Conv2d(options) = &mut case.op {
        options.activation = with;
    }
    case
}

fn linears(cases: &mut Vec<Case>) {
    use Activation::{Gelu, None, QuickGelu, Silu};
    cases.extend([
        linear([1], 1, None, false, false),
        linear([5], 3, None, true, false),
        linear([1, 1], 5, None, true, true),
        linear([3, 4], 17, Silu, true, false),
        linear([1, 130], 100, Silu, true, false),
        linear([2, 77, 33], 31, None, true, true),
        linear([2, 5, 65], 48, None, false, true),
        linear([1, 31, 48], 130, QuickGelu, true, false),
        linear([3, 17, 100], 65, Gelu, true, true),
        linear([1, 77, 130], 5, None, true, false),
        linear([2, 5, 7, 17], 33, None, false, false),
        linear([1, 3, 300], 4, None, true, false),
        linear([1, 257, 4], 48, None, true, false),
        linear([2, 65, 64], 96, None, true, true),
        linear_geglu([1], 1, false),
        linear_geglu([3, 17], 5, true),
        linear_geglu([2, 77, 33], 64, true),
        linear_geglu([2, 65, 130], 192, true),
        linear_geglu([1, 257, 48], 128, false),
        linear_geglu([1, 7, 1100], 128, true),
    ]);
}

fn attentions(cases: &mut Vec<Case>) {
    cases.extend([
        attention(1, [1, 1], 1, 1, false),
        attention(2, [5, 1], 3, 1, false),
        attention(1, [5, 5], 1, 8, true),
        attention(3, [1, 77], 2, 8, false),
        attention(2, [5, 77], 8, 8, false),
        attention(1, [77, 77], 3, 40, true),
        attention(1, [130, 77], 2, 40, false),
        attention(1, [77, 130], 1, 64, false),
        attention(1, [130, 130], 1, 64, true),
        attention(1, [65, 257], 1, 80, false),
        attention(1, [257, 257], 2, 5, false),
        attention(1, [31, 33], 1, 160, false),
        attention(1, [77, 33], 5, 17, true),
        attention(1, [33, 77], 2, 3, true),
    ]);
    // Scores so far apart that a softmax without its maximum would overflow.
    cases.push(with_values(attention(1, [17, 77], 2, 8, false), Values::Uniform { low: -12.0, high: 12.0 }));
}

fn norms(cases: &mut Vec<Case>) {
    use Activation::{None, Silu};
    cases.extend([
        // A group of one or two elements is all `eps`; a small one would make it ill-conditioned.
        group_norm([1, 1, 1, 1], 1, 1.0, None),
        group_norm([1, 1, 1, 4], 2, 0.25, None),
        group_norm([1, 5, 7, 3], 3, 1e-5, None),
        group_norm([2, 5, 7, 4], 1, 1e-6, Silu),
        group_norm([3, 9, 4, 33], 11, 1e-5, Silu),
        group_norm([1, 9, 4, 65], 5, 1e-5, Silu),
        group_norm([2, 5, 7, 130], 10, 1e-6, None),
        group_norm([2, 9, 4, 100], 20, 1e-5, None),
        group_norm([1, 16, 17, 96], 32, 1e-5, Silu),
        unary(Op::UnitRows { eps: 1e-10 }, [1, 3]),
        unary(Op::UnitRows { eps: 0.5 }, [2, 5, 7, 65]),
        layer_norm([1], 1e-5),
        layer_norm([5], 1e-5),
        layer_norm([3, 4], 1e-5),
        layer_norm([2, 77, 33], 1e-5),
        layer_norm([1, 31, 130], 1e-5),
        layer_norm([3, 5, 7, 48], 1e-6),
        layer_norm([2, 17, 100], 1e-3),
    ]);
    // Far from 0, where a variance as the difference of two means would lose all digits.
    let offset = Values::Uniform { low: 30.0, high: 32.0 };
    for mut case in [group_norm([1, 5, 7, 34], 2, 1e-5, None), layer_norm([7, 65], 1e-5)] {
        case.inputs.iter_mut().filter(|input| input.role == Role::Tensor).for_each(|x| x.values = offset);
        cases.push(case);
    }
}

fn depthwise_convolutions(cases: &mut Vec<Case>) {
    let strided = |padding| Conv2d { stride: 2, padding, activation: Activation::None };
    let down = Padding { top: 0, left: 0, bottom: 1, right: 1 };
    let lopsided = Padding { top: 2, left: 0, bottom: 1, right: 3 };
    cases.extend([
        depthwise([1, 1, 1, 1], [1, 1], Conv2d::padded(0), false),
        depthwise([2, 5, 7, 33], [3, 3], Conv2d::padded(1), true),
        depthwise([1, 9, 4, 17], [5, 5], Conv2d::padded(2), false),
        depthwise([1, 8, 6, 48], [3, 3], strided(down), true),
        depthwise([2, 7, 9, 5], [5, 3], strided(lopsided), true),
    ]);
}

fn elementwise(cases: &mut Vec<Case>) {
    let wide = Values::Uniform { low: -9.0, high: 9.0 };
    for activation in [
        Activation::None,
        Activation::Silu,
        Activation::Gelu,
        Activation::QuickGelu,
        Activation::Relu,
        Activation::LeakyRelu,
        Activation::Sigmoid,
    ] {
        cases.push(unary(Op::Activation(activation), [1]));
        cases.push(with_values(unary(Op::Activation(activation), [3, 5, 7, 31]), wide));
    }
    for shape in [&[1][..], &[2, 33], &[2, 5, 7, 17], &[1, 9, 4, 64]] {
        let shape = Shape::new(shape).unwrap_or_else(|_| [1].into());
        let mut x = tensor("x", shape);
        x.values = Values::Grid { step: 0.25, limit: 12 };
        cases.push(Case { op: Op::PRelu, inputs: vec![x, param("slope", ParamKind::Vector, [shape.last()], 4)] });
    }
    cases.push(unary(Op::Geglu, [2]));
    cases.push(unary(Op::Geglu, [3, 17, 66]));
    cases.push(with_values(unary(Op::Geglu, [2, 5, 200]), wide));
    for op in [Op::Add, Op::Sub, Op::Mul] {
        cases.push(binary(op.clone(), ["a", "b"], [1], [1]));
        cases.push(binary(op, ["a", "b"], [2, 5, 7, 33], [2, 5, 7, 33]));
    }
    cases.push(unary(Op::Scale(0.18215), [2, 9, 4, 4]));
    cases.push(binary(Op::AddChannels, ["x", "v"], [1, 1, 1, 1], [1, 1]));
    cases.push(binary(Op::AddChannels, ["x", "v"], [3, 5, 7, 33], [3, 33]));
    cases.push(binary(Op::AddChannels, ["x", "v"], [2, 9, 4, 130], [2, 130]));
    let grid = Values::Grid { step: 0.5, limit: 8 };
    cases.push(with_values(unary(Op::Abs, [2, 5, 33]), grid));
    cases.push(with_values(unary(Op::Clamp { low: -1.5, high: 1.0 }, [2, 5, 7, 17]), grid));
    cases.push(with_values(unary(Op::Exp, [2, 5, 33]), wide));
    // Not around 0, so that the mean is not a difference of large sums.
    cases.push(with_values(unary(Op::Mean, [1]), Values::Uniform { low: 0.5, high: 2.0 }));
    cases.push(with_values(unary(Op::Mean, [2, 9, 4, 65]), Values::Uniform { low: -0.5, high: 2.0 }));
}

fn form(cases: &mut Vec<Case>) {
    cases.extend([
        unary(Op::Reshape([2, 35, 17].into()), [2, 5, 7, 17]),
        unary(Op::Reshape([12].into()), [3, 4]),
        unary(Op::Narrow { start: 0, length: 1 }, [1]),
        unary(Op::Narrow { start: 31, length: 34 }, [2, 5, 7, 65]),
        binary(Op::Concat, ["a", "b"], [1], [3]),
        binary(Op::Concat, ["a", "b"], [2, 5, 7, 31], [2, 5, 7, 17]),
        binary(Op::Concat, ["a", "b"], [3, 5, 64], [3, 5, 33]),
        unary(Op::UpsampleNearest2x, [1, 1, 1, 1]),
        unary(Op::UpsampleNearest2x, [2, 5, 7, 33]),
        unary(Op::UpsampleNearest2x, [3, 9, 4, 4]),
        unary(Op::MaxPool2x, [1, 2, 2, 1]),
        unary(Op::MaxPool2x, [2, 5, 7, 33]),
        unary(Op::MaxPool2x, [3, 8, 4, 4]),
        unary(Op::PixelShuffle(1), [1, 1, 1, 1]),
        unary(Op::PixelShuffle(2), [2, 3, 5, 12]),
        unary(Op::PixelShuffle(3), [1, 4, 3, 45]),
        unary(Op::PixelShuffle(4), [1, 3, 5, 48]),
        unary(Op::PixelUnshuffle(1), [1, 1, 1, 1]),
        unary(Op::PixelUnshuffle(2), [2, 6, 10, 3]),
        unary(Op::PixelUnshuffle(3), [1, 9, 6, 5]),
        unary(Op::PixelUnshuffle(4), [1, 8, 12, 4]),
    ]);
    // Rows taken twice, and rows never taken.
    let ids: Vec<u32> = (0..22).map(|i| i * 7 % 15 + i % 3).collect();
    let lookup = |ids: Vec<u32>, batch, table: [usize; 2]| Case {
        op: Op::Embedding { ids, batch },
        inputs: vec![param("table", ParamKind::Table, table, 1)],
    };
    cases.push(lookup(ids, 2, [17, 33]));
    cases.push(lookup(vec![0], 1, [1, 5]));
}
