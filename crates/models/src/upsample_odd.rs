//! Upsampling to sizes that are not even.

use calotype_tensor::{Backend, Error, Result as Computed};

use crate::padding::Axis;

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

    use calotype_tensor::{Conv2d, reference::Reference};

    use super::*;
    use crate::padding::tests::{assert_near, params, picture};

    #[test]
    fn odd_sizes_are_upsampled_before_the_convolution() {
        let b = Reference::<f64>::default();
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
}
