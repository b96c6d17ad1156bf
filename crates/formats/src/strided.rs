//! Tensors whose elements don't lie in order: transposed ones, views, `channels_last`, one element expanded to many.

use crate::{
    Result,
    source::Source,
    tensors::{TensorInfo, room},
};

/// One dimension: how many, and how many elements apart.
#[derive(Clone, Copy)]
struct Dimension {
    len: usize,
    stride: usize,
}

/// Whether elements of this shape and these strides lie in order, with nothing between them.
pub(crate) fn is_in_order(shape: &[usize], strides: &[usize]) -> bool {
    if shape.contains(&0) {
        return true;
    }
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(&len, &stride)| {
        let fits = len == 1 || stride == expected;
        expected *= len;
        fits
    })
}

/// The bytes of a tensor with strides, row-major.
pub(crate) fn gather(source: &Source, tensor: &TensorInfo) -> Result<Vec<u8>> {
    let size = tensor.dtype.size();
    let dimensions = merge(&tensor.shape, tensor.strides.as_deref().unwrap_or_default());
    let mut bytes = room(source, tensor, tensor.element_count() * size)?;
    // As many inner dimensions as lie close together are read at once, the outer ones step by step.
    let split = (0..dimensions.len()).find(|&n| is_dense(&dimensions[n..])).unwrap_or(dimensions.len());
    let (outer, inner) = dimensions.split_at(split);
    let mut window = room(source, tensor, span(inner) * size)?;
    window.resize(span(inner) * size, 0);
    for start in places(outer) {
        source.read_tensor_at(&tensor.name, &mut window, tensor.bytes.start + (start * size) as u64)?;
        match inner.split_last() {
            Some((row, rows)) if row.stride == 1 => {
                for place in places(rows) {
                    bytes.extend_from_slice(&window[place * size..][..row.len * size]);
                }
            }
            _ => places(inner).for_each(|place| bytes.extend_from_slice(&window[place * size..][..size])),
        }
    }
    Ok(bytes)
}

/// The dimensions, those of one element left out and those that follow each other made one.
fn merge(shape: &[usize], strides: &[usize]) -> Vec<Dimension> {
    let mut merged: Vec<Dimension> = Vec::new();
    for (&len, &stride) in shape.iter().zip(strides).filter(|(len, _)| **len != 1) {
        match merged.last_mut() {
            Some(outer) if outer.stride == stride * len => *outer = Dimension { len: outer.len * len, stride },
            _ => merged.push(Dimension { len, stride }),
        }
    }
    merged
}

/// Elements from the first to the last.
fn span(dimensions: &[Dimension]) -> usize {
    dimensions.iter().map(|d| (d.len - 1) * d.stride).sum::<usize>() + 1
}

/// Whether it wastes little to read everything from the first element to the last.
fn is_dense(dimensions: &[Dimension]) -> bool {
    let count: usize = dimensions.iter().map(|d| d.len).product();
    span(dimensions) <= count.saturating_mul(4).saturating_add(64)
}

/// Where each element lies, row-major.
fn places(dimensions: &[Dimension]) -> impl Iterator<Item = usize> {
    let mut index = vec![0; dimensions.len()];
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let place = next?;
        let mut after = place;
        next = None;
        for (index, dimension) in index.iter_mut().zip(dimensions).rev() {
            *index += 1;
            if *index < dimension.len {
                next = Some(after + dimension.stride);
                break;
            }
            after -= (dimension.len - 1) * dimension.stride;
            *index = 0;
        }
        Some(place)
    })
}
