use crate::Error;
use crate::normal::{BLOCK, box_muller, box_muller_f64};

/// Words of state of mt19937, and the distance of its recurrence.
const N: usize = 624;
const M: usize = 397;

/// Torch's CPU generator: mt19937 (Matsumoto & Nishimura 1998) and its uniform, integer and normal numbers, bit for bit.
///
/// The stream goes on from call to call as it does in torch. The state can be stored and restored exactly.
#[derive(Debug, Clone, PartialEq)]
pub struct Generator {
    seed: u64,
    state: [u32; N],
    /// The next word of `state` to give; `N` when all are used.
    next: usize,
    /// The second number of a double-precision Box–Muller pair.
    next_normal: Option<f64>,
}

impl Generator {
    /// `torch.Generator().manual_seed(seed)`. Only the low 32 bits of the seed enter the stream, as in torch.
    #[must_use]
    pub fn manual_seed(seed: u64) -> Self {
        let mut state = [0u32; N];
        let mut word = seed as u32;
        for (j, slot) in (0u32..).zip(&mut state) {
            if j > 0 {
                word = (word ^ (word >> 30)).wrapping_mul(1_812_433_253).wrapping_add(j);
            }
            *slot = word;
        }
        Self { seed, state, next: N, next_normal: None }
    }

    /// The seed it was made with.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The next 32 random bits.
    pub fn random(&mut self) -> u32 {
        if self.next >= N {
            self.twist();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// The next 64 random bits: two draws, the first on top.
    pub fn random64(&mut self) -> u64 {
        let high = u64::from(self.random());
        (high << 32) | u64::from(self.random())
    }

    fn twist(&mut self) {
        for i in 0..N {
            let (this, following) = (self.state[i], self.state[(i + 1) % N]);
            let mixed = (this & 0x8000_0000) | (following & 0x7fff_ffff);
            let matrix = if following & 1 == 0 { 0 } else { 0x9908_b0df };
            self.state[i] = self.state[(i + M) % N] ^ (mixed >> 1) ^ matrix;
        }
        self.next = 0;
    }

    /// A number of `[0, 1)` with 24 random bits: one element of `torch.rand`.
    pub fn uniform_f32(&mut self) -> f32 {
        (self.random() & 0x00ff_ffff) as f32 / 16_777_216.0
    }

    /// A number of `[0, 1)` with 53 random bits: one element of `torch.rand(dtype=float64)`.
    pub fn uniform_f64(&mut self) -> f64 {
        (self.random64() & ((1 << 53) - 1)) as f64 / (1u64 << 53) as f64
    }

    /// A whole number from 0 to `n − 1`: one element of `torch.randint(n)`; 0 when `n` is 0.
    pub fn random_range(&mut self, n: u64) -> u64 {
        let bits = if n >= 1 << 28 { self.random64() } else { u64::from(self.random()) };
        bits.checked_rem(n).unwrap_or(0)
    }

    /// `torch.rand(n)`.
    #[must_use]
    pub fn rand(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.uniform_f32()).collect()
    }

    /// `torch.randint(high, (n,))`.
    #[must_use]
    pub fn randint(&mut self, high: u64, n: usize) -> Vec<u64> {
        (0..n).map(|_| self.random_range(high)).collect()
    }

    /// `torch.randperm(n)`: the numbers 0 to `n − 1` in random order.
    #[must_use]
    pub fn randperm(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in 0..n.saturating_sub(1) {
            order.swap(i, i + self.random() as usize % (n - i));
        }
        order
    }

    /// `torch.randn(n)`: independent normal numbers of mean 0 and variance 1, in C order for a tensor of n elements.
    ///
    /// Torch has two ways, and so have we: 16 and more are drawn in f32 in blocks of 16, the last block (drawn anew)
    /// ending at the end; fewer are drawn in f64, one by one, and the second of a pair waits for the next such call.
    #[must_use]
    pub fn randn(&mut self, n: usize) -> Vec<f32> {
        if n < BLOCK {
            return (0..n).map(|_| self.normal_f64() as f32).collect();
        }
        let mut out = self.rand(n);
        let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
        blocks.iter_mut().for_each(box_muller);
        if !rest.is_empty()
            && let Some(last) = out.last_chunk_mut::<BLOCK>()
        {
            last.fill_with(|| self.uniform_f32());
            box_muller(last);
        }
        out
    }

    /// Goes on as if [`Generator::randn`] had been asked for `n` numbers.
    pub fn skip_randn(&mut self, n: usize) {
        if n < BLOCK {
            for _ in 0..n {
                let _ = self.normal_f64();
            }
            return;
        }
        let redrawn = if n.is_multiple_of(BLOCK) { 0 } else { BLOCK };
        let mut left = n + redrawn;
        while left > 0 {
            if self.next >= N {
                self.twist();
            }
            let step = left.min(N - self.next);
            self.next += step;
            left -= step;
        }
    }

    /// One normal number in f64: one element of `torch.randn(dtype=float64)` for fewer than 16.
    pub fn normal_f64(&mut self) -> f64 {
        self.next_normal.take().unwrap_or_else(|| {
            let (u1, u2) = (self.uniform_f64(), self.uniform_f64());
            let (now, next) = box_muller_f64(u1, u2);
            self.next_normal = Some(next);
            now
        })
    }

    /// The whole state: [`Generator::from_bytes`] goes on with the same numbers.
    ///
    /// Little-endian: the tag `mt19937\x01`, seed u64, position u32, 624 words u32, a byte that says whether a normal
    /// number waits, and that number as f64.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(STATE_BYTES);
        bytes.extend_from_slice(TAG);
        bytes.extend_from_slice(&self.seed.to_le_bytes());
        bytes.extend_from_slice(&(self.next as u32).to_le_bytes());
        bytes.extend(self.state.iter().flat_map(|word| word.to_le_bytes()));
        bytes.push(u8::from(self.next_normal.is_some()));
        bytes.extend_from_slice(&self.next_normal.unwrap_or(0.0).to_le_bytes());
        bytes
    }

    /// Restores what [`Generator::to_bytes`] stored.
    ///
    /// # Errors
    /// [`Error::GeneratorState`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() != STATE_BYTES {
            return Err(Error::GeneratorState("it has the wrong length"));
        }
        let cut = Error::GeneratorState("it is cut short");
        let rest = bytes.strip_prefix(TAG).ok_or(Error::GeneratorState("it does not begin with its tag"))?;
        let (seed, rest) = rest.split_first_chunk().ok_or(cut.clone())?;
        let (next, rest) = rest.split_first_chunk().ok_or(cut.clone())?;
        let (words, rest) = rest.split_at_checked(4 * N).ok_or(cut.clone())?;
        let (&waits, rest) = rest.split_first().ok_or(cut.clone())?;
        let normal = f64::from_le_bytes(*rest.first_chunk().ok_or(cut)?);

        let next = u32::from_le_bytes(*next) as usize;
        if next > N {
            return Err(Error::GeneratorState("its position is past the end"));
        }
        let mut state = [0u32; N];
        for (slot, word) in state.iter_mut().zip(words.as_chunks().0) {
            *slot = u32::from_le_bytes(*word);
        }
        let next_normal = match waits {
            0 if normal == 0.0 => None,
            1 if normal.is_finite() => Some(normal),
            _ => return Err(Error::GeneratorState("its waiting normal number makes no sense")),
        };
        Ok(Self { seed: u64::from_le_bytes(*seed), state, next, next_normal })
    }
}

const TAG: &[u8; 8] = b"mt19937\x01";
const STATE_BYTES: usize = 8 + 8 + 4 + 4 * N + 1 + 8;
