//! Rows and columns of pictures `(B, H, W, C)`: taken off, put together, and joined around the edges.

use calotype_tensor::{Backend, Error, Padding, Result as Computed, infer};

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Axis {
    /// Of H.
    Rows,
    /// Of W.
    Columns,
}

impl Axis {
    /// `[lines, elements of a line]` of the matrix in which each row (of H or W) of a picture is a run of elements.
    fn matrix([b, h, w, c]: [usize; 4], axis: Self) -> [usize; 2] {
        match axis {
            Self::Rows => [b, h * w * c],
            Self::Columns => [b * h, w * c],
        }
    }

    fn run([_, _, w, c]: [usize; 4], axis: Self) -> usize {
        match axis {
            Self::Rows => w * c,
            Self::Columns => c,
        }
    }

    fn resized([b, h, w, c]: [usize; 4], axis: Self, extent: usize) -> [usize; 4] {
        match axis {
            Self::Rows => [b, extent, w, c],
            Self::Columns => [b, h, extent, c],
        }
    }

    /// How many rows or columns.
    pub(crate) fn extent<B: Backend>(self, b: &B, x: &B::Tensor) -> Computed<usize> {
        let [_, h, w, _] = infer::picture("edges", "x", b.shape(x))?;
        Ok(if self == Self::Rows { h } else { w })
    }

    /// Rows or columns `start..start + length` of `x`.
    pub(crate) fn part<B: Backend>(self, b: &B, x: &B::Tensor, start: usize, length: usize) -> Computed<B::Tensor> {
        let shape = infer::picture("edges", "x", b.shape(x))?;
        let run = Self::run(shape, self);
        let part = b.narrow(&b.reshape(x, Self::matrix(shape, self).into())?, start * run, length * run)?;
        b.reshape(&part, Self::resized(shape, self, length).into())
    }

    /// `before`, then `after`, which differ along this axis only.
    pub(crate) fn join<B: Backend>(self, b: &B, before: &B::Tensor, after: &B::Tensor) -> Computed<B::Tensor> {
        let shapes = [before, after].map(|x| infer::picture("edges", "a part", b.shape(x)));
        let [first, second] = shapes;
        let (first, second) = (first?, second?);
        let flat = |x, shape| b.reshape(x, Self::matrix(shape, self).into());
        let joined = b.concat(&flat(before, first)?, &flat(after, second)?)?;
        let extent = self.extent(b, before)? + self.extent(b, after)?;
        b.reshape(&joined, Self::resized(first, self, extent).into())
    }
}

/// Along which axes a picture goes on at its other edge, so that copies of it laid side by side have no seams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wrap {
    /// From right to left.
    pub x: bool,
    /// From bottom to top.
    pub y: bool,
}

impl Wrap {
    /// Whether it does at all.
    #[must_use]
    pub fn any(self) -> bool {
        self.x || self.y
    }

    fn axes(self) -> impl Iterator<Item = Axis> {
        [(self.y, Axis::Rows), (self.x, Axis::Columns)].into_iter().filter_map(|(wraps, axis)| wraps.then_some(axis))
    }

    /// The picture with what `padding` asks for along the wrapped axes, and the padding that is left.
    pub(crate) fn pad<B: Backend>(self, b: &B, x: &B::Tensor, mut padding: Padding) -> Computed<(B::Tensor, Padding)> {
        let mut x = x.clone();
        for axis in self.axes() {
            let (before, after) = match axis {
                Axis::Rows => (&mut padding.top, &mut padding.bottom),
                Axis::Columns => (&mut padding.left, &mut padding.right),
            };
            x = around(b, &x, axis, std::mem::take(before), std::mem::take(after))?;
        }
        Ok((x, padding))
    }

    /// `upsample` of the picture, which doubles it and sees one row or column of the result around it.
    pub(crate) fn upsample<B: Backend>(
        self,
        b: &B,
        x: &B::Tensor,
        upsample: impl FnOnce(&B::Tensor) -> Computed<B::Tensor>,
    ) -> Computed<B::Tensor> {
        let (x, _) = self.pad(b, x, Padding::all(1))?;
        let mut y = upsample(&x)?;
        for axis in self.axes() {
            let extent = axis.extent(b, &y)?;
            y = axis.part(b, &y, 2, extent.saturating_sub(4))?;
        }
        Ok(y)
    }
}

