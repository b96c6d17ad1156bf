//! Reads all there is in a PyTorch file.

use calotype_formats::{Checkpoint, TorchFile, Value};

pub(crate) fn read(bytes: Vec<u8>) {
    let Ok(file) = TorchFile::from_bytes(bytes) else { return };
    walk(file.root(), &mut 10_000);
    let Ok(weights) = Checkpoint::try_from(file) else { return };
    for tensor in weights.tensors() {
        assert_eq!(weights.read(&tensor.name).unwrap().len() as u64, tensor.byte_count());
        let _ = weights.read_f32(&tensor.name);
    }
}

/// Looks at the first values: a small file may unfold to millions, which takes long and finds nothing new.
fn walk(value: Value<'_>, left: &mut u32) {
    let Some(fewer) = left.checked_sub(1) else { return };
    *left = fewer;
    match value {
        Value::Dict(dict) => dict.iter().for_each(|(key, value)| {
            walk(key, left);
            walk(value, left);
        }),
        Value::List(items) | Value::Tuple(items) | Value::Set(items) => items.iter().for_each(|item| walk(item, left)),
        Value::Tensor(tensor) => assert_eq!(
            tensor.read().unwrap().len(),
            tensor.shape().iter().product::<usize>() * tensor.dtype().size()
        ),
        other => drop(format!("{other:?}")),
    }
}
