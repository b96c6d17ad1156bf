//! A seeded mutator without dependencies, for the short runs in the test command: `#[path = "…/fuzz/mutator.rs"] mod mutator;`.
//!
//! Every input is made from the seed and its own number, so a find is made again from the two.

#![allow(clippy::expect_used, clippy::print_stdout, clippy::print_stderr, reason = "a test tells what it found")]

/// Numbers where readers go wrong.
const EDGES: [u64; 12] =
    [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 0x7fff_ffff_ffff_ffff, u64::MAX, u64::MAX - 7];

/// Makes wrong inputs from right ones.
pub(crate) struct Mutator<'a> {
    /// Right inputs.
    corpus: &'a [Vec<u8>],
    /// Pieces that mean something in the format.
    words: &'a [&'a [u8]],
    state: u64,
}

impl<'a> Mutator<'a> {
    pub(crate) fn new(corpus: &'a [Vec<u8>], words: &'a [&'a [u8]]) -> Self {
        Self { corpus, words, state: 0 }
    }

    /// Input `number` of the run `seed`.
    pub(crate) fn input(&mut self, seed: u64, number: u64) -> Vec<u8> {
        self.state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number.wrapping_mul(0xd129_9146_5cfd_1b2d) | 1;
        for _ in 0..4 {
            self.next();
        }
        let mut bytes = self.corpus[self.below(self.corpus.len())].clone();
        // One change, or with half the chance two, and so on.
        for _ in 0..=self.next().leading_zeros().min(7) {
            self.change(&mut bytes);
        }
        bytes
    }

    /// One change.
    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len() + 1);
        let left = bytes.len() - at;
        let len = self.below(16).min(left);
        match self.below(10) {
            0 if left > 0 => bytes[at] ^= 1 << self.below(8),
            1 if left > 0 => bytes[at] = self.next() as u8,
            2 => {
                // A number of 1, 2, 4 or 8 bytes, either way round.
                let edge = EDGES[self.below(EDGES.len())].wrapping_add(self.below(3) as u64).wrapping_sub(1);
                let size = (1 << self.below(4)).min(left);
                let number = if self.below(4) == 0 { edge.to_be_bytes() } else { edge.to_le_bytes() };
                bytes[at..at + size].copy_from_slice(&number[..size]);
            }
            3 => drop(bytes.drain(at..at + len)),
            4 => bytes.truncate(at),
            5 => {
                let piece = bytes[at..at + len].to_vec();
                let to = self.below(bytes.len() + 1);
                bytes.splice(to..to, piece.repeat(1 + self.below(3)));
            }
            6 => {
                let other = &self.corpus[self.below(self.corpus.len())];
                let from = self.below(other.len() + 1);
                let end = from + self.below(64).min(other.len() - from);
                bytes.splice(at..at + len, other[from..end].iter().copied());
            }
            7 => {
                let fresh: Vec<u8> = (0..=self.below(8)).map(|_| self.next() as u8).collect();
                bytes.splice(at..at, fresh);
            }
            _ if !self.words.is_empty() => {
                let word = self.words[self.below(self.words.len())];
                // In place of as many bytes, or between them.
                let gone = if self.below(2) == 0 { word.len().min(left) } else { 0 };
                bytes.splice(at..at + gone, word.iter().copied());
            }
            _ => {}
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit
    }

    /// xorshift64*.
    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Inputs to try: `MUTATIONS` in the environment, or some thousands.
pub(crate) fn count() -> u64 {
    std::env::var("MUTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000)
}

/// The run: `SEED` in the environment, or always the same.
pub(crate) fn seed() -> u64 {
    std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Gives each input of a run to `try_one`, which says whether it was taken, and counts. A panic tells which input it was.
/// With `FUZZ_CORPUS` in the environment, the right inputs are written there instead, for the fuzz target of the same name.
pub(crate) fn run(name: &str, corpus: &[Vec<u8>], words: &[&[u8]], try_one: impl FnMut(Vec<u8>) -> bool) {
    run_part(1, name, corpus, words, try_one);
}

/// The same with one input out of `part`, for what takes its time.
#[allow(dead_code, reason = "few tests need it")]
pub(crate) fn run_part(
    part: u64,
    name: &str,
    corpus: &[Vec<u8>],
    words: &[&[u8]],
    mut try_one: impl FnMut(Vec<u8>) -> bool,
) {
    struct Told<'a>(&'a str, u64);

    impl Drop for Told<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("{}: input {} of SEED={}", self.0, self.1, seed());
            }
        }
    }

    if let Some(folder) = std::env::var_os("FUZZ_CORPUS").map(|folder| std::path::Path::new(&folder).join(name)) {
        std::fs::create_dir_all(&folder).expect("a folder for the corpus");
        for (n, input) in corpus.iter().enumerate() {
            std::fs::write(folder.join(n.to_string()), input).expect("room for the corpus");
        }
        return;
    }
    let mut mutator = Mutator::new(corpus, words);
    let mut told = Told(name, 0);
    let mut taken = 0;
    let count = count() / part;
    for number in 0..count {
        told.1 = number;
        taken += u64::from(try_one(mutator.input(seed(), number)));
    }
    println!("{name}: {} inputs of SEED={}, {taken} taken, no find", count, seed());
    // A run in which all are refused, or none, tests nothing.
    assert!(count < 1000 || taken > 0 && taken < count, "{name}: {taken} taken");
}
