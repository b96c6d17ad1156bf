//! Arguments that do not fit are errors, on every operation and every backend, and never a panic.

use calotype_tensor::{
    Activation, AdamW, Attention, Backend, Conv2d, Differentiable, Padding, ParamKind, Result, Shape,
    cases::{self, Case, Values},
    reference::Reference,
};

use crate::{cpu, truth::TRUTH};

fn t<B: Backend, const N: usize>(b: &B, shape: [usize; N]) -> Result<B::Tensor> {
    b.from_f32(shape.into(), vec![1.0; shape.iter().product()])
}

fn p<B: Backend, const N: usize>(b: &B, kind: ParamKind, shape: [usize; N]) -> Result<B::Param> {
    // All elements are the same: as many in the layout of files.
    let mut shape = shape;
    match kind {
        ParamKind::Conv | ParamKind::Linear => shape.reverse(),
        _ => {}
    }
    b.param("p", kind, shape.into(), &vec![1.0; shape.iter().product()])
}

/// Every call that must fail, by name.
fn failing<B: Differentiable>(b: &B) -> Result<Vec<(&'static str, bool)>> {
    use ParamKind::{Conv, Linear, Table, Vector};
    let (x, xs, row) = (t(b, [2, 4, 5, 6])?, t(b, [2, 4, 6])?, t(b, [6])?);
    let (conv, linear, vector, table) =
        (p(b, Conv, [3, 3, 6, 7])?, p(b, Linear, [6, 7])?, p(b, Vector, [6])?, p(b, Table, [6, 7])?);
    let seven = p(b, Vector, [7])?;
    let none = Activation::None;
    let same = Conv2d::padded(1);
    let still = Conv2d { stride: 0, ..same };
    let heads = |heads| Attention { heads, causal: false };
    let step = AdamW {
        learning_rate: 0.1,
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-8,
        weight_decay: 0.0,
        gradient_scale: 1.0,
        step: 1,
    };
    let huge = Shape::from([usize::MAX, 1]);
    Ok(vec![
        ("from_f32: length", b.from_f32([2, 3].into(), vec![0.0; 5]).is_err()),
        ("from_f32: empty", b.from_f32([0].into(), vec![]).is_err()),
        ("from_f32: huge", b.from_f32(huge, vec![0.0; 5]).is_err()),
        ("param: length", b.param("p", Linear, [2, 3].into(), &[0.0; 5]).is_err()),
        ("param: conv rank", p(b, Conv, [6, 7]).is_err()),
        ("param: linear rank", p(b, Linear, [6]).is_err()),
        ("param: vector rank", p(b, Vector, [6, 7]).is_err()),
        ("param: table rank", p(b, Table, [1, 6, 7]).is_err()),
        ("conv2d: x rank", b.conv2d(&xs, &conv, None, None, same).is_err()),
        ("conv2d: channels", b.conv2d(&t(b, [2, 4, 5, 7])?, &conv, None, None, same).is_err()),
        ("conv2d: weight kind", b.conv2d(&x, &linear, None, None, same).is_err()),
        ("conv2d: bias", b.conv2d(&x, &conv, Some(&vector), None, same).is_err()),
        ("conv2d: bias kind", b.conv2d(&x, &conv, Some(&linear), None, same).is_err()),
        ("conv2d: residual", b.conv2d(&x, &conv, None, Some(&x), same).is_err()),
        ("conv2d: stride", b.conv2d(&x, &conv, None, None, still).is_err()),
        ("conv2d: fit", b.conv2d(&t(b, [1, 1, 2, 6])?, &conv, None, None, Conv2d::padded(0)).is_err()),
        ("linear: channels", b.linear(&t(b, [2, 5])?, &linear, None, None, none).is_err()),
        ("linear: weight kind", b.linear(&row, &table, None, None, none).is_err()),
        ("linear: weight kind", b.linear(&row, &conv, None, None, none).is_err()),
        ("linear: bias", b.linear(&row, &linear, Some(&vector), None, none).is_err()),
        ("linear: residual", b.linear(&xs, &linear, None, Some(&xs), none).is_err()),
        ("attention: rank", b.attention(&x, &x, &x, heads(2)).is_err()),
        ("attention: batch", b.attention(&xs, &t(b, [1, 4, 6])?, &t(b, [1, 4, 6])?, heads(2)).is_err()),
        ("attention: channels", b.attention(&xs, &t(b, [2, 4, 8])?, &t(b, [2, 4, 8])?, heads(2)).is_err()),
        ("attention: v", b.attention(&xs, &xs, &t(b, [2, 3, 6])?, heads(2)).is_err()),
        ("attention: heads", b.attention(&xs, &xs, &xs, heads(4)).is_err()),
        ("attention: no heads", b.attention(&xs, &xs, &xs, heads(0)).is_err()),
        ("group_norm: rank", b.group_norm(&xs, &vector, &vector, 2, 1e-5, none).is_err()),
        ("group_norm: gamma", b.group_norm(&x, &seven, &vector, 2, 1e-5, none).is_err()),
        ("group_norm: beta", b.group_norm(&x, &vector, &seven, 2, 1e-5, none).is_err()),
        ("group_norm: groups", b.group_norm(&x, &vector, &vector, 4, 1e-5, none).is_err()),
        ("group_norm: no groups", b.group_norm(&x, &vector, &vector, 0, 1e-5, none).is_err()),
        ("layer_norm: gamma", b.layer_norm(&x, &seven, &vector, 1e-5).is_err()),
        ("layer_norm: beta", b.layer_norm(&x, &vector, &seven, 1e-5).is_err()),
        ("layer_norm: gamma kind", b.layer_norm(&x, &linear, &vector, 1e-5).is_err()),
        ("prelu: slope", b.prelu(&x, &seven).is_err()),
        ("prelu: kind", b.prelu(&x, &linear).is_err()),
        ("prelu_backward: slope", b.prelu_backward(&x, &seven, &x).is_err()),
        ("prelu_backward: dy", b.prelu_backward(&x, &vector, &xs).is_err()),
        ("pixel_shuffle: rank", b.pixel_shuffle(&xs, 2).is_err()),
        ("pixel_shuffle: channels", b.pixel_shuffle(&x, 2).is_err()),
        ("pixel_shuffle: nothing", b.pixel_shuffle(&x, 0).is_err()),
        ("pixel_shuffle: overflow", b.pixel_shuffle(&x, usize::MAX).is_err()),
        ("pixel_unshuffle: rank", b.pixel_unshuffle(&xs, 2).is_err()),
        ("pixel_unshuffle: sides", b.pixel_unshuffle(&x, 2).is_err()),
        ("pixel_unshuffle: nothing", b.pixel_unshuffle(&x, 0).is_err()),
        ("pixel_unshuffle: overflow", b.pixel_unshuffle(&x, usize::MAX).is_err()),
        ("geglu", b.geglu(&t(b, [2, 5])?).is_err()),
        ("add", b.add(&x, &xs).is_err()),
        ("sub", b.sub(&x, &xs).is_err()),
        ("mul: no broadcast", b.mul(&x, &row).is_err()),
        ("add_channels: v", b.add_channels(&x, &t(b, [1, 6])?).is_err()),
        ("add_channels: x", b.add_channels(&xs, &t(b, [2, 6])?).is_err()),
        ("reshape", b.reshape(&x, [2, 4, 29].into()).is_err()),
        ("narrow", b.narrow(&x, 3, 4).is_err()),
        ("narrow: overflow", b.narrow(&x, usize::MAX, 2).is_err()),
        ("concat: rows", b.concat(&x, &t(b, [2, 4, 6, 6])?).is_err()),
        ("concat: rank", b.concat(&x, &xs).is_err()),
        ("upsample_nearest_2x", b.upsample_nearest_2x(&xs).is_err()),
        ("embedding: id", b.embedding(&table, &[0, 6], 1).is_err()),
        ("embedding: largest id", b.embedding(&table, &[u32::MAX], 1).is_err()),
        ("embedding: batch", b.embedding(&table, &[0, 1, 2], 2).is_err()),
        ("embedding: no batch", b.embedding(&table, &[], 0).is_err()),
        ("embedding: kind", b.embedding(&linear, &[0], 1).is_err()),
        ("conv2d_backward_input: dy", b.conv2d_backward_input(&x, &conv, b.shape(&x), same).is_err()),
        ("conv2d_backward_input: input", {
            b.conv2d_backward_input(&t(b, [2, 4, 5, 7])?, &conv, [2, 4, 6, 6].into(), same).is_err()
        }),
        ("conv2d_backward_input: kind", b.conv2d_backward_input(&x, &linear, b.shape(&x), same).is_err()),
        ("conv2d_backward_weight: dy", b.conv2d_backward_weight(&x, &t(b, [2, 4, 4, 7])?, [3, 3], same).is_err()),
        ("conv2d_backward_weight: rank", b.conv2d_backward_weight(&x, &xs, [3, 3], same).is_err()),
        ("conv2d_backward_weight: huge", b.conv2d_backward_weight(&x, &x, [usize::MAX, 3], same).is_err()),
        ("conv2d_backward_weight: stride", b.conv2d_backward_weight(&x, &x, [3, 3], still).is_err()),
        ("linear_backward_input: dy", b.linear_backward_input(&xs, &linear).is_err()),
        ("linear_backward_input: kind", b.linear_backward_input(&t(b, [2, 7])?, &table).is_err()),
        ("linear_backward_weight: dy", b.linear_backward_weight(&xs, &t(b, [2, 5, 6])?).is_err()),
        ("sum_pixels", b.sum_pixels(&xs).is_err()),
        ("attention_backward: dy", b.attention_backward(&xs, &xs, &xs, &t(b, [2, 3, 6])?, heads(2)).is_err()),
        ("attention_backward: heads", b.attention_backward(&xs, &xs, &xs, &xs, heads(0)).is_err()),
        ("group_norm_backward: dy", b.group_norm_backward(&x, &vector, &vector, &xs, 2, 1e-5, none).is_err()),
        ("group_norm_backward: gamma", b.group_norm_backward(&x, &seven, &vector, &x, 2, 1e-5, none).is_err()),
        ("group_norm_backward: groups", b.group_norm_backward(&x, &vector, &vector, &x, 0, 1e-5, none).is_err()),
        ("layer_norm_backward: dy", b.layer_norm_backward(&x, &vector, &xs, 1e-5).is_err()),
        ("layer_norm_backward: gamma", b.layer_norm_backward(&x, &seven, &x, 1e-5).is_err()),
        ("activation_backward", b.activation_backward(&x, &xs, Activation::Silu).is_err()),
        ("activation_backward: none", b.activation_backward(&x, &xs, none).is_err()),
        ("geglu_backward: dy", b.geglu_backward(&x, &x).is_err()),
        ("geglu_backward: odd", b.geglu_backward(&t(b, [2, 5])?, &t(b, [2, 2])?).is_err()),
        ("abs_backward", b.abs_backward(&x, &xs).is_err()),
        ("clamp_backward", b.clamp_backward(&x, &xs, 0.0, 1.0).is_err()),
        ("mean_backward: dy", b.mean_backward(&t(b, [2])?, b.shape(&x)).is_err()),
        ("narrow_backward: dy", b.narrow_backward(&x, 1, b.shape(&x)).is_err()),
        ("narrow_backward: rank", b.narrow_backward(&xs, 0, b.shape(&x)).is_err()),
        ("upsample_nearest_2x_backward: odd", b.upsample_nearest_2x_backward(&x).is_err()),
        ("upsample_nearest_2x_backward: rank", b.upsample_nearest_2x_backward(&xs).is_err()),
        ("embedding_backward: ids", b.embedding_backward(&xs, &[0; 7], 3).is_err()),
        ("embedding_backward: id", b.embedding_backward(&xs, &[3; 8], 3).is_err()),
        ("embedding_backward: rank", b.embedding_backward(&x, &[0; 40], 3).is_err()),
        ("accumulate", b.accumulate(&mut x.clone(), &xs).is_err()),
        ("pack", b.pack(Linear, &x).is_err()),
        ("adamw: m", b.adamw(&mut x.clone(), &mut xs.clone(), &mut x.clone(), &x, &step).is_err()),
        ("adamw: v", b.adamw(&mut x.clone(), &mut x.clone(), &mut xs.clone(), &x, &step).is_err()),
        ("adamw: gradient", b.adamw(&mut x.clone(), &mut x.clone(), &mut x.clone(), &xs, &step).is_err()),
        ("lerp", b.lerp(&mut x.clone(), &xs, 0.5).is_err()),
    ])
}

