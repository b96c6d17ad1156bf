//! What noise, samplers and networks hand to each other.

use crate::Error;

/// Latents of a batch of images, f32 `(B, h, w, C)` in row-major order: noise of unit variance, a sample on its way, or
/// the result of a run (diffusers' `output_type="latent"`, before the division by the VAE's scaling factor).
///
/// This layout (NHWC) is that of all of Calotype. Torch draws noise and stores files as `(B, C, h, w)` (NCHW):
/// [`Latents::from_nchw`] and [`Latents::to_nchw`] convert at that border.
///
/// ```
/// use calotype_diffusion::Latents;
///
/// let latents = Latents::from_nchw([1, 2, 1, 3], &[1.0, 2.0, 3.0, 10.0, 20.0, 30.0])?;
/// assert_eq!(latents.shape(), [1, 1, 3, 2]);
/// assert_eq!(latents.data(), [1.0, 10.0, 2.0, 20.0, 3.0, 30.0]);
/// # Ok::<(), calotype_diffusion::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Latents {
    shape: [usize; 4],
    data: Vec<f32>,
}

impl Latents {
    /// Latents of a shape `[B, h, w, C]` from their numbers.
    ///
    /// # Errors
    /// [`Error::LatentsShape`] when `data` has another number of elements than the shape.
    pub fn new(shape: [usize; 4], data: Vec<f32>) -> Result<Self, Error> {
        check(shape, data.len())?;
        Ok(Self { shape, data })
    }

    /// Latents of a shape `[B, C, h, w]` from numbers in that order, as torch has them.
    ///
    /// # Errors
    /// As [`Latents::new`].
    pub fn from_nchw([batch, channels, h, w]: [usize; 4], data: &[f32]) -> Result<Self, Error> {
        let shape = [batch, h, w, channels];
        check(shape, data.len())?;
        Ok(Self { shape, data: transpose(data, channels, h.saturating_mul(w)) })
    }

    /// As many images `(C, h, w)` as there are numbers for, each of the shape `[h, w, C]` then.
    pub(crate) fn of_images([h, w, channels]: [usize; 3], data: &[f32]) -> Self {
        let batch = data.len() / (h * w * channels).max(1);
        Self { shape: [batch, h, w, channels], data: transpose(data, channels, h * w) }
    }

    /// The numbers in torch's order, `(B, C, h, w)`.
    #[must_use]
    pub fn to_nchw(&self) -> Vec<f32> {
        let [_, h, w, channels] = self.shape;
        transpose(&self.data, h.saturating_mul(w), channels)
    }

    /// `[B, h, w, C]`.
    #[must_use]
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// `[B, C, h, w]`: the shape of [`Latents::to_nchw`].
    #[must_use]
    pub fn shape_nchw(&self) -> [usize; 4] {
        let [batch, h, w, channels] = self.shape;
        [batch, channels, h, w]
    }

    /// How many images these are the latents of.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.shape[0]
    }

    /// The numbers.
    #[must_use]
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The numbers, to change them in place.
    #[must_use]
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The numbers alone.
    #[must_use]
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// The latents of one image after the other, each `(h, w, C)`.
    pub fn images(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.data.chunks_exact((self.data.len() / self.batch().max(1)).max(1))
    }

    /// Latents of the same shape with other numbers.
    ///
    /// # Errors
    /// As [`Latents::new`].
    pub fn with_data(&self, data: Vec<f32>) -> Result<Self, Error> {
        Self::new(self.shape, data)
    }

    /// Latents of the same shape whose numbers are a function of these.
    #[must_use]
    pub fn map(&self, f: impl FnMut(f32) -> f32) -> Self {
        Self { shape: self.shape, data: self.data.iter().copied().map(f).collect() }
    }

    /// `Σ factor · latents`, in f64 and rounded once; all are of one shape.
    ///
    /// ```
    /// # use calotype_diffusion::Latents;
    /// # fn main() -> Result<(), calotype_diffusion::Error> {
    /// let (x, d) = (Latents::new([1, 1, 1, 2], vec![1.0, 2.0])?, Latents::new([1, 1, 1, 2], vec![4.0, -8.0])?);
    /// assert_eq!(Latents::sum([(1.0, &x), (0.5, &d)]).data(), [3.0, -2.0]);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn sum<'a>(terms: impl IntoIterator<Item = (f64, &'a Self)>) -> Self {
        let mut shape = None;
        let terms = terms.into_iter().inspect(|(_, latents)| {
            shape.get_or_insert(latents.shape);
        });
        let data = weighted_sum(terms.map(|(factor, latents)| (factor, latents.data.as_slice())));
        Self { shape: shape.unwrap_or([0; 4]), data }
    }

    /// Images `start..start + count` of the batch, or `None` when there are not so many or `count` is 0.
    #[must_use]
    pub fn slice(&self, start: usize, count: usize) -> Option<Self> {
        let [batch, h, w, channels] = self.shape;
        let end = start.checked_add(count).filter(|&end| end <= batch && count > 0)?;
        let each = self.data.len() / batch;
        let data = self.data.get(start * each..end * each)?.to_vec();
        Some(Self { shape: [count, h, w, channels], data })
    }

    /// Several batches as one.
    ///
    /// # Errors
    /// [`Error::LatentsConcat`] when there are none, or they differ in more than their number of images.
    pub fn concat(batches: &[Self]) -> Result<Self, Error> {
        let mut shape = batches.first().map_or([0; 4], Self::shape);
        if let Some(other) = batches.iter().map(Self::shape).find(|other| other[1..] != shape[1..]) {
            return Err(Error::LatentsConcat { first: shape, other });
        }
        shape[0] = batches.iter().map(Self::batch).sum();
        Self::new(shape, batches.iter().flat_map(|batch| &batch.data).copied().collect())
    }

    /// Whether no number is infinite or NaN.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        self.data.iter().all(|x| x.is_finite())
    }

    /// Refuses latents of another shape; `what` names them in the error.
    pub(crate) fn of_shape(self, shape: [usize; 4], what: &'static str) -> Result<Self, Error> {
        if self.shape == shape { Ok(self) } else { Err(Error::Shape { what, got: self.shape, expected: shape }) }
    }
}

fn check(shape: [usize; 4], got: usize) -> Result<(), Error> {
    let expected = shape.iter().try_fold(1usize, |n, &side| n.checked_mul(side));
    if expected == Some(got) { Ok(()) } else { Err(Error::LatentsShape { shape, got }) }
}

/// `Σ factor · numbers`, in f64 and rounded once.
pub(crate) fn weighted_sum<'a>(terms: impl IntoIterator<Item = (f64, &'a [f32])>) -> Vec<f32> {
    let mut total: Vec<f64> = Vec::new();
    for (factor, numbers) in terms {
        if total.is_empty() {
            total.resize(numbers.len(), 0.0);
        }
        for (total, &value) in total.iter_mut().zip(numbers) {
            *total += factor * f64::from(value);
        }
    }
    total.into_iter().map(|total| total as f32).collect()
}

/// Transposes each `rows × columns` matrix of a batch.
fn transpose(x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for matrix in x.chunks_exact(rows.saturating_mul(columns).max(1)) {
        for column in 0..columns {
            out.extend(matrix.iter().skip(column).step_by(columns.max(1)));
        }
    }
    out
}
