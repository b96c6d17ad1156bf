//! The values that the listed names make. In Python these are calls.

use std::sync::Arc;

use super::{Node, Problem, Slot, StorageRef, TensorNode, Tree, globals::Global, tree::Object};
use crate::{error::quote, header::MAX_RANK};

/// The longest key of a storage.
const MAX_KEY: usize = 100;

/// What `global(*args)` gives.
pub(crate) fn construct(tree: &mut Tree, global: &'static Global, args: Slot) -> Result<Slot, Problem> {
    let bad = || Problem::broken(format!("the values it gives to {} are none that it takes", global.name()));
    let items = tree.tuple(args).ok_or_else(bad)?;
    match (global, items) {
        (Global::OrderedDict | Global::Counter | Global::Dict(_), []) => tree.add(Node::Dict(Vec::new())),
        (Global::DefaultDict, [] | [Slot::Global(_) | Slot::None]) => tree.add(Node::Dict(Vec::new())),
        (Global::OrderedDict, &[pairs]) => {
            let pairs = tree.sequence(pairs).ok_or_else(bad)?.iter();
            let flat = pairs.map(|&pair| match tree.sequence(pair) {
                Some(&[key, value]) => Ok([key, value]),
                _ => Err(bad()),
            });
            let flat = flat.collect::<Result<Vec<_>, _>>()?.concat();
            new_dict(tree, &flat)
        }
        (Global::Counter, &[counts]) => {
            let pairs = tree.dict(counts).ok_or_else(bad)?;
            let flat: Vec<Slot> = pairs.iter().flat_map(|&(key, value)| [key, value]).collect();
            new_dict(tree, &flat)
        }
        (Global::RebuildTensor(version), items) => {
            let tensor = tensor(tree, items, *version)?;
            tree.add(Node::Tensor(Box::new(tensor)))
        }
        // The other values are whether it is trained, hooks, and attributes.
        (Global::RebuildParameter, &[data, _, _] | &[data, _, _, _]) if tree.tensor(data).is_some() => Ok(data),
        (
            Global::RebuildFromType,
            &[
                Slot::Global(inner @ Global::RebuildTensor(_)),
                Slot::Global(Global::Name("torch.Tensor" | "torch.nn.parameter.Parameter")),
                inner_args,
                _,
            ],
        ) => construct(tree, inner, inner_args),
        (Global::Size, &[sizes]) => {
            let sizes = tree.sequence(sizes).ok_or_else(bad)?.into();
            tree.add(Node::Tuple(sizes))
        }
        (Global::Device | Global::Text(_), &[text]) if tree.str(text).is_some() => Ok(text),
        (Global::Device, &[kind, Slot::Int(number)]) => {
            let text = format!("{}:{number}", tree.str(kind).ok_or_else(bad)?);
            tree.add(Node::Str(text.into()))
        }
        (Global::NumpyScalar, &[dtype, data]) => Ok(number(tree, dtype, data).ok_or_else(bad)?),
        (Global::Encode, &[text, encoding]) | (Global::ByteArray, &[text, encoding]) => {
            let latin = tree.str(encoding).is_some_and(|name| matches!(name, "latin1" | "latin-1"));
            let text = tree.str(text).filter(|_| latin).ok_or_else(bad)?;
            let bytes = text.chars().map(|c| u8::try_from(u32::from(c)).map_err(|_| bad()));
            let bytes = bytes.collect::<Result<_, _>>()?;
            tree.add(Node::Bytes(bytes))
        }
        (Global::ByteArray | Global::Encode, []) => tree.add(Node::Bytes([].into())),
        (Global::ByteArray, &[bytes]) if tree.bytes(bytes).is_some() => Ok(bytes),
        (Global::Deque, []) => tree.add(Node::List(Vec::new())),
        (Global::Deque, &[items] | &[items, _]) => {
            let items = tree.sequence(items).ok_or_else(bad)?.to_vec();
            tree.add(Node::List(items))
        }
        (Global::Set, []) => tree.add(Node::Set(Vec::new())),
        (Global::Set, &[items]) => {
            let items = tree.sequence(items).ok_or_else(bad)?.to_vec();
            let set = tree.add(Node::Set(Vec::new()))?;
            tree.extend(set, &items)?;
            Ok(set)
        }
        (Global::ParameterDict | Global::NumpyDType | Global::Closed(_), _) => {
            tree.add(Node::Object(Box::new(Object { class: global, args, state: Slot::None })))
        }
        (Global::Name(_) | Global::Storage(..) | Global::TorchDType(..), _) => {
            Err(Problem::limit(format!("its pickle calls {}", global.name())))
        }
        _ => Err(bad()),
    }
}

