//! The windows of tiled diffusion: where they lie, what they weigh, and how what is predicted in them is put together.

use std::{f64::consts::PI, sync::Arc};

use calotype_models::CircularPadding;

use crate::request::{TileMethod, Tiles};

/// The variance of Mixture of Diffusers' bell, for a window of side 1.
const VARIANCE: f64 = 0.01;

/// A window: its first row and column.
pub(crate) type Corner = [usize; 2];

/// Windows of one size that go through the UNet at once.
#[derive(Clone, Debug)]
pub(crate) struct WindowBatch {
    pub(crate) corners: Vec<Corner>,
    /// Height and width.
    pub(crate) size: [usize; 2],
    /// The region whose prompt holds there.
    pub(crate) region: Option<usize>,
    /// A weight for each pixel, before they are divided by the sum of all.
    weights: Arc<[f32]>,
    /// Whether they are laid over what the others make, and not averaged with it.
    is_over: bool,
}

/// The windows of latents of one size.
#[derive(Clone, Debug)]
pub(crate) struct Windows {
    /// Height and width of the latents.
    size: [usize; 2],
    batches: Vec<WindowBatch>,
    /// Sums of the weights of what is averaged, for each pixel.
    sums: Vec<f32>,
    /// How many regions lie over each pixel, and the mean of their masks.
    over: Vec<(f32, f32)>,
    /// Along which axes a window has all of the latents.
    whole: [bool; 2],
}

impl Windows {
    pub(crate) fn new(tiles: &Tiles, [h, w]: [usize; 2], wrap: CircularPadding) -> Self {
        let [high, wide] = [tiles.height.min(h), tiles.width.min(w)];
        let rows = starts(h, high, tiles.overlap, wrap.y);
        let columns = starts(w, wide, tiles.overlap, wrap.x);
        let corners: Vec<Corner> = rows.iter().flat_map(|&y| columns.iter().map(move |&x| [y, x])).collect();
        let weigh = |[h, w]: [usize; 2]| match tiles.method {
            TileMethod::MultiDiffusion => vec![1.0; h * w],
            TileMethod::MixtureOfDiffusers => bell([h, w]),
        };
        // As many in each, as far as they go.
        let batches = corners.len().div_ceil(tiles.batch_size.max(1));
        let weights: Arc<[f32]> = weigh([high, wide]).into();
        let batch = |corners: &[Corner]| WindowBatch {
            corners: corners.to_vec(),
            size: [high, wide],
            region: None,
            weights: Arc::clone(&weights),
            is_over: false,
        };
        let mut batches: Vec<WindowBatch> = corners.chunks(corners.len().div_ceil(batches.max(1))).map(batch).collect();
        batches.extend(tiles.regions.iter().enumerate().map(|(n, region)| {
            let [top, left, high, wide] = region.area([h, w]);
            let size = [high, wide];
            let weights = region.feather.map_or_else(|| weigh(size), |feather| feathered(size, feather)).into();
            let (corners, is_over) = (vec![[top, left]], region.feather.is_some());
            WindowBatch { corners, size, region: Some(n), weights, is_over }
        }));
        let mut windows = Self {
            size: [h, w],
            sums: vec![0.0; h * w],
            over: vec![(0.0, 0.0); h * w],
            batches: Vec::new(),
            whole: [high == h, wide == w],
        };
        for batch in &batches {
            for (_, at, from) in windows.pixels(batch) {
                match (batch.is_over, &mut windows.over[at]) {
                    (false, _) => windows.sums[at] += batch.weights[from],
                    (true, (count, mask)) => (*count, *mask) = (*count + 1.0, *mask + batch.weights[from]),
                }
            }
        }
        for (count, mask) in &mut windows.over {
            *mask /= count.max(1.0);
        }
        Self { batches, ..windows }
    }

    pub(crate) fn batches(&self) -> &[WindowBatch] {
        &self.batches
    }

    /// Along which axes the UNet itself sees its windows go on at their other edge.
    pub(crate) fn own_wrap(&self, wrap: CircularPadding) -> CircularPadding {
        let [rows, columns] = self.whole;
        CircularPadding { x: wrap.x && columns, y: wrap.y && rows }
    }

    /// What the UNet sees at once at most, `[B, h, w]`, for so many pictures: in the windows, and in the largest region.
    pub(crate) fn largest(&self, pictures: usize) -> [[usize; 3]; 2] {
        let of = |batch: &WindowBatch| [batch.corners.len() * pictures, batch.size[0], batch.size[1]];
        let numbers = |[b, h, w]: &[usize; 3]| b * h * w;
        let largest = |is_region: bool| {
            self.batches.iter().filter(|batch| batch.region.is_some() == is_region).map(of).max_by_key(numbers)
        };
        let windows = largest(false).unwrap_or([pictures, 1, 1]);
        [windows, largest(true).unwrap_or(windows)]
    }

