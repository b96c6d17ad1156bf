//! Places in an arena: which bytes of it are free.

use std::collections::BTreeMap;

/// Free intervals of `0..end`, none of which touch.
#[derive(Debug, Default)]
pub struct Intervals {
    /// Length by start.
    free: BTreeMap<usize, usize>,
    end: usize,
}

impl Intervals {
    /// All of `0..end` is free.
    pub fn new(end: usize) -> Self {
        let mut intervals = Self { free: BTreeMap::new(), end };
        intervals.give(0, end);
        intervals
    }

    /// Where it ends.
    pub fn end(&self) -> usize {
        self.end
    }

    /// The start of `length` bytes of the smallest interval that has them, which are free no longer.
    pub fn take(&mut self, length: usize) -> Option<usize> {
        let fitting = self.free.iter().filter(|&(_, &free)| free >= length);
        let (&start, &free) = fitting.min_by_key(|&(_, &free)| free)?;
        self.free.remove(&start);
        self.give(start + length, free - length);
        Some(start)
    }

    /// As [`take`](Self::take), at a new end where nothing free has them.
    pub fn take_or_grow(&mut self, length: usize) -> usize {
        self.take(length).unwrap_or_else(|| {
            // What is free at the end is a part of it.
            let last = self.free.last_key_value().filter(|&(start, free)| start + free == self.end);
            let start = last.map_or(self.end, |(&start, _)| start);
            self.free.remove(&start);
            self.end = start + length;
            start
        })
    }

    /// Makes an interval free that was taken.
    pub fn give(&mut self, mut start: usize, mut length: usize) {
        if length == 0 {
            return;
        }
        if let Some((&before, &free)) =
            self.free.range(..start).next_back().filter(|&(before, free)| before + free == start)
        {
            (start, length) = (before, free + length);
        }
        length += self.free.remove(&(start + length)).unwrap_or(0);
        self.free.insert(start, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_joins_its_neighbours() {
        let mut intervals = Intervals::new(100);
        let starts: Vec<_> = (0..4).map(|_| intervals.take(25)).collect();
        assert_eq!(starts, [Some(0), Some(25), Some(50), Some(75)]);
        assert_eq!(intervals.take(1), None);
        intervals.give(25, 25);
        intervals.give(75, 25);
        assert_eq!(intervals.take(30), None);
        intervals.give(50, 25);
        assert_eq!(intervals.take(70), Some(25));
        intervals.give(25, 70);
        intervals.give(0, 25);
        assert_eq!(intervals.free.iter().collect::<Vec<_>>(), [(&0, &100)]);
    }

    #[test]
    fn the_smallest_that_fits_is_taken() {
        let mut intervals = Intervals::new(100);
        let starts: Vec<_> = [40, 10, 20, 30].iter().filter_map(|&length| intervals.take(length)).collect();
        intervals.give(starts[0], 40);
        intervals.give(starts[2], 20);
        assert_eq!(intervals.take(15), Some(50));
        assert_eq!(intervals.take(5), Some(65));
        assert_eq!(intervals.take(41), None);
    }

    #[test]
    fn growing_begins_with_what_is_free_at_the_end() {
        let mut intervals = Intervals::default();
        assert_eq!([intervals.take_or_grow(10), intervals.take_or_grow(20), intervals.take_or_grow(5)], [0, 10, 30]);
        intervals.give(10, 20);
        intervals.give(30, 5);
        assert_eq!((intervals.take_or_grow(26), intervals.end()), (10, 36));
    }
}
