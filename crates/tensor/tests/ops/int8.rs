//! Products of 8-bit weights, with every instruction set that this machine has.

use calotype_tensor::{
    Activation, Attention, Backend, Conv2d, Op, ParamKind, ParamRole, Precision, Result, Shape,
    cases::{Case, Values},
    cpu::{Convolution, Cpu, CpuOptions, Isa},
    reference::Reference,
};
use half::bf16;

use crate::truth::{TRUTHS, widen};

/// The error of a product relative to its size, both as root mean squares, that 8 bits may make on the table's inputs. An evenly
/// distributed row or column of `2n` levels is off by `1 / √12` of a level where its elements are `n / √3` large: 0.4 % for a row
/// (127.5 levels) and as much for a column, 0.6 % for both. The most in the table is 0.82 %.
const TOLERANCE: f64 = 0.01;

fn backend(isa: Isa, threads: usize, precision: Precision) -> Result<Cpu> {
    Cpu::with_options(CpuOptions { isa: Some(isa), threads, precision, convolution: Convolution::Direct })
}

/// An int8 backend for each instruction set.
fn backends(threads: usize) -> Result<Vec<Cpu>> {
    Isa::available().into_iter().map(|isa| backend(isa, threads, Precision::Int8)).collect()
}

fn has_weight(case: &Case) -> bool {
    matches!(case.op, Op::Conv2d(_) | Op::ShiftedConv2d(_) | Op::UpsampleConv2d | Op::Linear(_) | Op::LinearGeglu)
}

#[test]
fn products_are_as_near_as_eight_bits_allow() -> Result<()> {
    for cpu in backends(2)? {
        for truth in TRUTHS.iter().filter(|truth| has_weight(&truth.case)) {
            let y = truth.case.forward(&cpu, &truth.case.upload(&cpu, &truth.inputs)?)?;
            let expected = truth.results[0].value.data();
            let square = |of: &mut dyn Iterator<Item = f64>| of.map(|x| x * x).sum::<f64>();
            let error = square(&mut widen(&cpu.to_f32(&y)?).iter().zip(expected).map(|(got, truth)| got - truth));
            let relative = (error / square(&mut expected.iter().copied())).sqrt();
            assert!(relative <= TOLERANCE, "{}: {}: {relative:.4}", cpu.isa(), truth.case);
        }
    }
    Ok(())
}

#[test]
fn the_number_of_threads_changes_no_bit() -> Result<()> {
    for (one, three) in backends(1)?.iter().zip(backends(3)?) {
        for truth in TRUTHS.iter().filter(|truth| has_weight(&truth.case)) {
            let run = |cpu: &Cpu| cpu.to_f32(&truth.case.forward(cpu, &truth.case.upload(cpu, &truth.inputs)?)?);
            assert_eq!(run(one)?, run(&three)?, "{}: {}", one.isa(), truth.case);
        }
    }
    Ok(())
}

/// Integers from `low` to `high`, both of them in each row of `last`.
fn integers(stream: u64, rows: usize, last: usize, low: i16, high: i16) -> Vec<f32> {
    let mut data = Values::Uniform { low: low.into(), high: high.into() }.draw(7, stream, rows * last);
    data.iter_mut().for_each(|x| *x = x.round());
    data.chunks_exact_mut(last).for_each(|row| (row[0], row[last - 1]) = (low.into(), high.into()));
    data
}

/// Integers of 256 and 255 levels are kept as they are, so that only the result is rounded, to bf16.
#[test]
fn integers_are_multiplied_exactly() -> Result<()> {
    fn run<B: Backend>(b: &B, stride: usize, channels: usize) -> Result<Vec<f32>> {
        let shape = Shape::from([2, 5, 7, channels]);
        let x = b.from_f32(shape, integers(1, shape.rows(), channels, -100, 155))?;
        let (taps, outputs) = (9, 70);
        let weight = integers(2, outputs, taps * channels, -127, 127);
        let weight = b.param("w", ParamKind::Conv, [outputs, channels, 3, 3].into(), &weight)?;
        let y = b.conv2d(&x, &weight, None, None, Conv2d { stride, ..Conv2d::padded(1) })?;
        let square = integers(3, outputs, channels, -127, 127);
        let square = b.param("w", ParamKind::Linear, [outputs, channels].into(), &square)?;
        let mut results = b.to_f32(&y)?;
        results.extend(b.to_f32(&b.linear(&x, &square, None, None, Activation::None)?)?);
        Ok(results)
    }
    for (stride, channels) in [(1, 2), (2, 3), (1, 5), (2, 30), (1, 33)] {
        let expected = run(&Reference::<f64>::new(), stride, channels)?;
        let expected: Vec<f32> = expected.iter().map(|&y| bf16::from_f32(y).to_f32()).collect();
        for cpu in backends(2)? {
            let same = run(&cpu, stride, channels)? == expected;
            assert!(same, "{}: {channels} channels", cpu.isa());
        }
    }
    Ok(())
}

