use calotype_tensor::{ParamKind, Shape};
use rayon::prelude::*;

use crate::{Error, Result};

/// How many inputs one thread turns at a time.
const TILE: usize = 64;
/// How many outputs are turned together: a cache line of the result, and few enough lines of the source that strides
/// of a power of two don't push each other out of the first-level cache.
const OUTPUTS: usize = 16;

/// Turns a parameter from the layout of files into that of [`ParamKind`]:
/// convolutions from `(O, I, KH, KW)` to `(KH, KW, I, O)`, linear maps from `(O, I)` to `(I, O)`, others unchanged.
///
/// # Errors
/// `shape` has not the rank of its kind, or `data` not its number of elements.
pub fn from_file_layout(kind: ParamKind, shape: &[usize], data: Vec<f32>) -> Result<(Shape, Vec<f32>)> {
    let shape = Shape::new(shape)?;
    calotype_tensor::infer::param(kind, shape)?;
    check_length(shape, &data)?;
    Ok(match *shape {
        [o, i, kh, kw] => ([kh, kw, i, o].into(), outputs_last(&data, [o, i, kh * kw])),
        [o, i] if kind == ParamKind::Linear => ([i, o].into(), outputs_last(&data, [o, i, 1])),
        _ => (shape, data),
    })
}

/// The inverse of [`from_file_layout`].
///
/// # Errors
/// As there.
pub fn to_file_layout(kind: ParamKind, shape: Shape, data: Vec<f32>) -> Result<(Vec<usize>, Vec<f32>)> {
    calotype_tensor::infer::param(kind, shape)?;
    check_length(shape, &data)?;
    Ok(match *shape {
        [kh, kw, i, o] => (vec![o, i, kh, kw], outputs_first(&data, [o, i, kh * kw])),
        [i, o] if kind == ParamKind::Linear => (vec![o, i], outputs_first(&data, [o, i, 1])),
        _ => (shape.to_vec(), data),
    })
}

fn check_length(shape: Shape, data: &[f32]) -> Result<()> {
    if shape.count() == data.len() { Ok(()) } else { Err(Error::Length { elements: data.len(), shape }) }
}

/// `(O, I, K)` to `(K, I, O)`.
fn outputs_last(data: &[f32], [o, i, k]: [usize; 3]) -> Vec<f32> {
    let mut result = vec![0.0; data.len()];
    if result.is_empty() {
        return result;
    }
    // Band n of every tap's (I, O) matrix is written together, so that each line of the source is read once.
    let mut bands: Vec<Vec<&mut [f32]>> = Vec::new();
    bands.resize_with(i.div_ceil(TILE), || Vec::with_capacity(k));
    for matrix in result.chunks_mut(i * o) {
        bands.iter_mut().zip(matrix.chunks_mut(TILE * o)).for_each(|(band, rows)| band.push(rows));
    }
    bands.into_par_iter().enumerate().for_each(|(n, mut taps)| {
        let inputs = taps.first().map_or(0, |rows| rows.len() / o);
        for first_o in (0..o).step_by(OUTPUTS) {
            let outputs = first_o..o.min(first_o + OUTPUTS);
            for input in 0..inputs {
                for (tap, rows) in taps.iter_mut().enumerate() {
                    let column = (n * TILE + input) * k + tap;
                    let values = &mut rows[input * o..(input + 1) * o][outputs.clone()];
                    for (value, out) in values.iter_mut().zip(outputs.clone()) {
                        *value = data[out * i * k + column];
                    }
                }
            }
        }
    });
    result
}

/// `(K, I, O)` to `(O, I, K)`.
fn outputs_first(data: &[f32], [o, i, k]: [usize; 3]) -> Vec<f32> {
    let mut result = vec![0.0; data.len()];
    if result.is_empty() {
        return result;
    }
    result.par_chunks_mut(TILE * i * k).enumerate().for_each(|(n, band)| {
        for first_i in (0..i).step_by(TILE) {
            for (out, values) in band.chunks_mut(i * k).enumerate() {
                for input in first_i..i.min(first_i + TILE) {
                    for tap in 0..k {
                        values[input * k + tap] = data[(tap * i + input) * o + n * TILE + out];
                    }
                }
            }
        }
    });
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn convolutions_and_linear_maps_turn_and_turn_back() {
        for (o, i, k) in [(1, 1, 1), (3, 2, 3), (70, 65, 3), (64, 128, 1), (5, 200, 2)] {
            let data: Vec<f32> = (0..o * i * k * k).map(|n| n as f32).collect();
            let file = vec![o, i, k, k];
            let (shape, turned) = from_file_layout(ParamKind::Conv, &file, data.clone()).unwrap();
            assert_eq!(*shape, [k, k, i, o]);
            for (n, &value) in turned.iter().enumerate() {
                let (out, input, tap) = (n % o, n / o % i, n / (o * i));
                assert_eq!(value, ((out * i + input) * k * k + tap) as f32);
            }
            assert_eq!(to_file_layout(ParamKind::Conv, shape, turned).unwrap(), (file, data));
        }
        let (shape, turned) = from_file_layout(ParamKind::Linear, &[2, 3], (0..6).map(|n| n as f32).collect()).unwrap();
        assert_eq!((&*shape, turned), (&[3, 2][..], vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
    }

    #[test]
    fn wrong_ranks_and_lengths_are_errors() {
        assert!(from_file_layout(ParamKind::Conv, &[2, 2], vec![0.0; 4]).is_err());
        assert!(from_file_layout(ParamKind::Linear, &[2, 2], vec![0.0; 3]).is_err());
        assert!(from_file_layout(ParamKind::Vector, &[], vec![0.0]).is_err());
    }
}
