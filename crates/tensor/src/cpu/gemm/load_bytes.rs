//! Weights from their file layout straight into bytes: a column is read whole, since its greatest element is its scale.

use crate::cpu::{
    Cpu,
    gemm::{
        load::{GROUP, Group, interleave},
        packed::Packed,
        quantise::{BALANCE, quantise_column},
    },
    parallel::Shared,
};
use crate::{ParamData, Result};

impl Packed {
    /// As [`load`](Self::load), with bytes, `N` to a word.
    pub(in crate::cpu) fn load_bytes<const N: usize>(&mut self, cpu: &Cpu, data: &dyn ParamData) -> Result<()> {
        let groups: Vec<Group> = self.panels().flat_map(Group::of).collect();
        let (isa, taps, words, depth) = (self.format.isa, self.taps, self.words(), self.depth());
        let (column, length) = (self.format.column(depth), self.channels * taps);
        let padded = self.channels.next_multiple_of(N) * taps;
        let to = Shared::new(self.data.slice_mut::<i8>());
        cpu.each(groups.len(), |task| {
            let Group { panel, offset, width, columns } = groups[task];
            let mut buffer = cpu.buffer::<i8>(width * padded)?;
            let bytes = buffer.slice_mut::<i8>();
            bytes.fill(0);
            let (mut floats, mut scales) = (vec![0.0; length], [0.0; GROUP]);
            for n in 0..columns {
                data.read((panel.start + offset + n) * length, &mut floats)?;
                scales[n] = quantise_column(isa, &floats, &mut bytes[n * padded..][..length]);
            }
            // The part of a row of the panel that is this group's, with `size` bytes to a column.
            let part = |row: usize, size: usize| {
                // SAFETY: groups do not overlap.
                unsafe { to.slice(panel.start * column + row * panel.width * N + offset * size, width * size) }
            };
            interleave::<i8, N>(bytes, taps, padded, |tap, word| part(tap * words + word, N));
            if N == 1 {
                write_floats(scales.into_iter(), part(depth, 4));
                return Ok(());
            }
            let totals: Vec<i32> = bytes.chunks_exact(padded).flat_map(|column| totals(column, taps)).collect();
            for tap in 0..taps {
                let totals = totals.iter().skip(tap).step_by(taps);
                write_floats(scales.iter().map(|scale| scale / BALANCE), part((tap + 1) * words - 2, 4));
                write_floats(
                    totals.zip(scales).map(|(&sum, scale)| sum as f32 * scale),
                    part((tap + 1) * words - 1, 4),
                );
            }
            Ok(())
        })
    }
}

/// The sum of a column `(channels, taps)` for each tap.
fn totals(column: &[i8], taps: usize) -> Vec<i32> {
    let mut totals = vec![0; taps];
    for channel in column.chunks_exact(taps) {
        totals.iter_mut().zip(channel).for_each(|(sum, &q)| *sum += i32::from(q));
    }
    totals
}

fn write_floats(from: impl Iterator<Item = f32>, to: &mut [i8]) {
    let (to, _) = to.as_chunks_mut::<4>();
    to.iter_mut().zip(from).for_each(|(to, x)| *to = x.to_ne_bytes().map(u8::cast_signed));
}
