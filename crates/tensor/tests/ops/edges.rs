//! Values at the edge of what an operation takes, where a formula as it stands in the paper would fail.

use calotype_tensor::{Activation, Attention, Backend, DType, Differentiable, Result, Shape, reference::Reference};

use crate::cpu;

fn row<B: Backend>(b: &B, data: &[f32]) -> Result<B::Tensor> {
    b.from_f32([data.len()].into(), data.to_vec())
}

fn jumps<B: Differentiable>(b: &B) -> Result<()> {
    let x = row(b, &[-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])?;
    let dy = row(b, &[3.0; 7])?;
    assert_eq!(b.to_f32(&b.abs_backward(&x, &dy)?)?, [-3.0, -3.0, -3.0, 0.0, 3.0, 3.0, 3.0]);
    assert_eq!(b.to_f32(&b.clamp(&x, -1.0, 0.5)?)?, [-1.0, -1.0, -0.5, 0.0, 0.5, 0.5, 0.5]);
    assert_eq!(b.to_f32(&b.clamp_backward(&x, &dy, -1.0, 0.5)?)?, [0.0, 3.0, 3.0, 3.0, 3.0, 0.0, 0.0]);
    Ok(())
}

/// Far out, an activation is `x` or 0, its derivative 1 or 0, and nothing overflows on the way.
///
/// A sigmoid or `e^x` below the least normal `f32` may be any such number.
fn tails<B: Differentiable>(b: &B) -> Result<()> {
    let far = [-1e30, -1e4, -200.0, 200.0, 1e4, 1e30];
    let (x, dy) = (row(b, &far)?, row(b, &[1.0; 6])?);
    let near = |what: String, got: &B::Tensor, expected: [f32; 6]| -> Result<()> {
        for ((x, got), expected) in far.iter().zip(b.to_f32(got)?).zip(expected) {
            let tolerance = 2.0 * x.abs() * f32::MIN_POSITIVE;
            assert!((got - expected).abs() <= tolerance, "{what}({x}) is {got}, expected {expected}");
        }
        Ok(())
    };
    for activation in [Activation::Silu, Activation::Gelu, Activation::QuickGelu] {
        let value = b.activation(&x, activation)?;
        near(format!("{activation:?}"), &value, [0.0, 0.0, 0.0, 200.0, 1e4, 1e30])?;
        let slope = b.activation_backward(&x, &dy, activation)?;
        near(format!("{activation:?}'"), &slope, [0.0, 0.0, 0.0, 1.0, 1.0, 1.0])?;
    }
    let exp = b.to_f32(&b.exp(&row(b, &[-1e4, -200.0, 0.0, 200.0])?)?)?;
    assert!(exp[0].abs() <= f32::MIN_POSITIVE && exp[1].abs() <= f32::MIN_POSITIVE, "{exp:?}");
    assert_eq!(exp[2..], [1.0, f32::INFINITY]);
    Ok(())
}

/// The relative error of small results; the table's cases measure only the absolute one.
///
/// In `f32`, GELU's `1 + erf` leaves a rounding of 1 times `x/2` in the lower tail, in torch too; the others lose nothing.
fn small<B: Backend>(b: &B) -> Result<()> {
    let tails: Vec<f32> = (0..200).map(|i| -0.025 * i as f32).chain([1e-6, -1e-6, 1e-20]).collect();
    let truth = Reference::<f64>::new();
    for activation in [Activation::Silu, Activation::Gelu, Activation::QuickGelu] {
        let got = b.to_f32(&b.activation(&row(b, &tails)?, activation)?)?;
        let expected = truth.activation(&row(&truth, &tails)?, activation)?;
        for ((x, got), expected) in tails.iter().zip(got).zip(expected.data()) {
            let error = (f64::from(got) - expected).abs();
            let left = if activation == Activation::Gelu { x.abs() * f32::EPSILON } else { 0.0 };
            assert!(
                error <= 2e-6 * expected.abs() + f64::from(left),
                "{activation:?}({x}): {got}, expected {expected}"
            );
        }
    }
    Ok(())
}

/// One large score takes all the weight; with `causal` the first row sees the first key only.
fn certain_attention<B: Backend>(b: &B) -> Result<()> {
    let (length, dim) = (130, 8);
    let shape = Shape::from([1, length, dim]);
    let hot = |scale: f32| {
        let one = |i: usize| if i % dim == i / dim % dim { scale } else { 0.0 };
        b.from_f32(shape, (0..length * dim).map(one).collect())
    };
    let values: Vec<f32> = (0..length * dim).map(|i| (i / dim % dim) as f32 + 1.0).collect();
    let v = b.from_f32(shape, values.clone())?;
    for causal in [false, true] {
        let y = b.attention(&hot(1e10)?, &hot(1e10)?, &v, Attention { heads: 1, causal })?;
        for (got, expected) in b.to_f32(&y)?.iter().zip(&values) {
            assert!((got - expected).abs() <= 1e-5 * expected, "causal {causal}: {got}, expected {expected}");
        }
    }
    Ok(())
}

