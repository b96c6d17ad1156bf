//! The transforms of Winograd's minimal filtering: `F(M × M, 3 × 3)` computes a tile of M × M outputs from `N × N` inputs,
//! `N = M + 2`, with one product of channels for each of the N² points: `Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A` (Lavin & Gray 2016,
//! "Fast Algorithms for Convolutional Neural Networks", equation 13). The matrices are those of Toom and Cook for the points
//! 0, ±p for each of P pairs, and ∞; with `N = 2P + 2` (Barabasz et al. 2020, "Error Analysis and Improving the Accuracy of
//! Winograd Convolution for Deep Neural Networks", section 3).

use crate::cpu::{
    element::{Element, Elements},
    gemm::{arithmetic::Arithmetic, kernel::WIDEST},
    isa::for_each_isa,
    parallel::Shared,
};

/// Channels that a transform takes at once, so that its intermediate results stay in L1.
const BLOCK: usize = 32;

/// A size of tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// F(4 × 4, 3 × 3): a quarter of the products, its error about 5 times that of the direct method.
    Four,
    /// F(6 × 6, 3 × 3): 16/81 of the products, its error about 20 times that of the direct method.
    Six,
}

/// The points of the largest size.
pub(super) const MOST_POINTS: usize = Size::Six.points();

impl Size {
    /// Outputs along one side of a tile.
    pub(super) const fn outputs(self) -> usize {
        match self {
            Self::Four => 4,
            Self::Six => 6,
        }
    }

    /// Inputs along one side of a tile.
    pub(super) const fn inputs(self) -> usize {
        self.outputs() + 2
    }

    /// Products of channels for a tile.
    pub(super) const fn points(self) -> usize {
        self.inputs() * self.inputs()
    }
}

/// Of F(4 × 4, 3 × 3): the pairs with the least error of those tried (1 and 2, 1 and ½, √½ and √2, ½ and 3/2, ¾ and 3/2, …).
const FOUR: Points<2> = Points::new([0.625, 1.5]);
/// Of F(6 × 6, 3 × 3): likewise.
const SIX: Points<3> = Points::new([0.5, 1.0, 2.0]);

/// The constants of the transforms. With `x` a point, `f(x) = x Π (x² − pᵢ²)`.
struct Points<const P: usize> {
    /// The pairs, `p`.
    pairs: [f32; P],
    /// The coefficients of `Π (y − pᵢ²)`, that of `y^P`, which is 1, left out.
    all: [f32; P],
    /// For each pair the coefficients of the product without its factor; the last is 1.
    others: [[f32; P]; P],
    /// `1 / f'(p)` for each pair.
    scales: [f32; P],
}

impl<const P: usize> Points<P> {
    const fn new(pairs: [f32; P]) -> Self {
        let (mut all, mut others, mut scales) = ([0.0; P], [[0.0; P]; P], [0.0; P]);
        let mut j = 0;
        while j <= P {
            // Multiplied out, once without each pair, and with all of them.
            let mut product = [0.0f64; 8];
            product[0] = 1.0;
            let mut slope = 1.0f64;
            let mut i = 0;
            while i < P {
                if i != j {
                    let square = pairs[i] as f64 * pairs[i] as f64;
                    let mut k = 7;
                    while k > 0 {
                        product[k] = product[k - 1] - square * product[k];
                        k -= 1;
                    }
                    product[0] *= -square;
                    if j < P {
                        slope *= pairs[j] as f64 * pairs[j] as f64 - square;
                    }
                }
                i += 1;
            }
            let mut k = 0;
            while k < P {
                if j < P {
                    others[j][k] = product[k] as f32;
                } else {
                    all[k] = product[k] as f32;
                }
                k += 1;
            }
            if j < P {
                scales[j] = (1.0 / (2.0 * pairs[j] as f64 * pairs[j] as f64 * slope)) as f32;
            }
            j += 1;
        }
        Self { pairs, all, others, scales }
    }

