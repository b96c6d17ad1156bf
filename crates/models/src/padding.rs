//! Rows and columns of pictures `(B, H, W, C)`: taken off, put together, and circular padding.

use calotype_tensor::{Backend, Error, Padding, Result as Computed, op_shapes};

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
        let [_, h, w, _] = op_shapes::picture("circular padding", "x", b.shape(x))?;
        Ok(if self == Self::Rows { h } else { w })
    }

    /// Rows or columns `start..start + length` of `x`.
    pub(crate) fn part<B: Backend>(self, b: &B, x: &B::Tensor, start: usize, length: usize) -> Computed<B::Tensor> {
        let shape = op_shapes::picture("circular padding", "x", b.shape(x))?;
        let run = Self::run(shape, self);
        let part = b.narrow(&b.reshape(x, Self::matrix(shape, self).into())?, start * run, length * run)?;
        b.reshape(&part, Self::resized(shape, self, length).into())
    }

    /// `before`, then `after`, which differ along this axis only.
    pub(crate) fn join<B: Backend>(self, b: &B, before: &B::Tensor, after: &B::Tensor) -> Computed<B::Tensor> {
        let shapes = [before, after].map(|x| op_shapes::picture("circular padding", "a part", b.shape(x)));
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
pub struct CircularPadding {
    /// From right to left.
    pub x: bool,
    /// From bottom to top.
    pub y: bool,
}

impl CircularPadding {
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
        return Err(Error::Invalid { op: "circular padding", message });
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

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use calotype_tensor::{Conv2d, ParamKind, reference::Reference};

    use super::*;

    type B = Reference<f64>;

    pub(crate) fn picture(b: &B, [h, w]: [usize; 2]) -> <B as Backend>::Tensor {
        let data = (0..2 * h * w * 3).map(|n| (n as f32 * 0.73).sin()).collect();
        b.from_f32([2, h, w, 3].into(), data).unwrap()
    }

    pub(crate) fn params(b: &B) -> [<B as Backend>::Param; 2] {
        let weight: Vec<f32> = (0..3 * 5 * 9).map(|n| (n as f32 * 1.3).cos()).collect();
        let bias: Vec<f32> = (0..5).map(|n| n as f32 * 0.1).collect();
        [
            b.param("", ParamKind::Conv, [5, 3, 3, 3].into(), &weight).unwrap(),
            b.param("", ParamKind::Vector, [5].into(), &bias).unwrap(),
        ]
    }

    pub(crate) fn assert_near(got: &[f32], expected: &[f32]) {
        assert_eq!(got.len(), expected.len());
        assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{got:?} {expected:?}");
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
        for wrap in [
            CircularPadding { x: true, y: false },
            CircularPadding { x: false, y: true },
            CircularPadding { x: true, y: true },
        ] {
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
