//! Properties of reading and writing, and agreement with the reference implementation (the `safetensors` crate).

#![allow(clippy::unwrap_used)]

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use calotype_formats::{DType, SafeTensors, encode_f32, to_bytes, write_safetensors};
use proptest::{collection, prelude::*};
use safetensors::tensor::{Dtype, TensorView};

type Tensors = BTreeMap<String, (DType, Vec<usize>, Vec<u8>)>;

fn tensors() -> impl Strategy<Value = Tensors> {
    let tensor =
        (proptest::sample::select(DType::ALL), collection::vec(0_usize..5, 0..4)).prop_flat_map(|(dtype, shape)| {
            let bytes = shape.iter().product::<usize>() * dtype.size();
            (Just(dtype), Just(shape), collection::vec(any::<u8>(), bytes))
        });
    collection::btree_map(any::<String>(), tensor, 0..8)
}

fn metadata() -> impl Strategy<Value = BTreeMap<String, String>> {
    collection::btree_map(any::<String>(), any::<String>(), 0..4)
}

fn write(tensors: &Tensors, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let views = tensors.iter().map(|(name, (dtype, shape, data))| (name, *dtype, shape.clone(), Cow::from(data)));
    to_bytes(views, metadata).unwrap()
}

/// A small valid file to damage. No change of one byte makes two of its names the same.
fn small_file() -> Vec<u8> {
    let tensors = [
        ("a".to_owned(), (DType::F16, vec![2, 3], vec![1; 12])),
        ("bb".to_owned(), (DType::I64, vec![], vec![2; 8])),
        ("ccc".to_owned(), (DType::Bool, vec![0], vec![])),
    ];
    write(&tensors.into(), &[("format".to_owned(), "pt".to_owned())].into())
}

