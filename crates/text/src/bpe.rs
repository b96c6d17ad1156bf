//! Byte-pair merging of one word (Sennrich et al. 2016, <https://arxiv.org/abs/1508.07909>).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A pair of neighbouring tokens to be joined, and into what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Merge {
    /// Its line in the merges file: the lowest is done first.
    pub(crate) rank: u32,
    /// The token it makes.
    pub(crate) id: u32,
}

/// Merges by pair.
#[derive(Debug)]
pub(crate) struct Merges {
    /// Those whose left token is `id` lie in `by_left[starts[id]..starts[id + 1]]`, the right tokens ascending.
    starts: Vec<usize>,
    by_left: Vec<(u32, Merge)>,
}

impl Merges {
    /// Of a pair given twice the last counts, as in the reference.
    pub(crate) fn new(mut pairs: Vec<((u32, u32), Merge)>) -> Self {
        pairs.reverse();
        pairs.sort_by_key(|&(pair, _)| pair);
        pairs.dedup_by_key(|&mut (pair, _)| pair);
        let lefts = pairs.last().map_or(0, |&((left, _), _)| left + 1);
        let starts = (0..=lefts).map(|left| pairs.partition_point(|&(pair, _)| pair.0 < left)).collect();
        Self { starts, by_left: pairs.into_iter().map(|((_, right), merge)| (right, merge)).collect() }
    }

    fn get(&self, left: u32, right: u32) -> Option<Merge> {
        let left = left as usize;
        let rights = self.by_left.get(*self.starts.get(left)?..*self.starts.get(left + 1)?)?;
        let found = rights.binary_search_by_key(&right, |&(right, _)| right).ok()?;
        rights.get(found).map(|&(_, merge)| merge)
    }
}

/// One token of the word, in a list linked through positions; `NONE` is no position.
#[derive(Clone, Copy)]
struct Symbol {
    id: u32,
    previous: u32,
    next: u32,
}

const NONE: u32 = u32::MAX;

/// Applies the merges to the tokens of a word until none applies: lowest rank first, leftmost among equals.
/// O(n log n) in the word's length.
pub(crate) fn merge(tokens: &mut Vec<u32>, merges: &Merges) {
    // Positions are u32; a word of 4 GiB is left unmerged.
    let Ok(count) = u32::try_from(tokens.len()) else { return };
    let mut symbols: Vec<Symbol> = (0..count)
        .zip(tokens.iter())
        .map(|(i, &id)| Symbol {
            id,
            previous: i.checked_sub(1).unwrap_or(NONE),
            next: if i + 1 < count { i + 1 } else { NONE },
        })
        .collect();
    // (rank, position of the left token, new id); entries whose pair has changed since are skipped when popped.
    let mut queue: BinaryHeap<Reverse<(u32, u32, u32)>> = BinaryHeap::new();
    let candidate = |symbols: &[Symbol], left: u32| {
        let first = symbols.get(left as usize)?;
        let second = symbols.get(first.next as usize)?;
        let merge = merges.get(first.id, second.id)?;
        Some(Reverse((merge.rank, left, merge.id)))
    };
    queue.extend((0..count).filter_map(|left| candidate(&symbols, left)));

    while let Some(Reverse((_, left, id))) = queue.pop() {
        if candidate(&symbols, left).is_none_or(|Reverse((_, _, now))| now != id) {
            continue;
        }
        let Symbol { previous, next: right, .. } = symbols[left as usize];
        let next = symbols[right as usize].next;
        symbols[left as usize] = Symbol { id, previous, next };
        // The right one is gone: no pair starts at it any more.
        symbols[right as usize].next = NONE;
        if let Some(after) = symbols.get_mut(next as usize) {
            after.previous = left;
        }
        queue.extend(candidate(&symbols, previous));
        queue.extend(candidate(&symbols, left));
    }

    tokens.clear();
    let mut position = 0;
    while let Some(symbol) = symbols.get(position as usize) {
        tokens.push(symbol.id);
        position = symbol.next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowest_rank_first_then_leftmost() {
        let merge_of = |rank, id| Merge { rank, id };
        let merges = Merges::new(vec![((1, 1), merge_of(0, 2)), ((2, 1), merge_of(1, 3)), ((2, 2), merge_of(2, 4))]);
        let merged = |n: usize| {
            let mut tokens = vec![1; n];
            merge(&mut tokens, &merges);
            tokens
        };
        assert!(merged(0).is_empty());
        assert_eq!(merged(3), [3]);
        assert_eq!(merged(4), [4]);
        assert_eq!(merged(7), [4, 3]);
    }
}