    /// `Bᵀ d`.
    #[inline(always)]
    fn input<const N: usize>(&self, d: [f32; N]) -> [f32; N] {
        let mut v = [0.0; N];
        (v[0], v[N - 1]) = (d[2 * P], d[2 * P + 1]);
        for k in 0..P {
            v[0] += self.all[k] * d[2 * k];
            v[N - 1] += self.all[k] * d[2 * k + 1];
        }
        for j in 0..P {
            let (mut even, mut odd) = (d[2 * P], d[2 * P - 1]);
            for k in 0..P - 1 {
                even += self.others[j][k] * d[2 * k + 2];
                odd += self.others[j][k] * d[2 * k + 1];
            }
            v[2 * j + 1] = even + self.pairs[j] * odd;
            v[2 * j + 2] = even - self.pairs[j] * odd;
        }
        v
    }

    /// `G g`.
    #[inline(always)]
    fn weight<const N: usize>(&self, g: [f32; 3]) -> [f32; N] {
        let mut u = [0.0; N];
        (u[0], u[N - 1]) = (g[0] * (1.0 / self.all[0]), g[2]);
        for j in 0..P {
            let p = self.pairs[j];
            let (even, odd) = ((g[0] + p * p * g[2]) * self.scales[j], p * g[1] * self.scales[j]);
            (u[2 * j + 1], u[2 * j + 2]) = (even + odd, even - odd);
        }
        u
    }

    /// `Aᵀ m`.
    #[inline(always)]
    fn output<const N: usize, const M: usize>(&self, m: [f32; N]) -> [f32; M] {
        let mut y = [0.0; M];
        (y[0], y[M - 1]) = (m[0], m[N - 1]);
        for j in 0..P {
            let (sum, difference) = (m[2 * j + 1] + m[2 * j + 2], m[2 * j + 1] - m[2 * j + 2]);
            let mut power = 1.0;
            for (k, y) in y.iter_mut().enumerate() {
                *y += power * if k % 2 == 0 { sum } else { difference };
                power *= self.pairs[j];
            }
        }
        y
    }
}

/// Applies a transform along the lines of an `A × A` square of blocks, then along its columns: `each(line, column, block)` gets
/// the results.
#[inline(always)]
fn both_ways<T: Copy, const A: usize, const B: usize>(
    square: &[[&[T; BLOCK]; A]; A],
    half: &mut [[[f32; BLOCK]; A]; B],
    read: impl Fn(T) -> f32,
    transform: impl Fn([f32; A]) -> [f32; B],
    mut each: impl FnMut(usize, usize, &[f32; BLOCK]),
) {
    for (y, line) in square.iter().enumerate() {
        for c in 0..BLOCK {
            let values = transform(std::array::from_fn(|x| read(line[x][c])));
            for (half, value) in half.iter_mut().zip(values) {
                half[y][c] = value;
            }
        }
    }
    let mut done = [[0.0f32; BLOCK]; B];
    for (x, column) in half.iter().enumerate() {
        for c in 0..BLOCK {
            let values = transform(std::array::from_fn(|y| column[y][c]));
            for (done, value) in done.iter_mut().zip(values) {
                done[c] = value;
            }
        }
        for (y, done) in done.iter().enumerate() {
            each(y, x, done);
        }
    }
}