/// `before` rows of the end before the start of `x`, and `after` rows of the start after its end.
fn around<B: Backend>(b: &B, x: &B::Tensor, axis: Axis, before: usize, after: usize) -> Computed<B::Tensor> {
    let extent = axis.extent(b, x)?;
    let Some(last) = extent.checked_sub(before).filter(|_| after <= extent) else {
        let message = format!("a picture of {extent} can't go on by {before} and {after} at its edges");
        return Err(Error::Invalid { op: "edges", message });
    };
    let mut padded = x.clone();
    if before > 0 {
        padded = axis.join(b, &axis.part(b, x, last, before)?, &padded)?;
    }
    if after > 0 {
        padded = axis.join(b, &padded, &axis.part(b, x, 0, after)?)?;
    }
    Ok(padded)
}

/// `upsample` (nearest doubling and a 3×3 convolution with zeros around; with its bias or without) of `x` to a size that
/// may be one less than twice that of `x`, as the way down makes it of odd sizes: the last row of the doubled picture is
/// left out before the convolution (which is nearest interpolation to that size).
///
/// The rows are convolved whole, and what the row left out gave to the last one is taken off again: the middle one of
/// the rows that come of a black row and the last one is just that.
pub(crate) fn upsample_to<B: Backend>(
    b: &B,
    x: &B::Tensor,
    [height, width]: [usize; 2],
    upsample: impl Fn(&B::Tensor, bool) -> Computed<B::Tensor>,
) -> Computed<B::Tensor> {
    let mut y = upsample(x, true)?;
    let odd = |axis: Axis, wanted: usize| -> Computed<bool> {
        let doubled = 2 * axis.extent(b, x)?;
        if wanted > doubled || wanted + 1 < doubled {
            let message = format!("{doubled} was to become {wanted}, expected it or one less");
            return Err(Error::Invalid { op: "upsample", message });
        }
        Ok(wanted < doubled)
    };
    let [rows, columns] = [odd(Axis::Rows, height)?, odd(Axis::Columns, width)?];
    let after_black = |x: &B::Tensor, axis: Axis| -> Computed<B::Tensor> {
        let last = axis.part(b, x, axis.extent(b, x)?.saturating_sub(1), 1)?;
        axis.join(b, &b.scale(&last, 0.0)?, &last)
    };
    let excess = |x: &B::Tensor, axis: Axis| axis.part(b, x, 1, 1);
    let mut row = None;
    if rows {
        let excess = excess(&upsample(&after_black(x, Axis::Rows)?, false)?, Axis::Rows)?;
        y = shortened(b, &y, &excess, Axis::Rows)?;
        row = Some(excess);
    }
    if columns {
        let mut excess_column = excess(&upsample(&after_black(x, Axis::Columns)?, false)?, Axis::Columns)?;
        if row.is_some() {
            // The excess of the column has that of the row left out too.
            let corner = after_black(&after_black(x, Axis::Rows)?, Axis::Columns)?;
            let corner = excess(&excess(&upsample(&corner, false)?, Axis::Rows)?, Axis::Columns)?;
            excess_column = shortened(b, &excess_column, &corner, Axis::Rows)?;
        }
        y = shortened(b, &y, &excess_column, Axis::Columns)?;
    }
    Ok(y)
}