/// A norm of equal elements is its offset, and its gradient is finite.
fn flat_norms<B: Differentiable>(b: &B) -> Result<()> {
    let shape = Shape::from([1, 3, 3, 4]);
    let constant = |value: f32| b.from_f32(shape, vec![value; shape.count()]);
    let vector = |value: f32| b.param("p", calotype_tensor::ParamKind::Vector, [4].into(), &[value; 4]);
    let (x, gamma, beta, dy) = (constant(0.5)?, vector(2.0)?, vector(3.0)?, constant(1.0)?);
    let group = b.group_norm(&x, &gamma, &beta, 2, 1e-5, Activation::None)?;
    let layer = b.layer_norm(&x, &gamma, &beta, 1e-5)?;
    for y in [group, layer] {
        let y = b.to_f32(&y)?;
        assert!(y.iter().all(|y| (y - 3.0).abs() < 1e-3), "{y:?}");
    }
    let mut gradients = b.group_norm_backward(&x, &gamma, &beta, &dy, 2, 1e-5, Activation::Silu)?.to_vec();
    gradients.extend(b.layer_norm_backward(&x, &gamma, &dy, 1e-5)?);
    for gradient in gradients {
        assert!(b.to_f32(&gradient)?.iter().all(|x| x.is_finite()));
    }
    Ok(())
}

/// What is not a number stays so: a broken checkpoint must show, not be smoothed over.
fn nan_spreads<B: Backend>(b: &B) -> Result<()> {
    let x = b.from_f32([1, 1, 2, 2].into(), vec![1.0, f32::NAN, 2.0, 3.0])?;
    let vector = |value: f32| b.param("p", calotype_tensor::ParamKind::Vector, [2].into(), &[value; 2]);
    let nan_at_1 = |what: &str, y: Result<B::Tensor>| -> Result<()> {
        assert!(b.to_f32(&y?)?[1].is_nan(), "{what}");
        Ok(())
    };
    for activation in [Activation::None, Activation::Silu, Activation::Gelu, Activation::QuickGelu] {
        nan_at_1(&format!("{activation:?}"), b.activation(&x, activation))?;
    }
    nan_at_1("exp", b.exp(&x))?;
    nan_at_1("abs", b.abs(&x))?;
    nan_at_1("scale", b.scale(&x, 2.0))?;
    nan_at_1("add", b.add(&x, &x))?;
    nan_at_1("layer_norm", b.layer_norm(&x, &vector(1.0)?, &vector(0.0)?, 1e-5))?;
    nan_at_1("group_norm", b.group_norm(&x, &vector(1.0)?, &vector(0.0)?, 1, 1e-5, Activation::Silu))?;
    let q = b.reshape(&x, [1, 2, 2].into())?;
    nan_at_1("attention", b.attention(&q, &q, &q, Attention { heads: 1, causal: false }))
}

fn in_and_out<B: Backend>(b: &B) -> Result<()> {
    let data: Vec<f32> = (0..30).map(|i| i as f32 * 0.1).collect();
    let x = b.from_f32([2, 3, 5].into(), data.clone())?;
    assert_eq!((b.shape(&x), b.to_f32(&x)?), ([2, 3, 5].into(), data));
    let twice = b.checkpoint(&[x.clone(), x.clone()], |b, x| b.add(&x[0], &x[1]))?;
    assert_eq!(b.to_f32(&twice)?, b.to_f32(&b.scale(&x, 2.0)?)?);
    Ok(())
}

/// One test of each check, on every backend.
macro_rules! on_every_backend {
    ($($check:ident)*) => {
        mod on_every_backend {
            use super::*;
            $(
                #[test]
                fn $check() -> Result<()> {
                    super::$check(&Reference::<f32>::new())?;
                    cpu::backends(2)?.iter().try_for_each(|(_, cpu)| super::$check(cpu))
                }
            )*
        }
    };
}

on_every_backend! { jumps tails small certain_attention flat_norms nan_spreads in_and_out }

#[test]
fn the_reference_has_two_dtypes() {
    assert_eq!((Reference::<f32>::new().dtype(), Reference::<f64>::new().dtype()), (DType::F32, DType::F64));
}
