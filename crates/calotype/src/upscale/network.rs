//! The network on a device of any kind, with numbers on the host before and after it.

use calotype_formats::Checkpoint;
use calotype_models::{Upscaler, UpscalerConfig, UpscalerFile};
use calotype_tensor::{Backend, BackendOptions, CancelToken, Device, MemoryPlan, Precision};

use crate::{Error, Result, error::NotFinite};

/// An upscaler in memory.
pub(super) trait Network: Send + Sync {
    fn config(&self) -> &UpscalerConfig;

    /// Bytes of its weights.
    fn weights(&self) -> u64;

    /// Bytes of tensors that it takes for a part `[h, w]` of a picture.
    ///
    /// # Errors
    /// The network can't be run on that size.
    fn arena(&self, size: [usize; 2]) -> Result<u64>;

    /// The larger part `(s·h, s·w, colours)` of a part `(h, w, colours)`.
    ///
    /// # Errors
    /// There is not enough memory, it was cancelled, or what comes out is not finite.
    fn run(&self, part: Vec<f32>, size: [usize; 2], cancel: &CancelToken) -> Result<Vec<f32>>;
}

pub(super) struct OnDevice<D: Device> {
    backend: D::Backend,
    network: Upscaler<<D::Backend as Backend>::Param>,
    weights: u64,
}

impl<D: Device> OnDevice<D> {
    pub(super) fn new(device: &D, of_it: &UpscalerFile, file: &Checkpoint, precision: Precision) -> Result<Self> {
        let backend = device.backend(BackendOptions::in_precision(precision))?;
        let network = of_it.load(&backend, file)?;
        let plan = MemoryPlan::new(&backend);
        of_it.config().init_random(&plan)?;
        Ok(Self { weights: plan.param_bytes() as u64, backend, network })
    }
}

impl<D: Device> Network for OnDevice<D> {
    fn config(&self) -> &UpscalerConfig {
        self.network.config()
    }

    fn weights(&self) -> u64 {
        self.weights
    }

    fn arena(&self, [h, w]: [usize; 2]) -> Result<u64> {
        let plan = MemoryPlan::new(&self.backend);
        let network = self.config().init_random(&plan)?;
        network.upscale(&plan, &plan.tensor([1, h, w, self.config().colours()].into()))?;
        Ok(plan.arena_bytes() as u64)
    }

    fn run(&self, part: Vec<f32>, [h, w]: [usize; 2], cancel: &CancelToken) -> Result<Vec<f32>> {
        let backend = D::with_cancel(&self.backend, cancel.clone());
        let large = backend.threads().enter(|| {
            let x = backend.from_f32([1, h, w, self.config().colours()].into(), part)?;
            self.network.upscale(&backend, &x)
        })?;
        match large.iter().all(|x| x.is_finite()) {
            true => Ok(large),
            false => Err(Error::NotFinite(NotFinite::Upscaler)),
        }
    }
}