fn new_dict(tree: &mut Tree, flat: &[Slot]) -> Result<Slot, Problem> {
    let dict = tree.add(Node::Dict(Vec::new()))?;
    tree.insert(dict, flat)?;
    Ok(dict)
}

/// Gives an object its state.
pub(crate) fn build(tree: &mut Tree, object: Slot, state: Slot) -> Result<(), Problem> {
    // What a ParameterDict holds, among the fifteen or so attributes of every module. Looking at more would let a pickle
    // have a long dict looked through again and again.
    let parameters = tree.dict(state).and_then(|pairs| {
        pairs.iter().take(64).find(|(key, _)| tree.str(*key) == Some("_parameters")).map(|(_, parameters)| *parameters)
    });
    let is_dict = tree.dict(state).is_some();
    let refused = Problem::limit(format!("its pickle gives a state to {}", tree.kind(object)));
    let Slot::Node(place) = object else { return Err(refused) };
    let parameters = parameters.filter(|parameters| tree.dict(*parameters).is_some());
    match tree.node_mut(place) {
        Node::Object(object) if *object.class == Global::ParameterDict => {
            object.state = parameters.ok_or_else(|| Problem::broken("a ParameterDict has no dict of parameters"))?;
            Ok(())
        }
        Node::Object(object) => {
            object.state = state;
            Ok(())
        }
        // An `OrderedDict` with attributes, such as the `_metadata` of a module's state: no part of the dict.
        Node::Dict(_) if is_dict => Ok(()),
        _ => Err(refused),
    }
}

/// What a persistent id names: a storage, or in the older form a module's class with its source, which is left alone.
pub(crate) fn persistent(tree: &mut Tree, id: Slot) -> Result<Slot, Problem> {
    if let Some(&[kind, class @ Slot::Global(_), _file, _source]) = tree.tuple(id)
        && tree.str(kind) == Some("module")
    {
        return Ok(class);
    }
    let storage = storage(tree, id)?;
    tree.add(Node::Storage(Box::new(storage)))
}

/// The storage that a persistent id names: `('storage', class, key, location, elements)`, and in the older form a sixth
/// value, None or `(key of the view, first element, elements)`.
fn storage(tree: &Tree, id: Slot) -> Result<StorageRef, Problem> {
    let bad = || Problem::broken("a reference to a storage is none");
    let items = tree.tuple(id).ok_or_else(bad)?;
    let (&[kind, class, key, _location, count], view) = items.split_first_chunk::<5>().ok_or_else(bad)?;
    let Slot::Global(&Global::Storage(_, dtype)) = class else { return Err(bad()) };
    let (Some("storage"), Some(key), Some(count)) = (tree.str(kind), tree.str(key), count_of(count)) else {
        return Err(bad());
    };
    if key.len() > MAX_KEY {
        return Err(Problem::broken(format!("a storage is called {}", quote(key))));
    }
    let view = match view {
        [] | [Slot::None] => (0, count),
        &[view] => match tree.tuple(view).ok_or_else(bad)? {
            &[_, first, elements] => count_of(first).zip(count_of(elements)).ok_or_else(bad)?,
            _ => return Err(bad()),
        },
        _ => return Err(bad()),
    };
    if view.0.checked_add(view.1).is_none_or(|end| end > count) {
        return Err(Problem::broken(format!("a part of storage {} reaches past its {count} elements", quote(key))));
    }
    Ok(StorageRef { key: Arc::from(key), dtype, count, view })
}

fn count_of(slot: Slot) -> Option<u64> {
    match slot {
        Slot::Int(n) => u64::try_from(n).ok(),
        _ => None,
    }
}

