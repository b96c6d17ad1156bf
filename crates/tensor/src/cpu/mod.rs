//! The CPU backend: activations channels-last, weights packed once for the instruction set, epilogues fused, attention
//! tiled, all cores used. Results do not depend on the number of threads.

mod attention;
mod backend;
mod buffer;
mod conv;
mod elementwise;
mod gemm;
mod gradients;
mod isa;
mod kernel;
mod linear;
mod math;
mod norm;
mod packed;
mod parallel;
mod param;
mod peak;
mod tensor;

use std::sync::Arc;

use buffer::{Buffer, Pool};
use parallel::Threads;

use crate::{Error, Result};

pub use isa::Isa;
pub use param::Param;
pub use peak::Arithmetic;
pub use tensor::Tensor;

/// The CPU backend. Cloning shares its threads and memory.
#[derive(Clone)]
pub struct Cpu {
    isa: Isa,
    threads: Arc<Threads>,
    pool: Arc<Pool>,
}

impl Cpu {
    /// With the best instruction set of this processor; `threads` of them, or one for each core when 0.
    pub fn new(threads: usize) -> Result<Self> {
        let isa = Isa::available().last().copied().unwrap_or(Isa::Portable);
        Self::with_isa(threads, isa)
    }

    /// With the given instruction set, or an error when this processor lacks it.
    pub fn with_isa(threads: usize, isa: Isa) -> Result<Self> {
        let available = Isa::available();
        if !available.contains(&isa) {
            let has: Vec<String> = available.iter().map(Isa::to_string).collect();
            return Err(Error::Invalid {
                op: "cpu",
                message: format!("this processor has no {isa}, it has {}", has.join(", ")),
            });
        }
        let threads = Threads::new(threads)
            .map_err(|e| Error::Invalid { op: "cpu", message: format!("threads can't be started: {e}") })?;
        Ok(Self { isa, threads: Arc::new(threads), pool: Arc::default() })
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The number of threads.
    pub fn threads(&self) -> usize {
        self.threads.count()
    }

    fn buffer(&self, length: usize) -> Buffer {
        Buffer::f32(&self.pool, length)
    }

    /// A tensor whose elements `fill` writes, all of them.
    fn make(&self, shape: crate::Shape, fill: impl FnOnce(&mut [f32])) -> Tensor {
        let mut buffer = self.buffer(shape.count());
        fill(buffer.as_mut());
        Tensor::new(shape, buffer)
    }
}
