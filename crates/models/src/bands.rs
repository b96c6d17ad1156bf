//! A large picture in bands of whole rows, so that only a band is in memory more than once.
//!
//! The result is that of the whole picture: a convolution sees the rows beside its band, and a group norm has the
//! statistics of all bands.

use calotype_tensor::{Activation, Backend, Padding, Result as Computed, Threads, op_shapes};

use crate::{
    layers::{Conv, GroupNorm, Upsampler},
    padding::Axis,
};

/// Elements that are summed by one thread at a time.
const CHUNK: usize = 1 << 16;

/// Cuts `x (1, H, W, C)` into bands of `rows` rows; the last may have fewer.
pub(crate) fn cut<B: Backend>(b: &B, x: &B::Tensor, rows: usize) -> Computed<Vec<B::Tensor>> {
    let height = op_shapes::picture("bands", "x", b.shape(x))?[1];
    (0..height).step_by(rows.max(1)).map(|start| Axis::Rows.part(b, x, start, rows.min(height - start))).collect()
}

/// The picture of bands.
pub(crate) fn join<B: Backend>(b: &B, bands: &[B::Tensor]) -> Computed<B::Tensor> {
    let (mut rows, mut data) = (0, Vec::new());
    for band in bands {
        rows += op_shapes::picture("bands", "a band", b.shape(band))?[1];
        data.extend(b.to_f32(band)?);
    }
    let row = data.len() / rows.max(1);
    let channels = bands.first().map_or(0, |band| b.shape(band).last());
    b.from_f32([1, rows, row / channels.max(1), channels].into(), data)
}

/// A 3×3 convolution that keeps the size, plus the bands of `residual` if there are any.
pub(crate) fn convolve<B: Backend>(
    b: &B,
    conv: &Conv<B::Param>,
    input: impl Iterator<Item = Computed<B::Tensor>>,
    residual: Option<Vec<B::Tensor>>,
) -> Computed<Vec<B::Tensor>> {
    let mut residual = residual.map(Vec::into_iter);
    map_with_neighbours(b, input, |seen, [above, below]| {
        // Rows of the picture stand where the convolution of a whole one has zeros only at its edges.
        let padding = Padding { top: 1 - above, bottom: 1 - below, left: 1, right: 1 };
        conv.forward_padded(b, seen, residual.as_mut().and_then(Iterator::next).as_ref(), padding)
    })
}

/// Upsampling, and a 3×3 convolution of the doubled picture.
pub(crate) fn upsample<B: Backend>(
    b: &B,
    upsampler: &Upsampler<B::Param>,
    input: Vec<B::Tensor>,
) -> Computed<Vec<B::Tensor>> {
    map_with_neighbours(b, input.into_iter().map(Ok), |seen, [above, below]| {
        let larger = upsampler.forward(b, seen)?;
        let rows = op_shapes::picture("bands", "a band", b.shape(&larger))?[1];
        // What the neighbours' rows became is theirs.
        Axis::Rows.part(b, &larger, 2 * above, rows - 2 * (above + below))
    })
}

/// `f(band, [rows above, rows below])` of each band together with the row above it and the row below, where there are any: 1 or 0. Input
/// bands are asked for one ahead, and dropped as soon as the band after them is done.
fn map_with_neighbours<B: Backend>(
    b: &B,
    mut input: impl Iterator<Item = Computed<B::Tensor>>,
    mut f: impl FnMut(&B::Tensor, [usize; 2]) -> Computed<B::Tensor>,
) -> Computed<Vec<B::Tensor>> {
    let mut output = Vec::new();
    let mut above = None;
    let mut next = input.next().transpose()?;
    while let Some(band) = next {
        next = input.next().transpose()?;
        let below = next.as_ref().map(|next| Axis::Rows.part(b, next, 0, 1)).transpose()?;
        let neighbours = [above.is_some().into(), below.is_some().into()];
        let last = op_shapes::picture("bands", "a band", b.shape(&band))?[1].saturating_sub(1);
        let last_row = Axis::Rows.part(b, &band, last, 1)?;
        let mut seen = band;
        if let Some(above) = &above {
            seen = Axis::Rows.join(b, above, &seen)?;
        }
        if let Some(below) = &below {
            seen = Axis::Rows.join(b, &seen, below)?;
        }
        output.push(f(&seen, neighbours)?);
        above = Some(last_row);
    }
    Ok(output)
}

/// A group norm of a picture in bands.
pub(crate) struct BandNorm<'a, P> {
    norm: &'a GroupNorm<P>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    whole: Vec<Moments>,
    bands: Vec<Vec<Moments>>,
}

