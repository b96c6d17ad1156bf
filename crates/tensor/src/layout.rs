//! Between the layout that parameters have in files, outputs first, and that of [`ParamKind`], outputs last.

use crate::{ParamData, ParamKind, Result, Shape, Threads, op_shapes};

/// How many inputs one thread turns at a time.
const TILE: usize = 64;
/// How many outputs are turned together: a cache line of the result, and few enough lines of the source that strides
/// of a power of two don't push each other out of the first-level cache.
const OUTPUTS: usize = 16;

/// Reads a parameter in the layout of files and turns it into that of its kind: convolutions from `(O, I, KH, KW)` to
/// `(KH, KW, I, O)`, linear maps from `(O, I)` to `(I, O)`, others unchanged. The shape that is given back is the latter.
///
/// # Errors
/// `shape` has not the rank of its kind, `data` has not its number of elements, or can't be read.
pub fn from_file_layout(
    kind: ParamKind,
    shape: Shape,
    data: &dyn ParamData,
    threads: &Threads,
) -> Result<(Shape, Vec<f32>)> {
    let turned = op_shapes::param_from_file(kind, shape, data.count())?;
    let values = data.to_vec_with(threads)?;
    let values = match (kind, &*shape) {
        (ParamKind::Conv | ParamKind::UpsampledConv, &[o, i, kh, kw]) => {
            outputs_last(&values, [o, i, kh * kw], threads)
        }
        (ParamKind::Linear, &[o, i]) => outputs_last(&values, [o, i, 1], threads),
        _ => values,
    };
    Ok((turned, values))
}

/// The inverse of [`from_file_layout`].
///
/// # Errors
/// As there.
pub fn to_file_layout(kind: ParamKind, shape: Shape, data: Vec<f32>, threads: &Threads) -> Result<(Shape, Vec<f32>)> {
    op_shapes::param(kind, shape)?;
    op_shapes::data("to_file_layout", shape, data.len())?;
    Ok(match (kind, &*shape) {
        (ParamKind::Conv | ParamKind::UpsampledConv, &[kh, kw, i, o]) => {
            ([o, i, kh, kw].into(), outputs_first(&data, [o, i, kh * kw], threads))
        }
        (ParamKind::Linear, &[i, o]) => ([o, i].into(), outputs_first(&data, [o, i, 1], threads)),
        _ => (shape, data),
    })
}

/// `(O, I, K)` to `(K, I, O)`.
fn outputs_last(data: &[f32], [o, i, k]: [usize; 3], threads: &Threads) -> Vec<f32> {
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
    threads.chunks(&mut bands, 1, |n, band| {
        let Some(taps) = band.first_mut() else { return };
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
fn outputs_first(data: &[f32], [o, i, k]: [usize; 3], threads: &Threads) -> Vec<f32> {
    let mut result = vec![0.0; data.len()];
    if result.is_empty() {
        return result;
    }
    threads.chunks(&mut result, TILE * i * k, |start, band| {
        let first_o = start / (i * k);
        for first_i in (0..i).step_by(TILE) {
            for (out, values) in band.chunks_mut(i * k).enumerate() {
                for input in first_i..i.min(first_i + TILE) {
                    for tap in 0..k {
                        values[input * k + tap] = data[(tap * i + input) * o + first_o + out];
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
        let threads = &Threads::new(3).unwrap();
        for (o, i, k) in [(1, 1, 1), (3, 2, 3), (70, 65, 3), (64, 128, 1), (5, 200, 2)] {
            let data: Vec<f32> = (0..o * i * k * k).map(|n| n as f32).collect();
            let file = Shape::from([o, i, k, k]);
            let (shape, turned) = from_file_layout(ParamKind::Conv, file, &data, threads).unwrap();
            assert_eq!(*shape, [k, k, i, o]);
            for (n, &value) in turned.iter().enumerate() {
                let (out, input, tap) = (n % o, n / o % i, n / (o * i));
                assert_eq!(value, ((out * i + input) * k * k + tap) as f32);
            }
            assert_eq!(to_file_layout(ParamKind::Conv, shape, turned, threads).unwrap(), (file, data));
        }
        let data = [0, 1, 2, 3, 4, 5].map(|n| n as f32);
        let (shape, turned) = from_file_layout(ParamKind::Linear, [2, 3].into(), &data, threads).unwrap();
        assert_eq!((&*shape, turned), (&[3, 2][..], vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
    }

    #[test]
    fn wrong_ranks_and_lengths_are_errors() {
        let refused = |kind, shape, count| {
            from_file_layout(kind, shape, &vec![0.0; count], Threads::CALLER).unwrap_err().to_string()
        };
        assert!(refused(ParamKind::Conv, [2, 2].into(), 4).contains("expected (O, I, KH, KW)"));
        assert!(refused(ParamKind::Linear, [2, 2].into(), 3).contains("3 elements"));
        assert!(refused(ParamKind::Vector, [2, 2].into(), 4).contains("expected (C)"));
        assert!(to_file_layout(ParamKind::Conv, [2, 2].into(), vec![0.0; 4], Threads::CALLER).is_err());
        assert!(to_file_layout(ParamKind::Linear, [2, 2].into(), vec![0.0; 3], Threads::CALLER).is_err());
    }
}
