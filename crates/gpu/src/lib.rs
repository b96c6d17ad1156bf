//! The op set of [`calotype_tensor`] on graphics cards, over Vulkan and Metal by `wgpu`, with kernels of our own in WGSL.
//!
//! A [`GpuDevice`] makes backends ([`Gpu`]). Their tensors lie in an arena on the card ([`Memory`](calotype_tensor::Memory) plans it),
//! and their operations are recorded and run in order; only reading a tensor back waits. Elements are kept in f32 or, where the
//! card has them, in f16; sums and statistics are always f32. No result depends on the batch that it is computed in.
//!
//! Only inference runs here: gradients are the processor's.

mod arena;
mod backend;
mod cache;
mod context;
mod counts;
mod device;
mod elements;
mod heap;
mod kernel;
mod memory;
mod ops;
mod param;
mod pipeline;
mod recorder;
mod template;
mod tensor;
mod tier;
mod timer;
mod wait;

pub use backend::Gpu;
pub use counts::{Counts, Tally};
pub use device::{AdapterInfo, Compiled, Faults, GpuDevice, GpuDeviceOptions, WatchCompiling};
pub use kernel::kernels;
pub use param::Param;
pub use tensor::Tensor;
pub use tier::Tier;