/// `(storage, offset, size, stride)`, and from version 2 on whether it is trained, hooks, in version 3 the dtype, and
/// perhaps metadata.
fn tensor(tree: &Tree, items: &[Slot], version: u8) -> Result<TensorNode, Problem> {
    let bad = || Problem::broken("the values it makes a tensor from make none");
    let (&[storage, offset, shape, strides], rest) = items.split_first_chunk::<4>().ok_or_else(bad)?;
    let Slot::Node(place) = storage else { return Err(bad()) };
    let Node::Storage(storage) = tree.node(place) else { return Err(bad()) };
    let dtype = match (version, rest) {
        (1, []) | (2, [_, _] | [_, _, _]) => storage.dtype,
        (
            3,
            [_, _, Slot::Global(Global::TorchDType(_, dtype))] | [_, _, Slot::Global(Global::TorchDType(_, dtype)), _],
        ) => *dtype,
        _ => return Err(bad()),
    };
    let numbers = |slot| -> Option<Vec<usize>> {
        let items = tree.sequence(slot).filter(|items| items.len() <= MAX_RANK)?;
        items.iter().map(|&item| usize::try_from(count_of(item)?).ok()).collect()
    };
    let (Some(offset), Some(shape), Some(strides)) = (count_of(offset), numbers(shape), numbers(strides)) else {
        return Err(bad());
    };
    let tensor = TensorNode { storage: (**storage).clone(), dtype, offset, shape, strides };
    if tensor.shape.len() != tensor.strides.len() || !fits(&tensor) {
        let TensorNode { storage, offset, shape, strides, .. } = &tensor;
        return Err(Problem::broken(format!(
            "a tensor of shape {shape:?}, strides {strides:?} and offset {offset} is not inside its storage {} of {} elements",
            quote(&storage.key),
            storage.view.1
        )));
    }
    Ok(tensor)
}

/// Whether every element of the tensor lies in its storage, and its bytes can be counted.
fn fits(tensor: &TensorNode) -> bool {
    let size = tensor.dtype.size() as u64;
    let span = || {
        let bytes = tensor.shape.iter().try_fold(size, |product, &n| product.checked_mul(n.try_into().ok()?))?;
        isize::try_from(bytes).ok()?;
        if bytes == 0 {
            return Some(0);
        }
        let last = tensor.shape.iter().zip(&tensor.strides).try_fold(tensor.offset, |last, (&n, &stride)| {
            last.checked_add(u64::try_from(n - 1).ok()?.checked_mul(stride.try_into().ok()?)?)
        })?;
        last.checked_add(1)?.checked_mul(size)
    };
    let storage = tensor.storage.view.1.checked_mul(tensor.storage.dtype.size() as u64);
    span().zip(storage).is_some_and(|(span, storage)| span <= storage)
}

/// A NumPy scalar as Python's number: Lightning's callbacks hold them. Others stay what they are made of.
fn number(tree: &mut Tree, dtype: Slot, data: Slot) -> Option<Slot> {
    let Slot::Node(place) = dtype else { return None };
    let Node::Object(object) = tree.node(place) else { return None };
    let &Object { class: Global::NumpyDType, args, state } = &**object else { return None };
    let kind = tree.str(*tree.tuple(args)?.first()?)?;
    // `(version, byte order, …)`
    let big = tree.tuple(state).and_then(|state| tree.str(*state.get(1)?)) == Some(">");
    let bytes = tree.bytes(data)?;
    let slot = match (kind, bytes) {
        _ if big => None,
        ("f8", bytes) => bytes.try_into().ok().map(|b| Slot::Float(f64::from_le_bytes(b))),
        ("f4", bytes) => bytes.try_into().ok().map(|b| Slot::Float(f32::from_le_bytes(b).into())),
        ("i8", bytes) => bytes.try_into().ok().map(|b| Slot::Int(i64::from_le_bytes(b))),
        ("i4", bytes) => bytes.try_into().ok().map(|b| Slot::Int(i32::from_le_bytes(b).into())),
        ("b1", &[byte]) => Some(Slot::Bool(byte != 0)),
        _ => None,
    };
    match slot {
        Some(slot) => Some(slot),
        None => tree.add(Node::Object(Box::new(Object { class: &Global::NumpyScalar, args: data, state: dtype }))).ok(),
    }
}
