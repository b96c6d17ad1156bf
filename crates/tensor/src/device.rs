use crate::{Backend, CancelToken, Memory, Precision, Result, Threads};

/// Something that computes: the processor, a graphics card, or the reference. It makes backends, which hold tensors and parameters.
///
/// A program makes one device and clones it; what it owns (threads, queues) is shared by all backends that come of it. Each backend has
/// its own memory, which goes with it: a program makes one for each network that is in memory.
///
/// ```
/// use calotype_tensor::{Backend, BackendOptions, Device, Precision, Result, cpu::CpuDevice, reference::ReferenceDevice};
///
/// fn twice<D: Device>(device: &D, x: Vec<f32>) -> Result<Vec<f32>> {
///     let backend = device.backend(BackendOptions::default())?;
///     let x = backend.from_f32([x.len()].into(), x)?;
///     backend.to_f32(&backend.add(&x, &x)?)
/// }
///
/// # fn main() -> Result<()> {
/// let device = CpuDevice::new(Default::default())?;
/// assert_eq!(twice(&device, vec![1.0, 2.0])?, [2.0, 4.0]);
/// assert_eq!(twice(&ReferenceDevice::<f32>::new(), vec![1.0, 2.0])?, [2.0, 4.0]);
/// # Ok(())
/// # }
/// ```
pub trait Device: Clone + Send + Sync + 'static {
    /// What computes. Its tensors can go from thread to thread.
    type Backend: Backend<Tensor: Send + Sync, Param: Send + Sync> + Memory + Clone + Send + Sync;

    /// Its name for people: `cpu (avx512-bf16)`.
    fn name(&self) -> String;

    /// A backend without tensors, that shares the device with all others.
    ///
    /// # Errors
    /// The device does not compute in that precision, or can't be had.
    fn backend(&self, options: BackendOptions) -> Result<Self::Backend>;

    /// The same backend, its tensors and parameters shared, whose operations another token stops.
    fn with_cancel(backend: &Self::Backend, cancel: CancelToken) -> Self::Backend;

    /// The fastest precision here that changes images no more than rounding does.
    fn fastest_precision(&self) -> Precision;

    /// Bytes that it takes beside tensors and parameters: what each thread holds for itself, sums and transformed tiles, and the
    /// program besides.
    fn overhead(&self) -> u64 {
        (64 << 20) * self.threads().count() as u64
    }

    /// Bytes of the largest tensor that it computes with.
    fn largest_tensor(&self) -> u64 {
        u64::MAX
    }

    /// The threads of the processor that work for this device: those that compute, or that prepare data for it.
    fn threads(&self) -> &Threads;
}

/// How a backend computes.
#[derive(Clone, Debug, Default)]
pub struct BackendOptions {
    /// The number types.
    pub precision: Precision,
    /// What stops its operations. One that nobody else holds, as by default, never does.
    pub cancel: CancelToken,
    /// Whether a result that is too large for 16 bits is not a number, so that who reads it sees it. A device may else end at the
    /// greatest number; the processor never does.
    pub shows_overflow: bool,
}

impl BackendOptions {
    /// In this precision, never cancelled.
    #[must_use]
    pub fn in_precision(precision: Precision) -> Self {
        Self { precision, ..Self::default() }
    }
}
