//! Adapters: files that change a model's weights a little, as they are read.
//!
//! An [`Adapter`] is a file of LoRA or LyCORIS, its keys matched with the parameters of a text encoder and a UNet, every
//! shape checked. [`Adapted`] is a [`ParamSource`](crate::ParamSource) around another: what it gives of a parameter are the
//! other's values with the changes added to each piece as it is read, in `f32`, before anything is rounded or packed. So
//! there is never a second copy of a model, and taking adapters off is reading it again without them. Of an adapter only
//! the factors of the layer that is being read are in memory.

mod adapter;
mod bundled;
mod change;
mod embedding;
mod hypernetwork;
mod matrix;
mod peft;
mod recipe;
mod source;
mod summary;
mod weights;

pub use adapter::{Adapter, Matched};
pub use embedding::{Embedding, WithEmbeddings};
pub use hypernetwork::{Hypernetwork, LoadedHypernetwork};
pub use source::{Adapted, Applied};
pub use summary::{AdapterSummary, network_of};
pub use weights::AdapterWeights;

/// How an adapter's file keeps a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Algorithm {
    /// A product of two narrow matrices (Hu et al. 2021), of convolutions perhaps with a core between them (LoCon).
    Lora,
    /// Two such products, multiplied element by element (Hyeon-Woo et al. 2021).
    LoHa,
    /// A Kronecker product (Yeh et al. 2023).
    LoKr,
    /// The difference itself.
    Full,
    /// The difference of a norm's gain and offset.
    Norm,
    /// A factor for each row or column (Liu et al. 2022).
    Ia3,
}

impl Algorithm {
    /// Its name in LyCORIS.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lora => "LoRA",
            Self::LoHa => "LoHa",
            Self::LoKr => "LoKr",
            Self::Full => "full",
            Self::Norm => "norm",
            Self::Ia3 => "(IA)^3",
        }
    }
}
