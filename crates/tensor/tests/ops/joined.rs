//! Joined tensors are read where they are: the results are those of the same elements in one tensor.

use calotype_tensor::{
    Activation, Attention, Backend, Conv2d, ParamKind, Precision, Result, Shape,
    cases::Values,
    cpu::{Cpu, CpuOptions, Isa},
};

use crate::truth::{distance, widen};

fn draw(stream: u64, count: usize) -> Vec<f32> {
    Values::Uniform { low: -2.0, high: 2.0 }.draw(1, stream, count)
}

/// What each reader of a joined tensor makes of `x (2, 5, 7, C)`.
fn readers(b: &Cpu, x: &<Cpu as Backend>::Tensor) -> Result<Vec<Vec<f32>>> {
    let channels = b.shape(x).last();
    let vector = |stream| b.param("v", ParamKind::Vector, [channels].into(), &draw(stream, channels));
    let weight = |stream, kernel: usize| {
        let shape = Shape::from([33, channels, kernel, kernel]);
        let scale = 1.0 / (shape.count() as f32 / 33.0).sqrt();
        let data: Vec<f32> = draw(stream, shape.count()).into_iter().map(|x| x * scale).collect();
        b.param("w", ParamKind::Conv, shape, &data)
    };
    let sequence = b.reshape(x, [2, 35, channels].into())?;
    let results = [
        b.group_norm(x, &vector(3)?, &vector(4)?, 2, 1e-5, Activation::Silu)?,
        b.conv2d(x, &weight(5, 1)?, None, None, Conv2d::padded(0))?,
        b.conv2d(x, &weight(6, 3)?, None, None, Conv2d::padded(1))?,
        b.conv2d(x, &weight(7, 3)?, None, None, Conv2d { stride: 2, ..Conv2d::padded(1) })?,
        b.layer_norm(x, &vector(8)?, &vector(9)?, 1e-5)?,
        b.attention(&sequence, &sequence, &sequence, Attention { heads: 2, causal: false })?,
        b.scale(x, 0.5)?,
        b.narrow(x, 1, channels - 1)?,
        b.concat(x, x)?,
    ];
    results.iter().map(|y| b.to_f32(y)).collect()
}

#[test]
fn joined_tensors_are_as_whole_ones() -> Result<()> {
    for isa in Isa::available() {
        for precision in Precision::ALL {
            let b = Cpu::with_options(CpuOptions { threads: 2, isa: Some(isa), precision, ..CpuOptions::default() })?;
            for [left, right] in [[4, 6], [3, 5], [34, 30], [64, 600], [1100, 64]] {
                let parts = [(1, left), (2, right)]
                    .map(|(stream, channels)| b.from_f32([2, 5, 7, channels].into(), draw(stream, 70 * channels)));
                let [a, c] = parts;
                let joined = b.concat(&a?, &c?)?;
                let whole = b.from_f32(b.shape(&joined), b.to_f32(&joined)?)?;
                let results = readers(&b, &joined)?.into_iter().zip(readers(&b, &whole)?);
                for (reader, (got, expected)) in results.enumerate() {
                    // Sums may be cut at other places, and then round to the other side.
                    let error = distance(&widen(&got), &widen(&expected));
                    assert!(error < 0.008, "{isa}, {precision}, {left} + {right} channels, reader {reader}: {error}");
                }
            }
        }
    }
    Ok(())
}
