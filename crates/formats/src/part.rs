use crate::{DType, Error, Result, TensorInfo, error::quote, source::Source, strided};

/// Bytes read and converted at a time: fits the first-level cache, and is a multiple of every dtype's size.
const PIECE: usize = 16 * 1024;

/// Decodes bytes of a dtype into as many numbers; `None` when it does not know the dtype.
pub(crate) type Decode<T> = fn(DType, &[u8], &mut [T]) -> Option<()>;

/// The numbers of one tensor, decoded as they are read.
pub(crate) struct Part<'a, T> {
    source: &'a Source,
    tensor: &'a TensorInfo,
    decode: Decode<T>,
    /// All of its bytes, where they don't lie in order in the file.
    gathered: Option<Vec<u8>>,
}

impl<'a, T> Part<'a, T> {
    pub(crate) fn new(source: &'a Source, tensor: &'a TensorInfo, to: DType, decode: Decode<T>) -> Result<Self> {
        // On no bytes, decode only says whether it knows the dtype.
        decode(tensor.dtype, &[], &mut []).ok_or_else(|| Error::Convert {
            context: format!("{}: tensor {}", source.label, quote(&tensor.name)),
            from: tensor.dtype,
            to,
        })?;
        let gathered = tensor.strides.is_some().then(|| strided::gather(source, tensor)).transpose()?;
        Ok(Self { source, tensor, decode, gathered })
    }

    pub(crate) fn count(&self) -> usize {
        self.tensor.element_count()
    }

    /// Fills `to` with the numbers from `start` on.
    pub(crate) fn read(&self, start: usize, to: &mut [T]) -> Result<()> {
        self.check(start, to.len())?;
        let size = self.tensor.dtype.size();
        if let Some(gathered) = &self.gathered {
            (self.decode)(self.tensor.dtype, &gathered[start * size..][..to.len() * size], to);
            return Ok(());
        }
        let mut buffer = [0; PIECE];
        let mut first = start;
        for numbers in to.chunks_mut(PIECE / size) {
            let bytes = &mut buffer[..numbers.len() * size];
            self.fill(first, bytes)?;
            (self.decode)(self.tensor.dtype, bytes, numbers);
            first += numbers.len();
        }
        Ok(())
    }

    /// Fills `to` with the bytes of the numbers from `start` on.
    pub(crate) fn read_bytes(&self, start: usize, to: &mut [u8]) -> Result<()> {
        let size = self.tensor.dtype.size();
        self.check(start, to.len().div_ceil(size))?;
        match &self.gathered {
            Some(gathered) => to.copy_from_slice(&gathered[start * size..][..to.len()]),
            None => self.fill(start, to)?,
        }
        Ok(())
    }

    /// Refuses numbers that it does not have.
    fn check(&self, start: usize, length: usize) -> Result<()> {
        let count = self.count();
        if start.checked_add(length).is_none_or(|end| end > count) {
            let problem = format!("{length} numbers from {start} on were asked for, it has {count}: ask for fewer");
            return Err(Error::tensor(&self.source.label, &self.tensor.name, problem));
        }
        Ok(())
    }

    /// Reads bytes from that of number `first` on.
    fn fill(&self, first: usize, bytes: &mut [u8]) -> Result<()> {
        let offset = self.tensor.bytes.start + (first * self.tensor.dtype.size()) as u64;
        self.source.read_tensor_at(&self.tensor.name, bytes, offset)
    }
}

/// The numbers of one tensor as `f32`, row-major. Any number of threads may read pieces at once; none is kept.
pub struct Floats<'a>(pub(crate) Part<'a, f32>);

impl Floats<'_> {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.count()
    }

    /// Their type in the file.
    pub fn dtype(&self) -> DType {
        self.0.tensor.dtype
    }

    /// Fills `to` with the numbers from `start` on as they stand in the file, [`Self::dtype`], little-endian.
    ///
    /// # Errors
    /// There are not so many, or the file can't be read.
    pub fn read_bytes(&self, start: usize, to: &mut [u8]) -> Result<()> {
        self.0.read_bytes(start, to)
    }

    /// Fills `to` with the numbers from `start` on, rounded to nearest where `f32` is the narrower type.
    ///
    /// # Errors
    /// There are not so many, or the file can't be read.
    pub fn read(&self, start: usize, to: &mut [f32]) -> Result<()> {
        self.0.read(start, to)
    }
}
