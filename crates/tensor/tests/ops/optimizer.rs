//! What trains: AdamW against torch, the moving average, and sums.

use calotype_tensor::{AdamW, Backend, Differentiable, ParamKind, Result, reference::Reference};

use crate::cpu;

/// `2^-20`.
const TINY: f32 = 1.0 / 1048576.0;

const GRADIENTS: [[f32; 4]; 5] = [
    [0.5, -1.0, 2.0, 0.0],
    [0.25, 3.0, -2.0, TINY],
    [-1.5, 0.125, 0.0, 0.0],
    [4.0, 1.0, 0.5, -TINY],
    [0.0, -0.75, 1.0, 8.0],
];

/// `torch.optim.AdamW` 2.11 in double precision on the gradients times 0.5, from `[1, -2, 0.5, 0]`, with the numbers
/// of [`step`]: `reference/adamw.py`.
const VALUES: [[f64; 4]; 5] = [
    [0.9899000004, -1.9898000002, 0.4899500001, 0.0],
    [0.9804792144835666, -1.994542918488758, 0.49042732088420055, -0.007227079597924617],
    [0.9838534015566353, -1.9984130365075066, 0.4907851217778185, -0.012776938207535745],
    [0.979415498699837, -2.0031441253155795, 0.49005136202894645, -0.012017016799015722],
    [0.9756496753224072, -2.0058047741920872, 0.487659623508392, -0.017470707455385558],
];
const FINAL_M: [f64; 4] = [0.14476499999999995, 0.08910749999999998, 0.06520999999999998, 0.3999999918460845];
const FINAL_V: [f64; 4] = [0.0046352041091094415, 0.002886531688156503, 0.002305446495001002, 0.01600000000000047];

fn step(step: u64) -> AdamW {
    AdamW { learning_rate: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 1e-2, gradient_scale: 0.5, step }
}

fn near(got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(expected) {
        assert!((got - expected).abs() <= tolerance * expected.abs(), "{got}, expected {expected}");
    }
}

/// Runs the five steps; `read` is the data of a tensor.
fn adamw_is_torchs<B: Differentiable>(
    b: &B,
    tolerance: f64,
    read: impl Fn(&B::Tensor) -> Result<Vec<f64>>,
) -> Result<()> {
    let tensor = |data: &[f32]| b.from_f32([2, 2].into(), data.to_vec());
    let mut value = tensor(&[1.0, -2.0, 0.5, 0.0])?;
    let [mut m, mut v] = [tensor(&[0.0; 4])?, tensor(&[0.0; 4])?];
    let before = value.clone();
    for ((gradient, expected), index) in GRADIENTS.iter().zip(VALUES).zip(1..) {
        b.adamw(&mut value, &mut m, &mut v, &tensor(gradient)?, &step(index))?;
        near(&read(&value)?, &expected, tolerance);
    }
    near(&read(&m)?, &FINAL_M, tolerance);
    near(&read(&v)?, &FINAL_V, tolerance);
    near(&read(&before)?, &[1.0, -2.0, 0.5, 0.0], 0.0);
    Ok(())
}

fn wide<B: Backend>(b: &B, x: &B::Tensor) -> Result<Vec<f64>> {
    Ok(b.to_f32(x)?.into_iter().map(f64::from).collect())
}

#[test]
fn adamw_of_the_reference() -> Result<()> {
    adamw_is_torchs(&Reference::<f64>::new(), 1e-12, |x| Ok(x.data().to_vec()))
}

#[test]
fn adamw_of_the_cpu() -> Result<()> {
    cpu::backends(2)?.iter().try_for_each(|(_, cpu)| adamw_is_torchs(cpu, 1e-6, |x| wide(cpu, x)))
}

/// `n` elements, more than a thread takes at once and no multiple of a vector.
const LENGTH: usize = 100_003;

fn sums_and_averages<B: Differentiable>(b: &B) -> Result<()> {
    let tensor = |f: &dyn Fn(usize) -> f32| b.from_f32([LENGTH].into(), (0..LENGTH).map(f).collect());
    let x = tensor(&|i| (i % 7) as f32 - 2.5)?;

    // Exact in double precision; a sum in single precision would be off.
    let squares: f64 = (0..LENGTH).map(|i| ((i % 7) as f64 - 2.5).powi(2)).sum();
    near(&[b.sum_squares(&x)?], &[squares], 1e-14);

    let mut sum = tensor(&|i| (i % 5) as f32)?;
    let shared = sum.clone();
    b.accumulate(&mut sum, &x)?;
    b.accumulate(&mut sum, &x)?;
    let expected: Vec<f64> = (0..LENGTH).map(|i| (i % 5) as f64 + 2.0 * ((i % 7) as f64 - 2.5)).collect();
    near(&wide(b, &sum)?, &expected, 0.0);
    assert_eq!(b.to_f32(&shared)?[..7], [0.0, 1.0, 2.0, 3.0, 4.0, 0.0, 1.0], "a clone changed");

    let mut average = tensor(&|i| (i % 3) as f32)?;
    let shared = average.clone();
    b.lerp(&mut average, &x, 0.25)?;
    let expected: Vec<f64> = (0..LENGTH).map(|i| 0.75 * (i % 3) as f64 + 0.25 * ((i % 7) as f64 - 2.5)).collect();
    near(&wide(b, &average)?, &expected, 1e-6);
    assert_eq!(b.to_f32(&shared)?[..4], [0.0, 1.0, 2.0, 0.0], "a clone changed");

    // What was trained computes like what was loaded.
    let value = b.from_f32([3, 2].into(), vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
    let weight = b.pack(ParamKind::Linear, &value)?;
    assert_eq!(b.param_shape(&weight), [3, 2].into());
    let y = b.linear(&b.from_f32([3].into(), vec![1.0, 10.0, 100.0])?, &weight, None, None, Default::default())?;
    assert_eq!(b.to_f32(&y)?, [531.0, 642.0]);
    Ok(())
}

#[test]
fn sums_and_averages_of_every_backend() -> Result<()> {
    sums_and_averages(&Reference::<f32>::new())?;
    sums_and_averages(&Reference::<f64>::new())?;
    cpu::backends(2)?.iter().try_for_each(|(_, cpu)| sums_and_averages(cpu))
}