/// Mean and standard deviation of a group, with the norm's `eps`.
struct Moments {
    mean: f64,
    deviation: f64,
}

impl<'a, P> BandNorm<'a, P> {
    /// Takes the statistics of all bands.
    pub(crate) fn new<B: Backend<Param = P>>(b: &B, norm: &'a GroupNorm<P>, bands: &[B::Tensor]) -> Computed<Self> {
        let (gamma, beta) = norm.gain_and_offset(b)?;
        let sums = |band| Ok(Sums::new(&b.to_f32(band)?, gamma.len(), norm.groups, b.threads()));
        let sums: Vec<Sums> = bands.iter().map(sums).collect::<Computed<_>>()?;
        let moments = |sums: &Sums| sums.moments(norm.eps);
        let whole = sums.iter().fold(Sums::default(), Sums::add);
        Ok(Self { norm, gamma, beta, whole: moments(&whole), bands: sums.iter().map(moments).collect() })
    }

    /// `activation(norm(x))` of band `i`.
    ///
    /// The norm of a band alone is `γ' (x - m) / s + β'` with its own mean and deviation; `γ' = γ s / S` and
    /// `β' = β + γ (m - M) / S` make it that of the whole, whose they are in capitals.
    pub(crate) fn forward<B: Backend<Param = P>>(
        &self,
        b: &B,
        i: usize,
        x: &B::Tensor,
        activation: Activation,
    ) -> Computed<B::Tensor> {
        let band = self.bands.get(i).map_or(&[][..], Vec::as_slice);
        let size = (self.gamma.len() / self.norm.groups.max(1)).max(1);
        let channels = self.gamma.chunks(size).zip(self.beta.chunks(size)).zip(band.iter().zip(&self.whole));
        let (gamma, beta) = channels
            .flat_map(|((gammas, betas), (band, whole))| {
                let scale = (band.deviation / whole.deviation) as f32;
                let shift = ((band.mean - whole.mean) / whole.deviation) as f32;
                gammas.iter().zip(betas).map(move |(gamma, beta)| (gamma * scale, beta + gamma * shift))
            })
            .unzip();
        self.norm.with_gain_and_offset(b, gamma, beta)?.forward(b, x, activation)
    }
}

/// Per group, `Σ x` and `Σ x²`.
#[derive(Default)]
struct Sums {
    groups: Vec<[f64; 2]>,
    /// Elements in a group.
    count: f64,
}

impl Sums {
    /// Of `x (rows, channels)`. The order of the sums does not depend on the number of threads.
    fn new(x: &[f32], channels: usize, groups: usize, threads: &Threads) -> Self {
        let rows = (CHUNK / channels.max(1)).max(1);
        let chunks: Vec<&[f32]> = x.chunks((rows * channels).max(1)).collect();
        let parts: Vec<Vec<[f64; 2]>> = threads.map(chunks.len(), |n| {
            let mut sums = vec![[0.0; 2]; channels];
            for row in chunks[n].chunks_exact(channels) {
                for (sum, &x) in sums.iter_mut().zip(row) {
                    let x = f64::from(x);
                    *sum = [sum[0] + x, sum[1] + x * x];
                }
            }
            let size = (channels / groups.max(1)).max(1);
            sums.chunks(size).map(|group| group.iter().fold([0.0; 2], plus)).collect()
        });
        let none = Self { groups: vec![[0.0; 2]; groups], count: (x.len() / groups.max(1)) as f64 };
        parts.into_iter().fold(none, |sums, groups| sums.add(&Self { groups, count: 0.0 }))
    }

    /// Together with `other`; what is empty is nothing.
    fn add(self, other: &Self) -> Self {
        let groups = match self.groups.is_empty() {
            true => other.groups.clone(),
            false => self.groups.into_iter().zip(&other.groups).map(|(a, b)| plus(a, b)).collect(),
        };
        Self { groups, count: self.count + other.count }
    }

    fn moments(&self, eps: f32) -> Vec<Moments> {
        let of = |[sum, squares]: &[f64; 2]| {
            let mean = sum / self.count;
            let variance = (squares / self.count - mean * mean).max(0.0);
            Moments { mean, deviation: (variance + f64::from(eps)).sqrt() }
        };
        self.groups.iter().map(of).collect()
    }
}

fn plus(a: [f64; 2], b: &[f64; 2]) -> [f64; 2] {
    [a[0] + b[0], a[1] + b[1]]
}
