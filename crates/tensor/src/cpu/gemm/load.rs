//! Parameters from their file layout straight into the form that the kernels read: each task reads its own part of the
//! file, a few rows at a time, so that no parameter is in memory twice.

use crate::cpu::{
    Cpu, Tensor,
    element::{ElementsMut, narrow},
    gemm::packed::{Format, Packed, Panel},
    isa::Isa,
    memory::buffer::Plain,
    parallel::Shared,
};
use crate::{DType, ParamData, Result, Shape};

/// Columns that one task packs: with two bytes an element and two in a word they fill a cache line, which is then written once.
pub(in crate::cpu) const GROUP: usize = 16;
/// Elements of a column that are read before they are packed: [`GROUP`] times as many fit into the second-level cache.
const BLOCK: usize = 1 << 12;
/// Elements that are read at a time: they fit into the first-level cache.
const PIECE: usize = 1 << 12;
/// Words of a column, of all taps, that are turned at a time.
const TILE: usize = 16;
/// Elements of a table that one task reads.
const TABLE: usize = 1 << 16;

impl Cpu {
    /// A tensor of `dtype` with these elements.
    pub(in crate::cpu) fn load(&self, shape: Shape, dtype: DType, data: &dyn ParamData) -> Result<Tensor> {
        let mut buffer = self.buffer::<i8>(shape.count() * dtype.size())?;
        let to = ElementsMut::of(&mut buffer, dtype).share();
        self.each(shape.count().div_ceil(TABLE), |task| {
            let start = task * TABLE;
            let length = TABLE.min(shape.count() - start);
            // SAFETY: parts of tasks do not overlap.
            Reader::new(self.isa, data).read(start, unsafe { to.part(start, length) })
        })?;
        Ok(Tensor::new(shape, dtype, buffer))
    }
}

impl Packed {
    /// Packs a matrix whose elements come in the order `(columns, channels, taps)`.
    pub(crate) fn load(cpu: &Cpu, format: Format, matrix: [usize; 3], data: &dyn ParamData) -> Result<Self> {
        let mut packed = Self::empty(cpu, format, matrix)?;
        match (format.stored.size(), format.arithmetic.per_word()) {
            (1, 4) => packed.load_bytes::<4>(cpu, data)?,
            (1, _) => packed.load_bytes::<1>(cpu, data)?,
            (2, 2) => packed.load_words::<u16, 2>(cpu, data)?,
            (2, _) => packed.load_words::<u16, 1>(cpu, data)?,
            _ => packed.load_words::<u32, 1>(cpu, data)?,
        }
        Ok(packed)
    }

    /// As [`load`](Self::load), with elements of the size of `T`, `N` to a word.
    fn load_words<T: Plain + Default, const N: usize>(&mut self, cpu: &Cpu, data: &dyn ParamData) -> Result<()> {
        let groups: Vec<Group> = self.panels().flat_map(Group::of).collect();
        let (format, taps, channels, words, depth) =
            (self.format, self.taps, self.channels, self.words(), self.depth());
        let block = (BLOCK / taps).next_multiple_of(N).max(N).min(channels);
        let to = Shared::new(self.data.slice_mut::<T>());
        cpu.each(groups.len(), |task| {
            let Group { panel, offset, width, columns } = groups[task];
            let mut buffer = cpu.buffer::<T>(width * block.next_multiple_of(N) * taps)?;
            let mut reader = Reader::new(format.isa, data);
            for first in (0..channels).step_by(block) {
                let length = block.min(channels - first) * taps;
                let padded = length.next_multiple_of(N * taps);
                let rows = width * padded;
                if padded > length || columns < width {
                    buffer.slice_mut::<T>()[..rows].fill(T::default());
                }
                // Whole columns lie one after the other.
                let whole = padded == channels * taps;
                let (runs, run) = if whole { (1, columns * length) } else { (columns, length) };
                for n in 0..runs {
                    let start = ((panel.start + offset + n) * channels + first) * taps;
                    reader.read(start, ElementsMut::of(&mut buffer, format.stored).part(n * padded, run))?;
                }
                interleave::<T, N>(&buffer.slice::<T>()[..rows], taps, padded, |tap, word| {
                    let row = panel.start * depth + (tap * words + first / N + word) * panel.width + offset;
                    // SAFETY: groups do not overlap.
                    unsafe { to.slice(row * N, width * N) }
                });
            }
            Ok(())
        })
    }
}