/// `y` without its last row, and its new last one less `excess`.
fn shortened<B: Backend>(b: &B, y: &B::Tensor, excess: &B::Tensor, axis: Axis) -> Computed<B::Tensor> {
    let kept = axis.extent(b, y)?.saturating_sub(2);
    let last = b.sub(&axis.part(b, y, kept, 1)?, excess)?;
    match kept {
        0 => Ok(last),
        _ => axis.join(b, &axis.part(b, y, 0, kept)?, &last),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use calotype_tensor::{Conv2d, ParamKind, reference::Reference};

    use super::*;

    type B = Reference<f64>;

    fn picture(b: &B, [h, w]: [usize; 2]) -> <B as Backend>::Tensor {
        let data = (0..2 * h * w * 3).map(|n| (n as f32 * 0.73).sin()).collect();
        b.from_f32([2, h, w, 3].into(), data).unwrap()
    }

    fn params(b: &B) -> [<B as Backend>::Param; 2] {
        let weight: Vec<f32> = (0..3 * 5 * 9).map(|n| (n as f32 * 1.3).cos()).collect();
        let bias: Vec<f32> = (0..5).map(|n| n as f32 * 0.1).collect();
        [
            b.param("", ParamKind::Conv, [5, 3, 3, 3].into(), &weight).unwrap(),
            b.param("", ParamKind::Vector, [5].into(), &bias).unwrap(),
        ]
    }

    fn assert_near(got: &[f32], expected: &[f32]) {
        assert_eq!(got.len(), expected.len());
        assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{got:?} {expected:?}");
    }

    #[test]
    fn odd_sizes_are_upsampled_before_the_convolution() {
        let b = B::default();
        let [weight, bias] = params(&b);
        for [h, w] in [[1, 1], [1, 4], [3, 2], [4, 5]] {
            let x = picture(&b, [h, w]);
            for [height, width] in [[2 * h, 2 * w], [2 * h - 1, 2 * w], [2 * h, 2 * w - 1], [2 * h - 1, 2 * w - 1]] {
                let doubled = b.upsample_nearest_2x(&x).unwrap();
                let cut = Axis::Rows.part(&b, &doubled, 0, height).unwrap();
                let cut = Axis::Columns.part(&b, &cut, 0, width).unwrap();
                let expected = b.conv2d(&cut, &weight, Some(&bias), None, Conv2d::padded(1)).unwrap();
                let upsample = |x: &_, biased| b.upsample_conv2d(x, &weight, Some(&bias).filter(|_| biased));
                let got = upsample_to(&b, &x, [height, width], upsample).unwrap();
                assert_eq!(b.shape(&got), b.shape(&expected));
                assert_near(&b.to_f32(&got).unwrap(), &b.to_f32(&expected).unwrap());
            }
            assert!(upsample_to(&b, &x, [2 * h + 1, 2 * w], |x, _| Ok(x.clone())).is_err());
        }
    }

    #[test]
    fn a_wrapped_picture_is_a_part_of_the_endless_one() {
        let b = B::default();
        let [weight, bias] = params(&b);
        let [h, w] = [3, 4];
        let x = picture(&b, [h, w]);
        // Nine copies; the middle one sees what it would see without end.
        let copies = |axis: Axis, x: &_| axis.join(&b, &axis.join(&b, x, x).unwrap(), x).unwrap();
        let middle = |axis: Axis, x: &_, extent: usize| axis.part(&b, x, extent, extent).unwrap();
        for wrap in [Wrap { x: true, y: false }, Wrap { x: false, y: true }, Wrap { x: true, y: true }] {
            let endless = wrap.axes().fold(x.clone(), |x, axis| copies(axis, &x));
            let (padded, padding) = wrap.pad(&b, &x, Padding::all(1)).unwrap();
            let options = Conv2d { padding, ..Conv2d::padded(1) };
            let conv = |x: &_, options| b.conv2d(x, &weight, Some(&bias), None, options).unwrap();
            let upsample = |x: &_| b.upsample_conv2d(x, &weight, Some(&bias));
            let expected = [conv(&endless, Conv2d::padded(1)), upsample(&endless).unwrap()];
            let got = [conv(&padded, options), wrap.upsample(&b, &x, upsample).unwrap()];
            for (scale, (expected, got)) in [1, 2].into_iter().zip(expected.iter().zip(&got)) {
                let expected = wrap
                    .axes()
                    .fold(expected.clone(), |x, axis| middle(axis, &x, scale * if axis == Axis::Rows { h } else { w }));
                assert_eq!(b.shape(got), b.shape(&expected));
                assert_near(&b.to_f32(got).unwrap(), &b.to_f32(&expected).unwrap());
            }
        }
    }
}
