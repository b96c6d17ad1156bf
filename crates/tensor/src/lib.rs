//! The tensor core: the op set that Stable Diffusion needs, its backends, and the gradient tape.
//!
//! [`Backend`] names every operation; model code is written once, generic over it. [`reference::Reference`] is the
//! readable truth, [`cpu::Cpu`] the fast one, and [`tape::Tape`] wraps either and records, so that the same `forward`
//! trains and infers; [`profile::Profile`] wraps any and times, [`MemoryPlan`] finds what a run needs of memory. A [`Device`] makes
//! backends that share its threads. With the feature `testing` there is `cases`, one table of operations that all backends are held to.
//!
//! Activations are channels-last: `(B, H, W, C)` for pictures, `(B, L, C)` for sequences.

mod backend;
mod cancel;
#[cfg(any(test, feature = "testing"))]
pub mod cases;
pub mod cpu;
mod device;
mod dtype;
mod error;
mod gradients;
mod layout;
mod memory;
mod op;
pub mod op_shapes;
mod param_data;
mod precision;
pub mod profile;
pub mod reference;
mod shape;
pub mod tape;
mod threads;

pub use backend::{Activation, Attention, Backend, Conv2d, Fusion, Padding, ParamKind, ParamRole};
pub use cancel::CancelToken;
pub use device::{BackendOptions, Device};
pub use dtype::DType;
pub use error::{Error, Result};
pub use gradients::{AdamW, Differentiable};
pub use layout::{from_file_layout, to_file_layout};
pub use memory::{Intervals, Memory, MemoryPlan, PlannedParam, PlannedTensor, trim_heap};
pub use op::Op;
pub use param_data::ParamData;
pub use precision::Precision;
pub use shape::Shape;
pub use threads::Threads;
