use std::{collections::HashSet, sync::Arc};

use super::{Problem, globals::Global};
use crate::{DType, error::quote};

/// The most bytes that a pickle's values may take here, whatever the file says: far above what any checkpoint needs.
const MAX_HELD: usize = 32 << 20;
/// How deep containers may lie in each other.
const MAX_DEPTH: u16 = 256;
/// The most values there may be when shared parts are counted as often as they are met: a small pickle can unfold to more
/// values than there are atoms.
const MAX_UNFOLDED: u32 = 2_000_000;

/// One value: small ones whole, the others by their place in a [`Tree`]. To copy it copies nothing behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slot {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Global(&'static Global),
    Node(u32),
}

/// A value that has a place in a [`Tree`].
#[derive(Debug)]
pub(crate) enum Node {
    Str(Box<str>),
    Bytes(Box<[u8]>),
    /// Two's complement, little-endian, more than 64 bits.
    Big(Box<[u8]>),
    List(Vec<Slot>),
    Tuple(Box<[Slot]>),
    Set(Vec<Slot>),
    Dict(Vec<(Slot, Slot)>),
    Storage(Box<StorageRef>),
    Tensor(Box<TensorNode>),
    Object(Box<Object>),
}

/// An instance of a known class which is kept as data: what it was made of, and the state it was given.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) class: &'static Global,
    pub(crate) args: Slot,
    pub(crate) state: Slot,
}

/// What a pickle says of a storage, or of a part of one.
#[derive(Clone, Debug)]
pub(crate) struct StorageRef {
    pub(crate) key: Arc<str>,
    pub(crate) dtype: DType,
    /// Elements of the whole storage.
    pub(crate) count: u64,
    /// The elements of it that this is: `(first, how many)`.
    pub(crate) view: (u64, u64),
}

/// What a pickle says of a tensor. Nothing in it has been held against the file.
#[derive(Clone, Debug)]
pub(crate) struct TensorNode {
    pub(crate) storage: StorageRef,
    pub(crate) dtype: DType,
    /// The first element, in elements of the storage's view.
    pub(crate) offset: u64,
    pub(crate) shape: Vec<usize>,
    pub(crate) strides: Vec<usize>,
}

impl TensorNode {
    /// Bytes as it is read: seen not to overflow when it was made.
    pub(crate) fn byte_count(&self) -> u64 {
        (self.shape.iter().product::<usize>() * self.dtype.size()) as u64
    }
}

/// What a walk from a value meets, shared parts counted each time.
#[derive(Clone, Copy, Default)]
struct Unfolded {
    known: Known,
    depth: u16,
    values: u32,
    bytes: u64,
}

/// What is known of a node: nothing, that it is being looked at, or all.
#[derive(Clone, Copy, Default)]
enum Known {
    #[default]
    Nothing,
    Open,
    Done,
}

const _: () = assert!(size_of::<Unfolded>() <= 16 && size_of::<Node>() <= 32 && size_of::<Slot>() <= 16);

/// Every value of a pickle, in one list: nothing is copied when it is shared, a cycle holds nothing, and to let go of it
/// takes no recursion.
#[derive(Default)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    held: usize,
    unfolded_bytes: u64,
}

impl Tree {
    pub(crate) fn node(&self, place: u32) -> &Node {
        &self.nodes[place as usize]
    }

    pub(crate) fn add(&mut self, node: Node) -> Result<Slot, Problem> {
        let inside = match &node {
            Node::Str(text) => text.len(),
            Node::Bytes(bytes) | Node::Big(bytes) => bytes.len(),
            Node::List(items) | Node::Set(items) => size_of_val(items.as_slice()),
            Node::Tuple(items) => size_of_val(&**items),
            Node::Dict(pairs) => size_of_val(pairs.as_slice()),
            Node::Storage(_) => size_of::<StorageRef>(),
            Node::Tensor(tensor) => size_of::<TensorNode>() + 16 * tensor.shape.len(),
            Node::Object(_) => size_of::<Object>(),
        };
        // Also what will be known of it when all are checked.
        self.hold(inside + size_of::<Node>() + size_of::<Unfolded>())?;
        self.nodes.push(node);
        Ok(Slot::Node(self.nodes.len() as u32 - 1))
    }

