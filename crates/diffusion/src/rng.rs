use crate::Generator;
use crate::ids::ids;
use crate::philox::{Cuda, Nv};

/// Which generator noise comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Rng {
    /// Torch's on the CPU, bit for bit: see [`Generator`].
    #[default]
    Cpu,
    /// Torch's on CUDA: Philox 4x32-10, shared out to elements as its kernel does, in f32.
    ///
    /// The random bits are the device's; the normal numbers agree to a few `1e-6`, for a device's approximate sine is
    /// not documented to the bit. They are the same on every GPU as long as one draw has no more numbers than the GPU runs
    /// threads at once, its multiprocessors times the threads of each: 40,960 on a T4 (a picture of 809 × 809 pixels), 125,952 on
    /// an RTX 3090 (1419 × 1419), 221,184 on an A100 (1881 × 1881). Larger draws are another matter on each model: here they
    /// are an A100's.
    Cuda,
    /// A1111's imitation of CUDA's ("NV", `modules/rng_philox.py`), bit for bit: Philox 4x32-10, one subsequence for
    /// each element whatever the device, in f64 rounded to f32.
    Nv,
}

// A1111 calls the second "GPU".
ids!(Rng, "generator", [Cpu = "cpu", Cuda = "cuda" | "gpu", Nv = "nv"]);

impl Rng {
    /// A stream of normal numbers from a seed.
    #[must_use]
    pub fn stream(self, seed: u64) -> NormalStream {
        let kind = match self {
            Self::Cpu => Kind::Cpu(Box::new(Generator::manual_seed(seed))),
            Self::Cuda => Kind::Cuda(Cuda::manual_seed(seed)),
            Self::Nv => Kind::Nv(Nv::manual_seed(seed)),
        };
        NormalStream(kind)
    }
}

/// Normal numbers of a generator, one tensor after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct NormalStream(Kind);

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Cpu(Box<Generator>),
    Cuda(Cuda),
    Nv(Nv),
}

impl NormalStream {
    /// `torch.randn(n)`: the next tensor of the stream, mean 0 and variance 1.
    #[must_use]
    pub fn randn(&mut self, n: usize) -> Vec<f32> {
        match &mut self.0 {
            Kind::Cpu(generator) => generator.randn(n),
            Kind::Cuda(philox) => philox.randn(n),
            Kind::Nv(philox) => philox.randn(n),
        }
    }

    /// Goes on as if a tensor of `n` numbers had been drawn.
    pub fn skip(&mut self, n: usize) {
        match &mut self.0 {
            Kind::Cpu(generator) => generator.skip_randn(n),
            Kind::Cuda(philox) => philox.skip(n),
            Kind::Nv(philox) => philox.skip(),
        }
    }
}

impl From<Generator> for NormalStream {
    fn from(generator: Generator) -> Self {
        Self(Kind::Cpu(Box::new(generator)))
    }
}
