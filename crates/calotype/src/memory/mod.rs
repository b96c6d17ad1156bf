//! Memory: what a run needs, found before it starts, and what the program may take in all. So an image far too large is
//! refused and not killed by the system, and all tensors of a network are parts of one arena.

mod budget;
mod plan;
mod system;

pub use budget::{MemoryBudget, Reservation};
pub use calotype_tensor::trim_heap;
pub use plan::NetworkNeed;
pub(crate) use plan::{PassNeed, PassSize, needs_bands};
pub use system::{available as available_memory, peak_memory, resident as resident_memory};