    /// Accounts for `bytes` more, before they are taken.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Problem> {
        self.check_room(bytes as u64)?;
        self.held += bytes;
        Ok(())
    }

    /// That `bytes` more may be held.
    pub(crate) fn check_room(&self, bytes: u64) -> Result<(), Problem> {
        if bytes > (MAX_HELD - self.held) as u64 { Err(too_much()) } else { Ok(()) }
    }

    pub(crate) fn str(&self, slot: Slot) -> Option<&str> {
        match slot {
            Slot::Node(place) => match self.node(place) {
                Node::Str(text) => Some(text),
                _ => None,
            },
            _ => None,
        }
    }

    pub(crate) fn bytes(&self, slot: Slot) -> Option<&[u8]> {
        match slot {
            Slot::Node(place) => match self.node(place) {
                Node::Bytes(bytes) => Some(bytes),
                _ => None,
            },
            _ => None,
        }
    }

    pub(crate) fn tuple(&self, slot: Slot) -> Option<&[Slot]> {
        match slot {
            Slot::Node(place) => match self.node(place) {
                Node::Tuple(items) => Some(items),
                _ => None,
            },
            _ => None,
        }
    }

    /// The items of a list or a tuple.
    pub(crate) fn sequence(&self, slot: Slot) -> Option<&[Slot]> {
        match slot {
            Slot::Node(place) => match self.node(place) {
                Node::Tuple(items) => Some(items),
                Node::List(items) => Some(items),
                _ => None,
            },
            _ => None,
        }
    }

    pub(crate) fn dict(&self, slot: Slot) -> Option<&[(Slot, Slot)]> {
        match slot {
            Slot::Node(place) => match self.node(place) {
                Node::Dict(pairs) => Some(pairs),
                _ => None,
            },
            _ => None,
        }
    }

    pub(crate) fn tensor(&self, slot: Slot) -> Option<&TensorNode> {
        match slot {
            Slot::Node(place) => match self.node(place) {
                Node::Tensor(tensor) => Some(tensor),
                _ => None,
            },
            _ => None,
        }
    }

    /// What a `ParameterDict` holds; `None` for objects of other classes.
    pub(crate) fn parameters(&self, object: &Object) -> Option<&[(Slot, Slot)]> {
        if *object.class == Global::ParameterDict { self.dict(object.state) } else { None }
    }

    /// Every tensor, also those out of reach from the root.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &TensorNode> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Tensor(tensor) => Some(&**tensor),
            _ => None,
        })
    }

    /// Every reference to a storage, also those out of reach from the root.
    pub(crate) fn storages(&self) -> impl Iterator<Item = &StorageRef> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Storage(storage) => Some(&**storage),
            _ => None,
        })
    }

    /// Bytes of the tensors that are met on a walk from the root, shared ones counted each time.
    pub(crate) fn unfolded_bytes(&self) -> u64 {
        self.unfolded_bytes
    }

    pub(crate) fn node_mut(&mut self, place: u32) -> &mut Node {
        &mut self.nodes[place as usize]
    }

    /// Adds items to a list or a set.
    pub(crate) fn extend(&mut self, to: Slot, items: &[Slot]) -> Result<(), Problem> {
        // A vector takes up to twice what it needs.
        self.hold(2 * size_of_val(items))?;
        let place = match to {
            Slot::Node(place) => place,
            _ => return Err(Problem::broken("it adds items to what is no list")),
        };
        let is_set = matches!(self.node(place), Node::Set(_));
        if is_set && let Some(bad) = items.iter().find(|&&item| !self.is_hashable(item)) {
            return Err(Problem::broken(format!("it adds {} to a set", self.kind(*bad))));
        }
        match self.node_mut(place) {
            Node::List(list) | Node::Set(list) => list.extend_from_slice(items),
            _ => return Err(Problem::broken("it adds items to what is no list")),
        }
        Ok(())
    }

    /// Adds pairs, flattened, to a dict.
    pub(crate) fn insert(&mut self, to: Slot, flat: &[Slot]) -> Result<(), Problem> {
        self.hold(2 * size_of_val(flat))?;
        let (pairs, rest) = flat.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(Problem::broken("it has a key without a value"));
        }
        if let Some([bad, _]) = pairs.iter().find(|[key, _]| !self.is_hashable(*key)) {
            return Err(Problem::broken(format!("it has {} as a key", self.kind(*bad))));
        }
        let dict = match to {
            Slot::Node(place) => self.node_mut(place),
            _ => return Err(Problem::broken("it sets keys of what is no dict")),
        };
        match dict {
            Node::Dict(dict) => dict.extend(pairs.iter().map(|&[key, value]| (key, value))),
            _ => return Err(Problem::broken("it sets keys of what is no dict")),
        }
        Ok(())
    }

    fn is_hashable(&self, slot: Slot) -> bool {
        match slot {
            Slot::Node(place) => !matches!(self.node(place), Node::List(_) | Node::Set(_) | Node::Dict(_)),
            _ => true,
        }
    }

    /// What a value is, with its article.
    pub(crate) fn kind(&self, slot: Slot) -> &'static str {
        match slot {
            Slot::None => "None",
            Slot::Bool(_) => "a bool",
            Slot::Int(_) => "an integer",
            Slot::Float(_) => "a float",
            Slot::Global(_) => "a name",
            Slot::Node(place) => match self.node(place) {
                Node::Str(_) => "a text",
                Node::Bytes(_) => "bytes",
                Node::Big(_) => "a large integer",
                Node::List(_) => "a list",
                Node::Tuple(_) => "a tuple",
                Node::Set(_) => "a set",
                Node::Dict(_) => "a dict",
                Node::Storage(_) => "a storage",
                Node::Tensor(_) => "a tensor",
                Node::Object(_) => "an object",
            },
        }
    }

    /// That a walk from `root` ends, is not deep and not long. Objects are closed: nothing walks into them, but for the
    /// parameters of a `ParameterDict`.
    pub(crate) fn check_shape(&mut self, root: Slot) -> Result<(), Problem> {
        let Slot::Node(root) = root else { return Ok(()) };
        let mut sizes = vec![Unfolded::default(); self.nodes.len()];
        let mut path = vec![(root, 0_usize)];
        sizes[root as usize].known = Known::Open;
        while let Some((place, next)) = path.last_mut() {
            if let Some(child) = self.child(*place, *next) {
                *next += 1;
                let Slot::Node(child) = child else { continue };
                match sizes[child as usize].known {
                    Known::Done => {}
                    Known::Open => return Err(Problem::limit("its pickle holds a value that contains itself")),
                    Known::Nothing if path.len() >= usize::from(MAX_DEPTH) => return Err(too_deep()),
                    Known::Nothing => {
                        sizes[child as usize].known = Known::Open;
                        path.push((child, 0));
                    }
                }
                continue;
            }
            let place = *place;
            self.check_keys(place)?;
            let size = self.unfold(place, &sizes);
            if size.depth > MAX_DEPTH {
                return Err(too_deep());
            }
            if size.values > MAX_UNFOLDED {
                return Err(Problem::limit(format!("its pickle unfolds to more than {MAX_UNFOLDED} values")));
            }
            sizes[place as usize] = size;
            path.pop();
        }
        self.unfolded_bytes = sizes[root as usize].bytes;
        Ok(())
    }

    /// The size of a node, all of whose children are known.
    fn unfold(&self, place: u32, sizes: &[Unfolded]) -> Unfolded {
        let mut size = Unfolded { known: Known::Done, depth: 1, values: 1, bytes: 0 };
        if let Node::Tensor(tensor) = self.node(place) {
            size.bytes = tensor.byte_count();
        }
        for n in 0.. {
            let Some(child) = self.child(place, n) else { break };
            let below = match child {
                Slot::Node(child) => sizes[child as usize],
                _ => Unfolded { values: 1, ..Unfolded::default() },
            };
            size.depth = size.depth.max(below.depth + 1);
            size.values = size.values.saturating_add(below.values);
            size.bytes = size.bytes.saturating_add(below.bytes);
        }
        size
    }

    /// That no key of a dict stands in it twice: Python would keep the last, another reader the first.
    fn check_keys(&self, place: u32) -> Result<(), Problem> {
        let Node::Dict(pairs) = self.node(place) else { return Ok(()) };
        let (mut texts, mut numbers) = (HashSet::new(), HashSet::new());
        for &(key, _) in pairs {
            let new = match key {
                Slot::Int(n) => numbers.insert(n),
                Slot::Bool(b) => numbers.insert(b.into()),
                key => self.str(key).is_none_or(|text| texts.insert(text)),
            };
            if !new {
                let shown = self.str(key).map_or_else(|| "of a number".to_owned(), quote);
                return Err(Problem::limit(format!("its pickle has the key {shown} twice in a dict")));
            }
        }
        Ok(())
    }

    /// The `n`th value in a container.
    fn child(&self, place: u32, n: usize) -> Option<Slot> {
        match self.node(place) {
            Node::List(items) | Node::Set(items) => items.get(n).copied(),
            Node::Tuple(items) => items.get(n).copied(),
            Node::Object(object) if *object.class == Global::ParameterDict && n == 0 => Some(object.state),
            Node::Dict(pairs) => pairs.get(n / 2).map(|&(key, value)| if n.is_multiple_of(2) { key } else { value }),
            _ => None,
        }
    }
}

fn too_deep() -> Problem {
    Problem::limit(format!("its pickle nests deeper than {MAX_DEPTH}"))
}

fn too_much() -> Problem {
    Problem::limit(format!("its pickle holds more than {} MiB of values", MAX_HELD >> 20))
}
