//! Small blocks of products on one thread, in `f32`, for attention's gradients.

use std::ops::Range;

use crate::cpu::{
    gemm::{
        arithmetic::Arithmetic,
        kernel::{OuterRows, ROWS, Tile, outer},
        multiply_tile,
        packed::{Packed, bits},
    },
    isa::Isa,
};

/// A small product on one thread: `a (count, depth)`, with rows `stride` apart, by the rows `depth` of `right`, which is kept in `f32`.
/// `each(row, column, sums)` is called with every run of finished sums.
pub(crate) fn multiply_block(
    a: &[f32],
    stride: usize,
    count: usize,
    right: &Packed,
    depth: Range<usize>,
    mut each: impl FnMut(usize, usize, &[f32]),
) {
    let length = depth.len();
    let (mut sums, mut scratch) = (Tile::new(), Vec::new());
    for panel in right.panels() {
        let data = right.rows(panel, depth.start, length, &mut scratch);
        for first in (0..count).step_by(ROWS) {
            let row = |r: usize| bits(&a[(first + r).min(count - 1) * stride..][..length]);
            multiply_tile(right.format, row, data, panel.width, &mut sums.0, panel.width, false);
            for r in 0..ROWS.min(count - first) {
                each(first + r, panel.start, &sums.0[r * panel.width..][..panel.columns]);
            }
        }
    }
}

/// `Σ_k a[k]ᵀ · b[k]` on one thread, for attention's gradients: `a` has `count` rows of `inputs` floats, `stride` apart, `b` rows
/// of `columns` floats, `b_stride` apart. Both must lie in slack-ended buffers.
pub(crate) fn outer_block(
    isa: Isa,
    (a, stride, inputs): (&[f32], usize, usize),
    (b, b_stride, columns): (&[f32], usize, usize),
    count: usize,
    mut each: impl FnMut(usize, usize, &[f32]),
) {
    let mut sums = Tile::new();
    let pointers: Vec<*const u32> = (0..count).map(|k| a[k * stride..].as_ptr().cast()).collect();
    for input in (0..inputs).step_by(ROWS) {
        for start in (0..columns).step_by(isa.panel()) {
            let used = isa.panel().min(columns - start);
            let width = used.next_multiple_of(isa.lanes());
            // SAFETY: rows are as the caller says, and reads past their ends stay within the slack.
            unsafe {
                let (a, b) = (pointers.as_ptr(), b[start..].as_ptr().cast());
                let rows = OuterRows { a, offset: input, b, stride: b_stride, count };
                outer(isa, Arithmetic::F32, rows, width, &mut sums);
            }
            for r in 0..ROWS.min(inputs - input) {
                each(input + r, start, &sums.0[r * width..][..used]);
            }
        }
    }
}