/// The names of the calls that should have failed and did not.
fn accepted<B: Differentiable>(b: &B) -> Result<Vec<&'static str>> {
    Ok(failing(b)?.into_iter().filter(|(_, failed)| !failed).map(|(name, _)| name).collect())
}

#[test]
fn every_bad_call_is_an_error() -> Result<()> {
    let nothing: [&str; 0] = [];
    assert_eq!(accepted(&Reference::<f64>::new())?, nothing);
    for (name, cpu) in cpu::backends(2)? {
        assert_eq!(accepted(&cpu)?, nothing, "{name}");
    }
    Ok(())
}

/// The case with input `index` of another shape, in every small way.
fn misshapen(case: &Case, index: usize) -> Vec<Case> {
    let shape = case.inputs[index].shape.to_vec();
    let mut shapes = vec![shape[1..].to_vec(), [&[1], &shape[..]].concat(), shape.iter().rev().copied().collect()];
    for axis in 0..shape.len() {
        for extent in [0, shape[axis] + 1] {
            let mut other = shape.clone();
            other[axis] = extent;
            shapes.push(other);
        }
    }
    let with = |shape: Shape| {
        let mut case = case.clone();
        case.inputs[index].shape = shape;
        case
    };
    shapes.iter().filter_map(|dims| Shape::new(dims).ok()).filter(|s| **s != *shape).map(with).collect()
}

