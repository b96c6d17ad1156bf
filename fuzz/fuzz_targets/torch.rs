//! Reads all there is in a PyTorch file.

use calotype_formats::{Checkpoint, TorchFile};

pub(crate) fn read(bytes: Vec<u8>) {
    let Ok(file) = TorchFile::from_bytes(bytes) else { return };
    // What it prints walks through all of it.
    let _ = format!("{:?}", file.root());
    let Ok(weights) = Checkpoint::try_from(file) else { return };
    for tensor in weights.tensors() {
        assert_eq!(weights.read(&tensor.name).unwrap().len() as u64, tensor.byte_count());
        let _ = weights.read_f32(&tensor.name);
    }
}