/// `x (rows, I)` times `weight (O, I)`.
fn product(cpu: &Cpu, quantise: bool, x: &[f32], weight: &[f32], outputs: usize) -> Result<Vec<f32>> {
    let channels = weight.len() / outputs;
    let x = cpu.from_f32([x.len() / channels, channels].into(), x.to_vec())?;
    let role = ParamRole { kind: ParamKind::Linear, quantise };
    let weight = cpu.param("w", role, [outputs, channels].into(), &weight)?;
    cpu.to_f32(&cpu.linear(&x, &weight, None, None, Activation::None)?)
}

#[test]
fn edges() -> Result<()> {
    for cpu in backends(1)? {
        let isa = cpu.isa();
        let near = |what: &str, got: &[f32], expected: &[f32]| {
            for (got, &expected) in got.iter().zip(expected) {
                assert!((got - expected).abs() <= 0.01 * expected.abs(), "{isa}: {what}: {got}, expected {expected}");
            }
        };
        let run = |x: &[f32], weight: &[f32]| product(&cpu, true, x, weight, 1);
        near("equal elements", &run(&[3.0; 6], &[1.0, -2.0, 4.0])?, &[9.0, 9.0]);
        near("zeros", &run(&[0.0; 3], &[1.0, -2.0, 4.0])?, &[0.0]);
        near("no weight", &run(&[1.0, 2.0, 3.0], &[0.0; 3])?, &[0.0]);
        near("huge elements", &run(&[-1e38, 1e38, 0.0], &[0.5, 1.0, 0.25])?, &[0.5e38]);
        near("huge weights", &run(&[1.0, 0.0, 0.5], &[1e38, -1e38, 0.0])?, &[1e38]);
        near("tiny elements", &flushed(run(&[1e-39, 0.0, 2e-39], &[1.0; 3])?), &[0.0]);
        near("tiny weights", &flushed(run(&[1.0, 0.0, 0.5], &[1e-39; 3])?), &[0.0]);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let rows = run(&[1.0, bad, 2.0, 1.0, 2.0, 3.0], &[1.0; 3])?;
            assert!(!rows[0].is_finite(), "{isa}: {bad} became {}", rows[0]);
            near("the row after", &rows[1..], &[6.0]);
            let weight = run(&[1.0, 2.0, 3.0], &[1.0, bad, 1.0])?;
            assert!(!weight[0].is_finite(), "{isa}: a weight of {bad} made {}", weight[0]);
        }
    }
    Ok(())
}

/// Denormal numbers as 0.
fn flushed(mut y: Vec<f32>) -> Vec<f32> {
    y.iter_mut().filter(|y| y.abs() < f32::MIN_POSITIVE).for_each(|y| *y = 0.0);
    y
}

/// The most channels whose sum can't leave an `i32`: one more are computed in bf16.
#[test]
fn the_longest_sum() -> Result<()> {
    for cpu in backends(2)? {
        for channels in [66_304, 66_305] {
            let mut x = vec![255.0; channels];
            x[7] = 0.0;
            let y = product(&cpu, true, &x, &vec![127.0; channels], 1)?;
            let expected = 255.0 * 127.0 * (channels - 1) as f32;
            assert!((y[0] - expected).abs() <= 0.005 * expected, "{}: {y:?}, expected {expected}", cpu.isa());
        }
    }
    Ok(())
}