/// The square of blocks from `from` on that `row` has the rows of; a row that is missing is zeros, and so is what a short row lacks.
#[inline(always)]
fn blocks<'a, T: Copy, const A: usize>(
    row: impl Fn(usize) -> Option<&'a [T]>,
    zeros: &'a [T; BLOCK],
    room: &'a mut [[[T; BLOCK]; A]; A],
    from: usize,
    length: usize,
) -> [[&'a [T; BLOCK]; A]; A] {
    let mut square = [[zeros; A]; A];
    let places = square.as_flattened_mut().iter_mut().enumerate();
    if length >= BLOCK {
        for (i, to) in places {
            *to = row(i).and_then(|row| row[from..].first_chunk()).unwrap_or(zeros);
        }
    } else {
        for ((i, to), room) in places.zip(room.as_flattened_mut()) {
            if let Some(row) = row(i) {
                room[..length].copy_from_slice(&row[from..from + length]);
                room[length..].copy_from_slice(&zeros[length..]);
                *to = room;
            }
        }
    }
    square
}

/// The first elements of a block to as many in `to`.
#[inline(always)]
fn copy(block: &[f32; BLOCK], to: &mut [f32]) {
    match to.first_chunk_mut() {
        Some(whole) => *whole = *block,
        None => copy_short(block, to),
    }
}

/// Apart, or the compiler makes both one call of `memcpy`.
#[inline(never)]
fn copy_short(block: &[f32; BLOCK], to: &mut [f32]) {
    to.copy_from_slice(&block[..to.len()]);
}

/// Where results go: point after point `stride` floats apart, from `start` on.
#[derive(Clone, Copy)]
pub(super) struct ByPoint {
    pub(super) to: Shared<f32>,
    pub(super) start: usize,
    pub(super) stride: usize,
}

impl ByPoint {
    /// # Safety
    /// As [`Shared::slice`].
    #[inline(always)]
    unsafe fn write(self, point: usize, at: usize, block: &[f32; BLOCK], length: usize) {
        // SAFETY: the caller's promise.
        copy(block, unsafe { self.to.slice(self.start + point * self.stride + at, length) });
    }
}

#[inline(always)]
fn input<T: Element, const P: usize, const N: usize>(
    points: &Points<P>,
    x: &[T],
    pixels: &[Option<usize>],
    channels: usize,
    to: ByPoint,
) {
    let zeros = [T::narrow(0.0); BLOCK];
    let (mut room, mut half) = ([[zeros; N]; N], [[[0.0; BLOCK]; N]; N]);
    for from in (0..channels).step_by(BLOCK) {
        let length = BLOCK.min(channels - from);
        let row = |i: usize| pixels[i].map(|pixel| &x[pixel * channels..][..channels]);
        let square = blocks(row, &zeros, &mut room, from, length);
        let transform = |d| points.input(d);
        both_ways(&square, &mut half, T::widen, transform, |y, x, block| {
            // SAFETY: the caller's task alone has this tile in `to`.
            unsafe { to.write(y * N + x, from, block, length) }
        });
    }
}

/// The products of a tile: point after point `stride` floats apart, each of `width` columns.
#[derive(Clone, Copy)]
pub(super) struct Products<'a> {
    pub(super) sums: &'a [f32],
    pub(super) stride: usize,
    pub(super) width: usize,
}

#[inline(always)]
fn output<const P: usize, const N: usize, const M: usize>(points: &Points<P>, products: Products<'_>, to: &mut [f32]) {
    let zeros = [0.0; BLOCK];
    let (mut room, mut half) = ([[zeros; N]; N], [[zeros; N]; M]);
    for from in (0..products.width).step_by(BLOCK) {
        let length = BLOCK.min(products.width - from);
        let row = |i: usize| Some(&products.sums[i * products.stride..][..products.width]);
        let square = blocks(row, &zeros, &mut room, from, length);
        let transform = |m| points.output::<N, M>(m);
        both_ways(
            &square,
            &mut half,
            |m: f32| m,
            transform,
            |y, x, block| {
                copy(block, &mut to[(y * M + x) * WIDEST + from..][..length]);
            },
        );
    }
}

#[inline(always)]
fn weight<const P: usize, const N: usize>(
    points: &Points<P>,
    taps: [&[u32]; 9],
    width: usize,
    read: impl Fn(u32) -> f32,
    step: usize,
    to: ByPoint,
) {
    let zeros = [0u32; BLOCK];
    let (mut room, mut half) = ([[zeros; 3]; 3], [[[0.0; BLOCK]; 3]; N]);
    for word in 0..taps[0].len() / width {
        for from in (0..width).step_by(BLOCK) {
            let length = BLOCK.min(width - from);
            let row = |i: usize| Some(&taps[i][word * width..][..width]);
            let square = blocks(row, &zeros, &mut room, from, length);
            let transform = |g| points.weight::<N>(g);
            both_ways(&square, &mut half, &read, transform, |y, x, block| {
                // SAFETY: the caller's task alone has these rows in `to`.
                unsafe { to.write(y * N + x, word * step + from, block, length) }
            });
        }
    }
}

