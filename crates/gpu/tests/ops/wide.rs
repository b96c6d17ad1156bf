//! Cases with channels that are multiples of four, as those of models are: what the table has few of, and matrices are used for.

use calotype_tensor::{
    Activation, Attention, Conv2d, Op, Padding, ParamKind, Shape,
    cases::{Case, Input, Role, Values},
    op_shapes,
};

pub(crate) fn tensor(name: &'static str, shape: impl Into<Shape>) -> Input {
    Input { name, shape: shape.into(), role: Role::Tensor, values: Values::Uniform { low: -2.0, high: 2.0 } }
}

fn param(name: &'static str, kind: ParamKind, shape: impl Into<Shape>, fan_in: usize) -> Input {
    let high = 1.0 / (fan_in as f32).sqrt();
    Input { name, shape: shape.into(), role: Role::Param(kind), values: Values::Uniform { low: -high, high } }
}

/// A product with a bias, and with a residual if it takes one.
fn product(op: Op, x: Shape, kind: ParamKind, weight: Shape) -> Case {
    let (columns, fan_in) = (weight.last(), weight.count() / weight.last());
    let mut inputs = vec![tensor("x", x), param("weight", kind, weight, fan_in)];
    let residual = match &op {
        Op::Conv2d(options) => op_shapes::conv2d(x, weight, options).ok(),
        Op::Linear(_) => Some(x.with_last(columns)),
        _ => None,
    };
    if let Op::ShiftedConv2d(_) = &op {
        inputs.push(tensor("shift", [x[0], columns]));
    }
    inputs.push(param("bias", ParamKind::Vector, [columns], 1));
    inputs.extend(residual.map(|shape| tensor("residual", shape)));
    Case { op, inputs }
}

fn group_norm(x: [usize; 4], groups: usize, activation: Activation) -> Case {
    let vector =
        |name, low, high| Input { values: Values::Uniform { low, high }, ..param(name, ParamKind::Vector, [x[3]], 1) };
    let inputs = vec![tensor("x", x), vector("gamma", 0.5, 1.5), vector("beta", 0.25, 1.0)];
    Case { op: Op::GroupNorm { groups, eps: 1e-5, activation }, inputs }
}

pub(crate) fn attention(batch: usize, [queries, keys]: [usize; 2], heads: usize, dim: usize, causal: bool) -> Case {
    let width = heads * dim;
    let inputs = vec![
        tensor("q", [batch, queries, width]),
        tensor("k", [batch, keys, width]),
        tensor("v", [batch, keys, width]),
    ];
    Case { op: Op::Attention(Attention { heads, causal }), inputs }
}

pub(crate) fn cases() -> Vec<Case> {
    use ParamKind::{Conv, Linear, UpsampledConv};
    let strided = |padding| Conv2d { stride: 2, padding, activation: Activation::Silu };
    let lopsided = Padding { top: 2, left: 0, bottom: 1, right: 3 };
    vec![
        product(Op::Conv2d(Conv2d::padded(1)), [2, 7, 9, 4].into(), Conv, [3, 3, 4, 72].into()),
        product(Op::Conv2d(Conv2d::padded(1)), [1, 5, 6, 68].into(), Conv, [3, 3, 68, 4].into()),
        product(Op::Conv2d(strided(Padding::all(1))), [2, 9, 7, 36].into(), Conv, [3, 3, 36, 40].into()),
        product(Op::Conv2d(strided(lopsided)), [1, 8, 8, 20].into(), Conv, [5, 3, 20, 100].into()),
        product(Op::Conv2d(Conv2d::padded(0)), [2, 5, 7, 64].into(), Conv, [1, 1, 64, 64].into()),
        product(Op::ShiftedConv2d(Conv2d::padded(1)), [2, 7, 9, 4].into(), Conv, [3, 3, 4, 72].into()),
        product(Op::ShiftedConv2d(Conv2d::padded(0)), [3, 9, 9, 36].into(), Conv, [1, 1, 36, 68].into()),
        product(Op::UpsampleConv2d, [2, 5, 3, 36].into(), UpsampledConv, [3, 3, 36, 68].into()),
        product(Op::UpsampleConv2d, [1, 1, 1, 4].into(), UpsampledConv, [3, 3, 4, 4].into()),
        product(Op::Linear(Activation::Gelu), [2, 37, 72].into(), Linear, [72, 44].into()),
        // A row for each image, which has a kernel of its own.
        product(Op::Linear(Activation::QuickGelu), [2, 4].into(), Linear, [4, 132].into()),
        product(Op::Linear(Activation::Silu), [3, 1036].into(), Linear, [1036, 36].into()),
        product(Op::LinearGeglu, [2, 37, 40].into(), Linear, [40, 2 * 52].into()),
        product(Op::LinearGeglu, [1, 3, 64].into(), Linear, [64, 2 * 4].into()),
        // Groups of a workgroup, of channels in fours and not, more of them than threads; and one that is too large.
        group_norm([2, 6, 5, 64], 4, Activation::Silu),
        group_norm([2, 17, 16, 60], 6, Activation::None),
        group_norm([1, 3, 3, 1200], 1, Activation::Silu),
        group_norm([2, 2, 2, 602], 2, Activation::None),
        group_norm([2, 260, 256, 8], 4, Activation::Silu),
        // The decoder's head, and a width of several chunks that is no multiple of four.
        attention(1, [37, 70], 1, 512, false),
        attention(1, [21, 40], 1, 230, true),
        attention(2, [70, 100], 2, 40, true),
        attention(1, [64, 32], 2, 160, false),
    ]
}