/// A run of columns of a panel.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Group {
    pub(in crate::cpu) panel: Panel,
    /// Of the first, in the panel.
    pub(in crate::cpu) offset: usize,
    pub(in crate::cpu) width: usize,
    /// How many of them are the matrix's.
    pub(in crate::cpu) columns: usize,
}

impl Group {
    pub(in crate::cpu) fn of(panel: Panel) -> impl Iterator<Item = Self> {
        (0..panel.width).step_by(GROUP).map(move |offset| {
            let width = GROUP.min(panel.width - offset);
            Self { panel, offset, width, columns: width.min(panel.columns.saturating_sub(offset)) }
        })
    }
}

/// Writes columns of `length` elements `(words, N, taps)` as rows: `to(tap, word)` is where that word of each column stands.
pub(in crate::cpu) fn interleave<'a, T: Plain + Default, const N: usize>(
    columns: &[T],
    taps: usize,
    length: usize,
    to: impl Fn(usize, usize) -> &'a mut [T],
) {
    match taps {
        // So that the compiler unrolls the common kernels.
        1 => interleave_tiles::<T, N>(columns, 1, length, to),
        9 => interleave_tiles::<T, N>(columns, 9, length, to),
        _ => interleave_tiles::<T, N>(columns, taps, length, to),
    }
}

#[inline(always)]
fn interleave_tiles<'a, T: Plain + Default, const N: usize>(
    columns: &[T],
    taps: usize,
    length: usize,
    to: impl Fn(usize, usize) -> &'a mut [T],
) {
    // A tile has rows of one word of each column, and is turned in the first-level cache.
    let words = (TILE / taps).max(1);
    let mut tile = vec![[[T::default(); N]; GROUP]; words * taps];
    for first in (0..length).step_by(words * N * taps) {
        let end = length.min(first + words * N * taps);
        for (c, column) in columns.chunks_exact(length).enumerate().take(GROUP) {
            for (rows, word) in tile.chunks_exact_mut(taps).zip(column[first..end].chunks_exact(N * taps)) {
                for (tap, row) in rows.iter_mut().enumerate() {
                    row[c] = std::array::from_fn(|i| word[i * taps + tap]);
                }
            }
        }
        let first = first / (N * taps);
        for (word, rows) in (first..end / (N * taps)).zip(tile.chunks_exact(taps)) {
            for (tap, row) in rows.iter().enumerate() {
                let to = to(tap, word);
                to.copy_from_slice(&row.as_flattened()[..to.len()]);
            }
        }
    }
}

/// Reads elements of any type by way of floats, or as they are if that is their type.
struct Reader<'a> {
    isa: Isa,
    data: &'a dyn ParamData,
    floats: Vec<f32>,
}

impl<'a> Reader<'a> {
    fn new(isa: Isa, data: &'a dyn ParamData) -> Self {
        Self { isa, data, floats: Vec::new() }
    }