    /// For each pixel of each window of a batch: which window, its place in the latents, its place in the window.
    fn pixels(&self, batch: &WindowBatch) -> Vec<(usize, usize, usize)> {
        let ([h, w], [high, wide]) = (self.size, batch.size);
        let mut pixels = Vec::with_capacity(batch.corners.len() * high * wide);
        for (n, &[y, x]) in batch.corners.iter().enumerate() {
            for row in 0..high {
                let line = (y + row) % h * w;
                pixels.extend((0..wide).map(|column| (n, line + (x + column) % w, row * wide + column)));
            }
        }
        pixels
    }

    /// The windows of a batch out of `(B, h, w, C)`, `(n, B, high, wide, C)`.
    pub(crate) fn crop(&self, batch: &WindowBatch, values: &[f32], pictures: usize) -> Vec<f32> {
        let pixels = self.size[0] * self.size[1];
        let channels = values.len() / (pixels * pictures).max(1);
        let of_window = batch.size[0] * batch.size[1];
        let mut cropped = vec![0.0; batch.corners.len() * pictures * of_window * channels];
        for (n, at, to) in self.pixels(batch) {
            for picture in 0..pictures {
                let from = &values[(picture * pixels + at) * channels..][..channels];
                cropped[((n * pictures + picture) * of_window + to) * channels..][..channels].copy_from_slice(from);
            }
        }
        cropped
    }
}

/// What was predicted, put together.
pub(crate) struct Canvas<'a> {
    windows: &'a Windows,
    pictures: usize,
    channels: usize,
    averaged: Vec<f32>,
    /// Sums of what is laid over; empty if nothing is.
    over: Vec<f32>,
}

impl<'a> Canvas<'a> {
    pub(crate) fn new(windows: &'a Windows, pictures: usize, channels: usize) -> Self {
        let [h, w] = windows.size;
        let numbers = pictures * h * w * channels;
        let lies_over = windows.batches.iter().any(|batch| batch.is_over);
        let over = if lies_over { vec![0.0; numbers] } else { Vec::new() };
        Self { windows, pictures, channels, averaged: vec![0.0; numbers], over }
    }

    /// Adds what was predicted for the windows of a batch, `(n, B, high, wide, C)`.
    pub(crate) fn add(&mut self, batch: &WindowBatch, predicted: &[f32]) {
        let &mut Self { windows, pictures, channels, .. } = self;
        let (pixels, of_window) = (windows.sums.len(), batch.size[0] * batch.size[1]);
        let to = if batch.is_over { &mut self.over } else { &mut self.averaged };
        for (n, at, from) in windows.pixels(batch) {
            // One window alone has the whole weight, and changes no bit.
            let weight = if batch.is_over { 1.0 } else { batch.weights[from] / windows.sums[at] };
            for picture in 0..pictures {
                let from = &predicted[((n * pictures + picture) * of_window + from) * channels..][..channels];
                let to = &mut to[(picture * pixels + at) * channels..][..channels];
                to.iter_mut().zip(from).for_each(|(to, x)| *to += x * weight);
            }
        }
    }

    /// The whole, `(B, h, w, C)`.
    pub(crate) fn finish(mut self) -> Vec<f32> {
        let each = self.channels.max(1);
        let over = self.over.chunks_exact(each).zip(self.windows.over.iter().cycle());
        for (to, (laid, &(count, mask))) in self.averaged.chunks_exact_mut(each).zip(over) {
            if count > 0.0 {
                to.iter_mut().zip(laid).for_each(|(to, x)| *to = *to * (1.0 - mask) + x / count * mask);
            }
        }
        self.averaged
    }
}

/// Where windows begin along one axis, so that they overlap by `overlap` at least: evenly from edge to edge (A1111's `split_bboxes`),
/// or around the circle.
fn starts(extent: usize, tile: usize, overlap: usize, wraps: bool) -> Vec<usize> {
    if tile >= extent {
        return vec![0];
    }
    let overlap = overlap.min(tile.saturating_sub(1));
    let step = tile - overlap;
    if wraps {
        let count = extent.div_ceil(step);
        return (0..count).map(|n| n * extent / count).collect();
    }
    let count = (extent - overlap).div_ceil(step);
    let apart = (extent - tile) as f64 / (count - 1).max(1) as f64;
    (0..count).map(|n| ((n as f64 * apart) as usize).min(extent - tile)).collect()
}

