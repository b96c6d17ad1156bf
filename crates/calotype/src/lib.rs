//! Stable Diffusion in Rust: load a model, turn text into pictures.
