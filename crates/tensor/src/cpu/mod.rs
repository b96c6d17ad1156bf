//! The CPU backend: activations channels-last, weights packed once for the instruction set, epilogues fused, attention
//! tiled, all cores used. Results do not depend on the number of threads.

mod attention;
mod backend;
mod conv;
mod depthwise;
mod device;
mod element;
mod elementwise;
mod gemm;
mod gradients;
mod isa;
mod math;
mod memory;
mod norm;
mod parallel;
mod param;
mod peak;
mod pool;
mod prelu;
mod shuffle;
mod tensor;

use std::sync::Arc;

use element::{ElementsMut, narrow};
use memory::buffer::{Buffer, Plain, Pool};

use crate::{BackendOptions, CancelToken, DType, Device, Error, Precision, Result, Shape, Threads};

pub use conv::winograd::Convolution;
pub use device::{CpuDevice, CpuDeviceOptions};
pub use gemm::arithmetic::Arithmetic;
pub use isa::Isa;
pub use param::Param;
pub use tensor::Tensor;

/// How a [`Cpu`] computes that is made without a [`CpuDevice`].
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuOptions {
    /// Threads; 0 for one on each core.
    pub threads: usize,
    /// The instruction set; [`Isa::preferred`] when none.
    pub isa: Option<Isa>,
    /// The number types.
    pub precision: Precision,
    /// How 3×3 convolutions with stride 1 are computed.
    pub convolution: Convolution,
}

/// The CPU backend. Cloning shares its threads and memory.
#[derive(Clone)]
pub struct Cpu {
    isa: Isa,
    precision: Precision,
    /// What the factors of products are rounded to.
    products: DType,
    convolution: Convolution,
    threads: Threads,
    cancel: CancelToken,
    pool: Arc<Pool>,
}

impl Cpu {
    /// In `f32` with the preferred instruction set; `threads` of them, or one for each core when 0.
    ///
    /// # Errors
    /// As [`Self::with_options`].
    pub fn new(threads: usize) -> Result<Self> {
        Self::with_options(CpuOptions { threads, ..CpuOptions::default() })
    }

    /// With these options, on threads of its own.
    ///
    /// # Errors
    /// As [`CpuDevice::new`].
    pub fn with_options(options: CpuOptions) -> Result<Self> {
        let CpuOptions { threads, isa, precision, convolution } = options;
        let device = CpuDevice::new(CpuDeviceOptions { threads, isa, convolution })?;
        device.backend(BackendOptions::in_precision(precision))
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The number types in use.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// In `f32`, but factors of convolutions and linear maps, and of their gradients, are rounded to bf16 (Micikevicius et al. 2018,
    /// "Mixed Precision Training", with bf16 in the place of f16, whose range needs no scaled loss).
    ///
    /// # Errors
    /// This processor has no instructions for that, or the backend is not in `f32`.
    pub fn in_mixed_precision(self) -> Result<Self> {
        let refuse = |message: String| Err(Error::Invalid { op: "cpu", message });
        if self.precision != Precision::F32 {
            return refuse(format!("mixed precision is f32 with products in bf16, the backend is {}", self.precision));
        }
        if Arithmetic::of(self.isa, DType::BF16) != Arithmetic::Bf16 {
            return refuse(format!("products in bf16 need {}, this is {}", Isa::Avx512Bf16, self.isa));
        }
        Ok(Self { products: DType::BF16, ..self })
    }

    /// The number of threads.
    pub fn threads(&self) -> usize {
        self.threads.count()
    }

    /// The bytes that were ever taken outside the arena: for weights, by threads for themselves, and for what did not fit.
    pub fn outside_arena(&self) -> usize {
        self.pool.outside_arena()
    }

    fn buffer<T: Plain>(&self, length: usize) -> Result<Buffer> {
        Buffer::new::<T>(&self.pool, length)
    }

    /// Runs `task(0..count)` on all threads, until one fails or the backend is cancelled.
    fn each(&self, count: usize, task: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
        self.threads.try_each(count, |n| {
            self.cancel.check()?;
            task(n)
        })
    }

    /// What `task(0..count)` gives, in that order, until one fails or the backend is cancelled.
    fn map_each<T: Send>(&self, count: usize, task: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
        self.threads.try_map(count, |n| {
            self.cancel.check()?;
            task(n)
        })
    }

    /// A tensor of activations, whose elements `fill` writes, all of them.
    fn make(&self, shape: Shape, fill: impl FnOnce(ElementsMut<'_>) -> Result<()>) -> Result<Tensor> {
        let dtype = self.precision.activations();
        let mut buffer = self.buffer::<i8>(shape.count() * dtype.size())?;
        fill(ElementsMut::of(&mut buffer, dtype))?;
        Ok(Tensor::new(shape, dtype, buffer))
    }

    /// A tensor of floats, whose elements `fill` writes, all of them.
    fn make_f32(&self, shape: Shape, fill: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<Tensor> {
        let mut buffer = self.buffer::<f32>(shape.count())?;
        fill(buffer.slice_mut())?;
        Ok(Tensor::new(shape, DType::F32, buffer))
    }

    /// A tensor of activations by rows of the last dimension: `fill(scratch, first row, rows)` writes a run of whole rows.
    fn make_rows(&self, shape: Shape, fill: impl Fn(&mut Scratch, usize, &mut [f32]) + Sync) -> Result<Tensor> {
        let (rows, width) = (shape.rows(), shape.last());
        self.make(shape, |y| {
            let y = y.share();
            let per_task = (elementwise::CHUNK / width).max(1);
            self.each(rows.div_ceil(per_task), |task| {
                let (mut scratch, mut wide) = (Scratch::default(), Vec::new());
                let end = rows.min((task + 1) * per_task);
                // SAFETY: rows of tasks do not overlap.
                let part = |from: usize, to: usize| unsafe { y.part(from * width, (to - from) * width) };
                if let ElementsMut::F32(y) = part(task * per_task, end) {
                    fill(&mut scratch, task * per_task, y);
                    return Ok(());
                }
                let per_run = (elementwise::RUN / width).max(1);
                for first in (task * per_task..end).step_by(per_run) {
                    let y = part(first, end.min(first + per_run));
                    wide.resize(y.len(), 0.0);
                    fill(&mut scratch, first, &mut wide);
                    narrow(self.isa, &wide, y);
                }
                Ok(())
            })
        })
    }
}

/// Room to widen two inputs in.
type Scratch = [Vec<f32>; 2];