/// Mixture of Diffusers' weights of a window: `f(y) f(x)`, `f(t) = exp(-(t - c)² / w² / 2σ²) / √(2πσ²)`, with the middle `c` and the
/// width `w` that its code has for rows too.
fn bell([h, w]: [usize; 2]) -> Vec<f32> {
    let width = (w * w) as f64;
    let f = |t: usize, middle: f64| {
        let t = t as f64 - middle;
        (-t * t / width / (2.0 * VARIANCE)).exp() / (2.0 * PI * VARIANCE).sqrt()
    };
    let (of_rows, of_columns) = (h as f64 / 2.0, (w as f64 - 1.0) / 2.0);
    // A window far higher than wide has weights of nothing at its ends, which would not be averaged.
    let weight = |y: usize, x: usize| (f(y, of_rows) * f(x, of_columns)).max(f64::from(f32::MIN_POSITIVE)) as f32;
    (0..h).flat_map(|y| (0..w).map(move |x| (y, x))).map(|(y, x)| weight(y, x)).collect()
}

/// A mask that grows from 0 at the edges as the square of the way, up to 1 after `part` of the way to the middle.
fn feathered([h, w]: [usize; 2], part: f64) -> Vec<f32> {
    let radius = ((w / 2).min(h / 2) as f64 * part) as usize;
    let weight = |y: usize, x: usize| {
        let edge = y.min(h - 1 - y).min(x).min(w - 1 - x);
        if edge >= radius { 1.0 } else { (edge as f32 / radius as f32).powi(2) }
    };
    (0..h).flat_map(|y| (0..w).map(move |x| (y, x))).map(|(y, x)| weight(y, x)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Region;

    const NO_WRAP: CircularPadding = CircularPadding { x: false, y: false };

    fn numbers(count: usize) -> Vec<f32> {
        (0..count).map(|n| (n as f32 * 0.73).sin()).collect()
    }

    /// What comes of `x` if the UNet predicts `f` of each number.
    fn through(windows: &Windows, x: &[f32], pictures: usize, channels: usize, f: impl Fn(f32) -> f32) -> Vec<f32> {
        let mut canvas = Canvas::new(windows, pictures, channels);
        for batch in windows.batches() {
            let seen: Vec<f32> = windows.crop(batch, x, pictures).into_iter().map(&f).collect();
            assert_eq!(seen.len(), batch.corners.len() * pictures * batch.size[0] * batch.size[1] * channels);
            canvas.add(batch, &seen);
        }
        canvas.finish()
    }

    #[test]
    fn windows_begin_where_the_extension_and_diffusers_have_them() {
        // diffusers: 64 wide, 8 apart, in latents of 128 and around them.
        assert_eq!(starts(128, 64, 56, false), [0, 8, 16, 24, 32, 40, 48, 56, 64]);
        assert_eq!(starts(128, 64, 56, true), (0..16).map(|n| 8 * n).collect::<Vec<_>>());
        // A1111: 96 wide, 48 over each other, in latents of 200: ceil(152 / 48) = 4, 34⅔ apart.
        assert_eq!(starts(200, 96, 48, false), [0, 34, 69, 104]);
        assert_eq!(starts(64, 64, 8, true), [0]);
        assert_eq!(starts(5, 9, 8, false), [0]);
        assert_eq!(starts(3, 1, 0, false), [0, 1, 2]);
    }

    #[test]
    fn one_window_is_the_whole_bit_for_bit() {
        for method in [TileMethod::MultiDiffusion, TileMethod::MixtureOfDiffusers] {
            let windows = Windows::new(&Tiles { method, ..Tiles::default() }, [7, 9], NO_WRAP);
            let x = numbers(2 * 7 * 9 * 3);
            assert_eq!(windows.batches().len(), 1);
            assert_eq!(windows.crop(&windows.batches()[0], &x, 2), x);
            assert_eq!(through(&windows, &x, 2, 3, |x| x), x);
        }
    }

    #[test]
    fn weights_sum_to_one() {
        let region = |feather| Region { x: 0.1, y: 0.3, width: 0.5, height: 0.6, feather, ..Region::default() };
        for method in [TileMethod::MultiDiffusion, TileMethod::MixtureOfDiffusers] {
            for wrap in [NO_WRAP, CircularPadding { x: true, y: false }, CircularPadding { x: true, y: true }] {
                for regions in [vec![], vec![region(None)], vec![region(Some(0.4)), region(Some(1.0)), region(None)]] {
                    let tiles = Tiles { method, width: 8, height: 6, overlap: 3, batch_size: 4, regions };
                    let windows = Windows::new(&tiles, [13, 21], wrap);
                    let x = numbers(2 * 13 * 21 * 4);
                    // What sees only its own pixel is as without windows; a constant stays one.
                    let got = through(&windows, &x, 2, 4, |x| 2.0 * x - 0.5);
                    assert!(got.iter().zip(&x).all(|(got, x)| (got - (2.0 * x - 0.5)).abs() < 2e-6));
                    assert!(through(&windows, &x, 2, 4, |_| 0.75).iter().all(|x| (x - 0.75).abs() < 1e-6));
                }
            }
        }
    }

    #[test]
    fn windows_are_weighed_by_the_formulas() {
        // Two windows of 4 in 6, two over each other.
        let tiles = |method| Tiles { method, width: 4, height: 1, overlap: 0, batch_size: 1, regions: vec![] };
        let each = |method| {
            let windows = Windows::new(&Tiles { overlap: 0, ..tiles(method) }, [1, 6], NO_WRAP);
            let corners: Vec<Corner> = windows.batches().iter().flat_map(|batch| batch.corners.clone()).collect();
            assert_eq!(corners, [[0, 0], [0, 2]]);
            let mut canvas = Canvas::new(&windows, 1, 1);
            canvas.add(&windows.batches()[0], &[1.0; 4]);
            canvas.add(&windows.batches()[1], &[3.0; 4]);
            canvas.finish()
        };
        assert_eq!(each(TileMethod::MultiDiffusion), [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
        // f(x) at ½ and 1½ from the middle: exp(-¼ / 16 / .02) = .458, exp(-2¼ / 16 / .02) = .000884.
        let (near, far) = ((-0.25f64 / 0.32).exp(), (-2.25f64 / 0.32).exp());
        let mixed = (near + 3.0 * far) / (near + far);
        let expected = [1.0, 1.0, mixed, 4.0 - mixed, 3.0, 3.0].map(|x| x as f32);
        let got = each(TileMethod::MixtureOfDiffusers);
        assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?} {expected:?}");
    }

    #[test]
    fn regions_lie_where_they_are_asked_for() {
        let over = Region { x: 0.25, y: 0.0, width: 0.5, height: 1.0, feather: Some(0.0), ..Region::default() };
        assert_eq!(over.area([4, 8]), [0, 2, 4, 4]);
        let tiles = Tiles { regions: vec![over.clone()], ..Tiles::default() };
        let windows = Windows::new(&tiles, [4, 8], NO_WRAP);
        let made = |windows: &Windows| {
            let mut canvas = Canvas::new(windows, 1, 1);
            for batch in windows.batches() {
                let value = if batch.region.is_some() { 5.0 } else { 1.0 };
                canvas.add(batch, &vec![value; batch.size[0] * batch.size[1]]);
            }
            canvas.finish()[..8].to_vec()
        };
        assert_eq!(made(&windows), [1.0, 1.0, 5.0, 5.0, 5.0, 5.0, 1.0, 1.0]);
        // Averaged with the window.
        let within = Tiles { regions: vec![Region { feather: None, ..over }], ..Tiles::default() };
        assert_eq!(made(&Windows::new(&within, [4, 8], NO_WRAP)), [1.0, 1.0, 3.0, 3.0, 3.0, 3.0, 1.0, 1.0]);
        // (edge / radius)²: half of the way to the middle of 8 are two pixels.
        assert_eq!(feathered([8, 8], 0.5)[3 * 8..4 * 8], [0.0, 0.25, 1.0, 1.0, 1.0, 1.0, 0.25, 0.0]);
    }

    #[test]
    fn a_window_goes_on_at_the_other_edge() {
        let tiles = Tiles { width: 4, height: 2, overlap: 2, batch_size: 9, ..Tiles::default() };
        let windows = Windows::new(&tiles, [2, 6], CircularPadding { x: true, y: true });
        let batch = &windows.batches()[0];
        assert_eq!(batch.corners, [[0, 0], [0, 2], [0, 4]]);
        let x: Vec<f32> = (0..12u8).map(f32::from).collect();
        assert_eq!(windows.crop(batch, &x, 1)[16..], [4.0, 5.0, 0.0, 1.0, 10.0, 11.0, 6.0, 7.0]);
        // The rows are all there, so the UNet itself lets them go on.
        assert_eq!(windows.own_wrap(CircularPadding { x: true, y: true }), CircularPadding { x: false, y: true });
    }
}