/// The shape of the result and those of the gradients for a `dy` of that shape and of `dy_shape`; none where they fail.
type Outcome = Option<(Shape, [Option<Vec<Shape>>; 2])>;

fn outcome<B: Differentiable + Clone>(b: &B, case: &Case, dy_shape: Shape) -> Outcome {
    let inputs = case.upload(b, &case.inputs(1)).ok()?;
    let y = b.shape(&case.forward(b, &inputs).ok()?);
    let gradients = [y, dy_shape].map(|shape| {
        let dy = Values::Uniform { low: -1.0, high: 1.0 }.draw(2, 0, shape.count());
        let gradients = case.backward(b, &inputs, &b.from_f32(shape, dy).ok()?).ok()?;
        Some(gradients.iter().map(|x| b.shape(x)).collect())
    });
    Some((y, gradients))
}

/// Whatever the shapes, a backend takes and refuses what the reference does.
#[test]
fn misshapen_inputs_are_judged_alike() -> Result<()> {
    let cpu = cpu::backends(2)?;
    let mut taken = 0;
    let mut refused = 0;
    for case in cases::table() {
        let Some((y, _)) = outcome(&TRUTH, &case, [1].into()) else { panic!("{case} fails") };
        for case in (0..case.inputs.len()).flat_map(|index| misshapen(&case, index)) {
            let expected = outcome(&TRUTH, &case, y);
            for (name, cpu) in &cpu {
                assert_eq!(outcome(cpu, &case, y), expected, "{name}: {case}");
            }
            if expected.is_some() { taken += 1 } else { refused += 1 }
        }
    }
    assert!(taken > 100 && refused > 100, "{taken} taken, {refused} refused");
    Ok(())
}

#[test]
fn padding_that_overflows_is_an_error() -> Result<()> {
    let b = Reference::<f64>::new();
    let (x, weight) = (t(&b, [1, 2, 2, 1])?, p(&b, ParamKind::Conv, [1, 1, 1, 1])?);
    let padding = Padding { top: usize::MAX, ..Padding::all(1) };
    assert!(b.conv2d(&x, &weight, None, None, Conv2d { padding, ..Conv2d::padded(0) }).is_err());
    Ok(())
}
