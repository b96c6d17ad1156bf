//! Holds every backend to the table of operations in `calotype_tensor::cases`.

mod agreement;
mod bad_shapes;
mod cpu;
mod edges;
mod gradients;
mod int8;
mod joined;
mod optimizer;
mod truth;