    /// Fills `to` with the elements from `start` on.
    fn read(&mut self, start: usize, to: ElementsMut<'_>) -> Result<()> {
        let length = to.len();
        let to = match to {
            ElementsMut::F32(to) => return self.data.read(start, to),
            same if cfg!(target_endian = "little") && same.dtype() == self.data.dtype() => {
                return self.data.read_bytes(start, same.into_bytes());
            }
            narrower => narrower.share(),
        };
        self.floats.resize(PIECE.min(length).max(self.floats.len()), 0.0);
        for first in (0..length).step_by(PIECE) {
            let floats = &mut self.floats[..PIECE.min(length - first)];
            self.data.read(start + first, floats)?;
            // SAFETY: this thread alone has the elements.
            narrow(self.isa, floats, unsafe { to.part(first, floats.len()) });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, Error, ParamKind, Precision, Threads, cpu::CpuOptions, from_file_layout};

    fn backends() -> impl Iterator<Item = Cpu> {
        let precisions = [Precision::F32, Precision::BF16, Precision::F16];
        let all = Isa::available().into_iter().flat_map(move |isa| precisions.map(|precision| (isa, precision)));
        all.map(|(isa, precision)| {
            Cpu::with_options(CpuOptions { threads: 2, isa: Some(isa), precision, ..CpuOptions::default() })
                .unwrap_or_else(|e| panic!("{e}"))
        })
    }

    /// Each element another, and exact in 16 bits only up to rounding.
    fn values(count: usize) -> Vec<f32> {
        (0..count).map(|n| (n as f32 * 0.377).sin()).collect()
    }

    #[test]
    fn loading_packs_as_packing_does() {
        // Odd numbers of everything, and columns of more elements than are read at a time.
        let shapes = [[1, 1, 1], [1, 5, 17], [1, 2 * BLOCK + 7, 3], [4, 37, 129], [9, 3, 70], [9, 601, 33]];
        for cpu in backends() {
            for [taps, channels, columns] in shapes {
                let matrix = [taps, channels, columns];
                let data = values(taps * channels * columns);
                let format = Format::new(cpu.isa, cpu.precision.activations());
                let loaded = Packed::load(&cpu, format, matrix, &data).unwrap_or_else(|e| panic!("{e}"));
                let packed = Packed::new(&cpu, format, matrix, |tap, channel, n, row| {
                    row.iter_mut()
                        .enumerate()
                        .for_each(|(i, x)| *x = data[((n + i) * channels + channel) * taps + tap]);
                });
                let packed = packed.unwrap_or_else(|e| panic!("{e}"));
                let same = loaded.data.slice::<i8>() == packed.data.slice::<i8>();
                assert!(same, "{} {} {matrix:?}", cpu.isa, cpu.precision);
            }
        }
    }

    #[test]
    fn tables_and_vectors_are_loaded_whole() {
        for cpu in backends() {
            let shape = Shape::from([TABLE / 8 + 1, 9]);
            let data = values(shape.count());
            let table = cpu.load(shape, cpu.dtype(), &data).unwrap_or_else(|e| panic!("{e}"));
            let expected = cpu.from_f32(shape, data.clone()).unwrap_or_else(|e| panic!("{e}"));
            assert!(cpu.to_f32(&table).unwrap() == cpu.to_f32(&expected).unwrap());
            let vector = cpu.load(shape, DType::F32, &data).unwrap_or_else(|e| panic!("{e}"));
            assert!(cpu.to_f32(&vector).unwrap() == data);
        }
    }

    /// Elements of 16 bits.
    struct Narrow {
        bits: Vec<u16>,
        dtype: DType,
        raw: bool,
    }

    impl ParamData for Narrow {
        fn count(&self) -> usize {
            self.bits.len()
        }

        fn read(&self, start: usize, to: &mut [f32]) -> Result<()> {
            for (x, &bits) in to.iter_mut().zip(&self.bits[start..]) {
                *x = match self.dtype {
                    DType::BF16 => half::bf16::from_bits(bits).to_f32(),
                    _ => half::f16::from_bits(bits).to_f32(),
                };
            }
            Ok(())
        }

        fn dtype(&self) -> DType {
            if self.raw { self.dtype } else { DType::F32 }
        }

        fn read_bytes(&self, start: usize, to: &mut [u8]) -> Result<()> {
            let (to, _) = to.as_chunks_mut::<2>();
            to.iter_mut().zip(&self.bits[start..]).for_each(|(to, bits)| *to = bits.to_le_bytes());
            Ok(())
        }
    }

    /// A file's bits of 16 are those that come of widening and narrowing them: every number there is, in every kind of parameter.
    #[test]
    fn elements_read_as_they_are_are_the_same() {
        for cpu in backends().filter(|cpu| cpu.dtype() != DType::F32) {
            let dtype = cpu.dtype();
            let numbers = (0..=u16::MAX).filter(|&bits| match dtype {
                DType::BF16 => !half::bf16::from_bits(bits).is_nan(),
                _ => !half::f16::from_bits(bits).is_nan(),
            });
            let bits: Vec<u16> = numbers.cycle().take(1 << 16).collect();
            let [by_floats, as_they_are] = [false, true].map(|raw| Narrow { bits: bits.clone(), dtype, raw });
            for matrix in [[1, 256, 256], [1, 1024, 64], [4, 128, 128]] {
                let format = Format::new(cpu.isa, dtype);
                let load = |data| Packed::load(&cpu, format, matrix, data).unwrap_or_else(|e| panic!("{e}"));
                let same = load(&by_floats).data.slice::<i8>() == load(&as_they_are).data.slice::<i8>();
                assert!(same, "{} {dtype} {matrix:?}", cpu.isa);
            }
            let table = |data| cpu.load([1 << 16].into(), dtype, data).unwrap_or_else(|e| panic!("{e}"));
            assert!(table(&by_floats).words().ok() == table(&as_they_are).words().ok(), "{} {dtype}", cpu.isa);
        }
    }

    #[test]
    #[ignore = "a measurement"]
    fn time_of_raw() {
        for precision in [Precision::BF16, Precision::F16] {
            let cpu = Cpu::with_options(CpuOptions { threads: 1, precision, ..CpuOptions::default() }).unwrap();
            let dtype = cpu.dtype();
            let bits: Vec<u16> = (0..1u32 << 24).map(|i| (i % 30000) as u16).collect();
            for round in 0..3 {
                for raw in [false, true] {
                    let data = Narrow { bits: bits.clone(), dtype, raw };
                    for (kind, shape) in
                        [(ParamKind::Linear, Shape::from([4096, 4096])), (ParamKind::Conv, [1024, 1820, 3, 3].into())]
                    {
                        let data = Narrow { bits: data.bits[..shape.count()].to_vec(), dtype, raw };
                        let start = std::time::Instant::now();
                        cpu.param("p", kind, shape, &data).map(drop).unwrap();
                        println!(
                            "{round} {precision} raw {raw} {kind:?}: {:.1} ms",
                            start.elapsed().as_secs_f64() * 1e3
                        );
                    }
                }
            }
        }
    }

    /// Values that end too soon.
    struct CutOff(usize);

    impl ParamData for CutOff {
        fn count(&self) -> usize {
            self.0
        }

        fn read(&self, start: usize, to: &mut [f32]) -> Result<()> {
            if start + to.len() < self.0 { Ok(()) } else { Err(Error::data(std::io::Error::other("cut off"))) }
        }
    }

    #[test]
    fn what_the_source_says_is_the_error() {
        for (kind, shape) in [
            (ParamKind::Conv, Shape::from([70, 6, 3, 3])),
            (ParamKind::Linear, [70, 7].into()),
            (ParamKind::Table, [70, 7].into()),
            (ParamKind::Vector, [70].into()),
        ] {
            let data = CutOff(shape.count());
            for cpu in backends() {
                assert_eq!(cpu.param("p", kind, shape, &data).err().map(|e| e.to_string()), Some("cut off".into()));
            }
            assert_eq!(
                from_file_layout(kind, shape, &data, Threads::CALLER).err().map(|e| e.to_string()),
                Some("cut off".into())
            );
        }
    }
}