for_each_isa! {
    /// `Bᵀ d B` of a tile of `x`: its pixels, line by line, those outside of the picture `None`. The caller's task alone has the
    /// tile in `to`.
    pub(super) fn transform_input(size: Size, x: Elements<'_>, pixels: &[Option<usize>], channels: usize, to: ByPoint) {
        match (size, x) {
            (Size::Four, Elements::F32(x)) => input::<_, 2, 6>(&FOUR, x, pixels, channels, to),
            (Size::Four, Elements::Bf16(x)) => input::<_, 2, 6>(&FOUR, x, pixels, channels, to),
            (Size::Four, Elements::F16(x)) => input::<_, 2, 6>(&FOUR, x, pixels, channels, to),
            (Size::Six, Elements::F32(x)) => input::<_, 3, 8>(&SIX, x, pixels, channels, to),
            (Size::Six, Elements::Bf16(x)) => input::<_, 3, 8>(&SIX, x, pixels, channels, to),
            (Size::Six, Elements::F16(x)) => input::<_, 3, 8>(&SIX, x, pixels, channels, to),
        }
    }

    /// `Aᵀ m A` of a tile: pixel after pixel, [`WIDEST`] floats apart.
    pub(super) fn transform_output(size: Size, products: Products<'_>, to: &mut [f32]) {
        match size {
            Size::Four => output::<2, 6, 4>(&FOUR, products, to),
            Size::Six => output::<3, 8, 6>(&SIX, products, to),
        }
    }

    /// `G g Gᵀ` of rows of `width` words of each tap: a row of floats for each channel, `Arithmetic::per_word` for each row of words.
    /// The caller's task alone has these rows in `to`.
    pub(super) fn transform_weight(size: Size, arithmetic: Arithmetic, taps: [&[u32]; 9], width: usize, to: ByPoint) {
        let odd = ByPoint { start: to.start + width, ..to };
        let low = |word: u32| f32::from_bits(word << 16);
        let high = |word: u32| f32::from_bits(word & 0xffff_0000);
        match (size, arithmetic) {
            (Size::Four, Arithmetic::Bf16) => {
                weight::<2, 6>(&FOUR, taps, width, low, 2 * width, to);
                weight::<2, 6>(&FOUR, taps, width, high, 2 * width, odd);
            }
            (Size::Six, Arithmetic::Bf16) => {
                weight::<3, 8>(&SIX, taps, width, low, 2 * width, to);
                weight::<3, 8>(&SIX, taps, width, high, 2 * width, odd);
            }
            // No plan is made for words of bytes.
            (Size::Four, _) => weight::<2, 6>(&FOUR, taps, width, f32::from_bits, width, to),
            (Size::Six, _) => weight::<3, 8>(&SIX, taps, width, f32::from_bits, width, to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest error of a tile of one channel, whose inputs and weights are from -1 to 1.
    fn error<const P: usize, const N: usize, const M: usize>(points: &Points<P>) -> f32 {
        let value = |i: usize| (i * 7919 % 1009) as f32 / 504.5 - 1.0;
        let d: [[f32; N]; N] = std::array::from_fn(|y| std::array::from_fn(|x| value(y * N + x)));
        let g: [[f32; 3]; 3] = std::array::from_fn(|y| std::array::from_fn(|x| value(500 + y * 3 + x)));
        let column = |of: &[[f32; N]], x: usize| std::array::from_fn::<f32, N, _>(|y| of[y][x]);
        let inputs = d.map(|line| points.input(line));
        let weights = g.map(|line| points.weight::<N>(line));
        let mut products = [[0.0; N]; N];
        for x in 0..N {
            let input = points.input(column(&inputs, x));
            let weight = points.weight::<N>(std::array::from_fn(|y| weights[y][x]));
            for y in 0..N {
                products[y][x] = input[y] * weight[y];
            }
        }
        let lines = products.map(|line| points.output::<N, M>(line));
        let mut error = 0.0f32;
        for x in 0..M {
            let outputs = points.output::<N, M>(std::array::from_fn(|y| lines[y][x]));
            for (y, output) in outputs.iter().enumerate() {
                let taps = (0..9).map(|tap| (tap / 3, tap % 3));
                let expected: f32 = taps.map(|(ky, kx)| d[y + ky][x + kx] * g[ky][kx]).sum();
                error = error.max((output - expected).abs());
            }
        }
        error
    }

    #[test]
    fn a_tile_is_a_convolution() {
        let (two, four, six) = (error::<1, 4, 2>(&Points::new([1.0])), error::<2, 6, 4>(&FOUR), error::<3, 8, 6>(&SIX));
        assert!(two < 2e-6 && four < 1e-5 && six < 3e-5, "{two:e} {four:e} {six:e}");
    }
}