/// Opens the file and reads every tensor in every form; only the absence of a panic and a bound on the message count.
fn use_all(bytes: Vec<u8>) -> bool {
    match SafeTensors::from_bytes(bytes) {
        Ok(file) => {
            for tensor in file.tensors() {
                assert_eq!(file.read(&tensor.name).unwrap().len() as u64, tensor.byte_count());
                assert!(
                    file.read_f32(&tensor.name).is_ok_and(|n| n.len() == tensor.element_count())
                        || tensor.dtype != DType::F32
                );
                let _ = file.read_i64(&tensor.name);
            }
            true
        }
        Err(error) => {
            let message = error.to_string();
            assert!(!message.contains('\n') && message.len() < 2000, "{message}");
            false
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(tensors in tensors(), metadata in metadata()) {
        let file = SafeTensors::from_bytes(write(&tensors, &metadata)).unwrap();
        prop_assert_eq!(file.metadata(), &metadata);
        prop_assert!(file.tensors().map(|t| &t.name).eq(tensors.keys()));
        for (name, (dtype, shape, data)) in &tensors {
            let tensor = file.get(name).unwrap();
            prop_assert_eq!((tensor.dtype, &tensor.shape), (*dtype, shape));
            prop_assert_eq!(&file.read(name).unwrap(), data);
        }
    }

    #[test]
    fn the_reference_reads_what_is_written(tensors in tensors(), metadata in metadata()) {
        let bytes = write(&tensors, &metadata);
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        prop_assert_eq!(file.len(), tensors.len());
        for (name, (dtype, shape, data)) in &tensors {
            let tensor = file.tensor(name).unwrap();
            prop_assert_eq!(tensor.dtype().to_string(), dtype.name());
            prop_assert_eq!((tensor.shape(), tensor.data()), (shape.as_slice(), data.as_slice()));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in collection::vec(any::<u8>(), 0..200)) {
        use_all(bytes);
    }

    #[test]
    fn arbitrary_headers_never_panic(header in "\\{[ -~\\n]{0,80}\\}?", data in collection::vec(any::<u8>(), 0..20)) {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.bytes().chain(data));
        use_all(bytes);
    }

    #[test]
    fn headers_of_plausible_parts_get_the_verdict_of_the_reference(
        parts in collection::vec(part(), 0..4),
        data in 0_usize..20,
    ) {
        let names: BTreeSet<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
        let entries: Vec<&str> = parts.iter().map(|(_, entry)| entry.as_str()).collect();
        let header = format!("{{{}}}", entries.join(","));
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.bytes());
        bytes.resize(bytes.len() + data, 0);
        if names.len() == parts.len() {
            same_verdict(bytes)?;
        } else {
            // The format forbids it; the reference takes the last of them.
            prop_assert!(!use_all(bytes));
        }
    }

    #[test]
    fn mutated_files_get_the_verdict_of_the_reference(at in any::<proptest::sample::Index>(), to: u8) {
        let mut bytes = small_file();
        let at = at.index(bytes.len());
        bytes[at] = to;
        same_verdict(bytes)?;
    }
}

/// One entry of a header and its name: often right, sometimes wrong in one of the ways that count.
fn part() -> impl Strategy<Value = (String, String)> {
    let number = prop_oneof![4 => (0_u64..10).prop_map(|n| n.to_string()), 1 => Just("-1".to_owned()), 1 => Just("1.5".to_owned()), 1 => Just(u64::MAX.to_string())];
    let dtype = proptest::sample::select(vec!["U8", "U8", "U8", "BF16", "F8_E4M3", "f32", "X"]);
    let tensor = ("[a-d]", dtype, collection::vec(number.clone(), 0..3), collection::vec(number, 2));
    prop_oneof![
        8 => tensor.prop_map(|(name, dtype, shape, offsets)| {
            let (shape, offsets) = (shape.join(","), offsets.join(","));
            let entry = format!(r#""{name}":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{offsets}]}}"#);
            (name, entry)
        }),
        6 => ("[a-d]", 0..6_u64, 0..6_u64).prop_map(|(name, begin, len)| {
            let end = begin + len;
            let entry = format!(r#""{name}":{{"dtype":"U8","shape":[{len}],"data_offsets":[{begin},{end}]}}"#);
            (name, entry)
        }),
        1 => Just(("__metadata__".to_owned(), r#""__metadata__":{"k":"v"}"#.to_owned())),
        1 => Just(("__metadata__".to_owned(), r#""__metadata__":{"k":1}"#.to_owned())),
    ]
}

/// The reference takes the file too, and finds the same in it; or neither does.
fn same_verdict(bytes: Vec<u8>) -> Result<(), TestCaseError> {
    use_all(bytes.clone());
    let reference = safetensors::SafeTensors::deserialize(&bytes);
    let ours = SafeTensors::from_bytes(bytes.clone());
    match (reference, ours) {
        (Ok(reference), Ok(ours)) => {
            prop_assert_eq!(reference.len(), ours.tensors().len());
            for tensor in ours.tensors() {
                let view = reference.tensor(&tensor.name).unwrap();
                prop_assert_eq!(
                    (view.dtype().to_string(), view.shape()),
                    (tensor.dtype.to_string(), &tensor.shape[..])
                );
                prop_assert_eq!(view.data(), ours.read(&tensor.name).unwrap());
            }
        }
        (Ok(_), Err(error)) => prop_assert!(false, "the reference takes it, but: {error}"),
        (Err(error), Ok(_)) => prop_assert!(false, "taken, but the reference says {error}"),
        (Err(_), Err(_)) => {}
    }
    Ok(())
}

/// Every byte of a small file changed to every value: 256 × its length files.
#[test]
fn every_one_byte_change_of_a_small_file_is_read_or_refused() {
    let bytes = small_file();
    assert!(use_all(bytes.clone()));
    let refused = (0..bytes.len() * 256)
        .filter(|i| {
            let mut changed = bytes.clone();
            changed[i / 256] = (i % 256) as u8;
            !use_all(changed)
        })
        .count();
    assert!(refused > bytes.len() * 128, "only {refused} refused");
}

#[test]
fn the_file_is_the_one_the_reference_writes() {
    let data: Vec<u8> = (0..48).collect();
    let shapes = [
        ("z", DType::F32, Dtype::F32, 4),
        ("b", DType::F16, Dtype::F16, 2),
        ("a", DType::U8, Dtype::U8, 1),
        ("c", DType::F32, Dtype::F32, 4),
    ];
    let ours = shapes.map(|(name, dtype, _, size)| (name, dtype, vec![3, 2], Cow::from(&data[..6 * size])));
    let theirs =
        shapes.map(|(name, _, dtype, size)| (name, TensorView::new(dtype, vec![3, 2], &data[..6 * size]).unwrap()));
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let expected = safetensors::serialize(theirs, Some(metadata.clone().into_iter().collect())).unwrap();
    assert_eq!(to_bytes(ours, &metadata).unwrap(), expected);
}

#[test]
fn a_file_longer_than_one_chunk_is_read_in_every_dtype_by_many_threads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.safetensors");
    let numbers: Vec<f32> = (0..300_007).map(|n| (n % 2048) as f32 - 1024.0).collect();
    let bytes_of = |dtype| -> Vec<u8> {
        match dtype {
            DType::F64 => numbers.iter().flat_map(|&n| f64::from(n).to_le_bytes()).collect(),
            DType::I32 => numbers.iter().flat_map(|&n| (n as i32).to_le_bytes()).collect(),
            // bf16 holds whole numbers up to 256.
            DType::BF16 => encode_f32(&numbers.iter().map(|n| (n / 8.0).round()).collect::<Vec<_>>(), dtype).unwrap(),
            _ => encode_f32(&numbers, dtype).unwrap(),
        }
    };
    let dtypes = [DType::F64, DType::F32, DType::F16, DType::BF16, DType::I32];
    let tensors = dtypes.map(|dtype| (dtype.name(), dtype, vec![numbers.len()], Cow::from(bytes_of(dtype))));
    write_safetensors(&path, tensors, &BTreeMap::new()).unwrap();

    let file = SafeTensors::open(&path).unwrap();
    let (file, numbers) = (&file, &numbers);
    std::thread::scope(|scope| {
        for dtype in dtypes {
            scope.spawn(move || {
                let expected = numbers.iter().map(|&n| if dtype == DType::BF16 { (n / 8.0).round() } else { n });
                assert!(file.read_f32(dtype.name()).unwrap().into_iter().eq(expected), "{dtype}");
                assert_eq!(file.read(dtype.name()).unwrap().len(), numbers.len() * dtype.size());
                let (whole, floats) = (file.read_f32(dtype.name()).unwrap(), file.floats(dtype.name()).unwrap());
                assert_eq!(floats.count(), whole.len());
                for (start, length) in [(0, 0), (1, 1), (3, 9001), (0, whole.len()), (whole.len(), 0)] {
                    let mut piece = vec![f32::NAN; length];
                    floats.read(start, &mut piece).unwrap();
                    assert_eq!(piece, whole[start..][..length], "{dtype}");
                    let size = dtype.size();
                    let mut bytes = vec![0xff; length * size];
                    floats.read_bytes(start, &mut bytes).unwrap();
                    assert_eq!(bytes, file.read(dtype.name()).unwrap()[start * size..][..length * size], "{dtype}");
                }
                for start in [whole.len(), usize::MAX] {
                    let errors = [floats.read(start, &mut [0.0]), floats.read_bytes(start, &mut [0])];
                    for message in errors.map(|result| result.unwrap_err().to_string()) {
                        assert!(message.contains("were asked for, it has") && !message.contains('\n'), "{message}");
                    }
                }
            });
        }
    });
    let integers = file.read_i64("I32").unwrap();
    assert!(integers.iter().zip(numbers).all(|(&i, &n)| i == n as i64));
}

#[test]
fn what_cannot_be_written_is_an_error_and_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let one = |name: &str, shape: &[usize]| (name.to_owned(), DType::F32, shape.to_vec(), Cow::from(&[0; 8][..]));
    for (tensors, expected) in [
        (vec![one("a", &[3])], r#"tensor "a": shape [3] of F32 does not match 8 bytes of data: give it whole"#),
        (vec![one("a", &[usize::MAX, 4])], "does not match 8 bytes of data: give it whole"),
        (vec![one("a", &[2]), one("b", &[2]), one("a", &[2])], r#"tensor "a": given twice: give each name once"#),
        (vec![one("__metadata__", &[2])], "this name is reserved for the metadata: choose another"),
    ] {
        let error = write_safetensors(&path, tensors, &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.ends_with(expected), "{error}");
        assert!(!Path::new(&path).exists());
    }
}