/// What a layer does not let be quantised is kept in bf16.
#[test]
fn layers_say_whether_they_are_quantised() -> Result<()> {
    let x = Values::Uniform { low: -1.0, high: 1.0 }.draw(1, 1, 3 * 40);
    let weight = Values::Uniform { low: -1.0, high: 1.0 }.draw(1, 2, 40 * 20);
    for isa in Isa::available() {
        let run = |precision, quantise| product(&backend(isa, 1, precision)?, quantise, &x, &weight, 20);
        let exact = run(Precision::BF16, true)?;
        assert_eq!(run(Precision::Int8, false)?, exact, "{isa}");
        assert_ne!(run(Precision::Int8, true)?, exact, "{isa}");
    }
    Ok(())
}

/// Queries, keys and values of `(batch, L, heads · head_dim)` whose softmax is neither flat nor one key's; keys share an offset.
fn attention_inputs([batch, queries, keys, channels]: [usize; 4]) -> [(Shape, Vec<f32>); 3] {
    let draw = |stream, length, low, high| {
        let shape = Shape::from([batch, length, channels]);
        (shape, Values::Uniform { low, high }.draw(11, stream, shape.count()))
    };
    [draw(1, queries, -2.0, 2.0), draw(2, keys, -1.0, 3.0), draw(3, keys, -1.0, 1.0)]
}

fn attend<B: Backend>(b: &B, inputs: &[(Shape, Vec<f32>); 3], options: Attention) -> Result<Vec<f32>> {
    let [q, k, v] = inputs.each_ref().map(|(shape, data)| b.from_f32(*shape, data.clone()));
    b.to_f32(&b.attention(&q?, &k?, &v?, options)?)
}

/// Many keys are compared in bytes, in blocks of 512: fewer than a block, whole ones, parts of one.
#[test]
fn attention_is_as_near_as_eight_bits_allow() -> Result<()> {
    for ([queries, keys, heads, head_dim], causal) in [
        ([5, 128, 2, 5], false),
        ([130, 131, 1, 40], true),
        ([7, 512, 3, 8], false),
        ([600, 600, 1, 24], true),
        ([13, 1100, 2, 80], false),
    ] {
        let inputs = attention_inputs([2, queries, keys, heads * head_dim]);
        let options = Attention { heads, causal };
        let expected = attend(&Reference::<f64>::new(), &inputs, options)?;
        for (one, three) in backends(1)?.iter().zip(backends(3)?) {
            let got = attend(one, &inputs, options)?;
            let square = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>();
            let error = square(&mut got.iter().zip(&expected).map(|(got, truth)| f64::from(got - truth)));
            let relative = (error / square(&mut expected.iter().map(|&x| f64::from(x)))).sqrt();
            assert!(relative <= 2.0 * TOLERANCE, "{}: {keys} keys of {head_dim}: {relative:.4}", one.isa());
            assert_eq!(got, attend(&three, &inputs, options)?, "{}: {keys} keys, 3 threads", one.isa());
        }
    }
    Ok(())
}

#[test]
fn attention_passes_on_what_is_not_a_number() -> Result<()> {
    let (options, [queries, keys, channels]) = (Attention { heads: 1, causal: false }, [3, 200, 8]);
    for cpu in backends(2)? {
        for bad in [f32::NAN, f32::INFINITY] {
            for (which, place) in [(0, channels), (1, 5), (2, 7)] {
                let mut inputs = attention_inputs([1, queries, keys, channels]);
                inputs[which].1[place] = bad;
                let y = attend(&cpu, &inputs, options)?;
                let isa = cpu.isa();
                assert!(y.iter().any(|y| !y.is_finite()), "{isa}: {bad} in input {which} vanished");
                // A query's own row alone; a value's own column alone.
                let untouched = match which {
                    0 => &y[..channels],
                    1 => &[],
                    _ => &y[..channels - 1],
                };
                assert!(untouched.iter().all(|y| y.is_finite()), "{isa}: {bad} in input {which} spread");
            }
        }
        let [q, k, v] = attention_inputs([1, queries, keys, channels]);
        let flat = |(shape, data): (Shape, Vec<f32>)| (shape, vec![1.5; data.len()]);
        let y = attend(&cpu, &[q, flat(k), flat(v)], options)?;
        assert!(y.iter().all(|y| (y - 1.5).abs() <= 0.015), "{}: equal keys: {y:?}", cpu.isa());
    }
    Ok(())
}
