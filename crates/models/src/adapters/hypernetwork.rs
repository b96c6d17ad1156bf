use std::{collections::BTreeMap, sync::Arc};

use calotype_formats::{Dict, Items, TorchFile, TorchTensor, Value};
use calotype_tensor::{Backend, Result as Computed};

use crate::{
    Error, InMemory, Result, Scope,
    curve::Curve,
    error::quote,
    layers::{LayerNorm, Linear},
    params::with_backend,
};

/// Wider than any context.
const MAX_WIDTH: usize = 1 << 14;
/// More linear maps than anybody trained one after the other.
const MAX_LAYERS: usize = 32;
/// PyTorch's, which A1111 leaves as it is.
const LAYER_NORM_EPS: f32 = 1e-5;

/// A hypernetwork of A1111's form (`modules/hypernetworks/hypernetwork.py`): for contexts of each width two small networks
/// that change them, one before keys are made of them, one before values, in every attention of the UNet: `x + strength · f(x)`.
///
/// Its weights are in the file until [`load`](Self::load).
pub struct Hypernetwork {
    file: TorchFile,
    structure: Structure,
    /// The widths of its networks' contexts, ascending.
    widths: Vec<usize>,
}

/// What all networks of a hypernetwork have in common.
#[derive(Clone, Debug)]
struct Structure {
    /// The width after each linear map, in widths of the context; the first is before them all.
    layers: Vec<f64>,
    curve: Option<Curve>,
    /// Whether the curve follows the last linear map too.
    curve_at_end: bool,
    norms: bool,
}

/// Two networks for contexts of one width.
#[derive(Clone, Debug)]
struct Pair<P> {
    key: Network<P>,
    value: Network<P>,
}

#[derive(Clone, Debug)]
struct Network<P>(Vec<Layer<P>>);

/// A linear map, and what follows it.
#[derive(Clone, Debug)]
struct Layer<P> {
    linear: Linear<P>,
    curve: Option<Curve>,
    norm: Option<LayerNorm<P>>,
}

/// A hypernetwork whose weights are a backend's, and how strongly it is applied. Clones share the weights.
#[derive(Clone, Debug)]
pub struct LoadedHypernetwork<P> {
    /// By the width of the context.
    pairs: Arc<BTreeMap<usize, Pair<P>>>,
    /// What multiplies the change.
    pub strength: f32,
}

impl Hypernetwork {
    /// Reads what a file says of its networks. Reads no weights.
    ///
    /// # Errors
    /// It is no hypernetwork, or one of a kind that A1111 would not load.
    pub fn new(file: TorchFile) -> Result<Self> {
        let (structure, widths) = {
            let reader = Reader { file: &file };
            let root = reader.root()?;
            (reader.structure(root)?, reader.widths(root)?)
        };
        Ok(Self { file, structure, widths })
    }

    /// The widths of the contexts that it changes, ascending.
    #[must_use]
    pub fn widths(&self) -> &[usize] {
        &self.widths
    }

    /// The width after each linear map, in widths of the context; the first is before them all.
    #[must_use]
    pub fn layer_structure(&self) -> &[f64] {
        &self.structure.layers
    }

    /// The name of the curve after each linear map, if there is one; and whether it follows the last, too.
    #[must_use]
    pub fn activation(&self) -> (Option<String>, bool) {
        let name = self.structure.curve.map(|curve| format!("{curve:?}").to_ascii_lowercase());
        (name, self.structure.curve_at_end)
    }

    /// Whether norms follow the linear maps.
    #[must_use]
    pub fn has_norms(&self) -> bool {
        self.structure.norms
    }

    /// Reads the weights.
    ///
    /// # Errors
    /// A tensor is missing, misshapen, no finite number, or can't be read.
    pub fn load<B: Backend>(&self, b: &B, strength: f32) -> Result<LoadedHypernetwork<B::Param>> {
        let reader = Reader { file: &self.file };
        let root = reader.root()?;
        let mut pairs = BTreeMap::new();
        for &width in &self.widths {
            let [key, value] = reader.pair(root, width)?;
            let network = |state: Dict<'_>| {
                let mut tensors = reader.tensors(state, width, &self.structure)?;
                with_backend(b, &mut tensors, |scope| Network::new(scope, width, &self.structure))
            };
            pairs.insert(width, Pair { key: network(key)?, value: network(value)? });
        }
        Ok(LoadedHypernetwork { pairs: Arc::new(pairs), strength })
    }
}

impl<P> LoadedHypernetwork<P> {
    /// The contexts that keys and values are made of, from `[key, value]` of the hypernetworks before it, `(B, L, C)`. The
    /// curves are computed outside the backend: no gradient comes through them.
    pub(crate) fn forward<B: Backend<Param = P>>(
        &self,
        b: &B,
        [key, value]: [B::Tensor; 2],
    ) -> Computed<[B::Tensor; 2]> {
        let shape = b.shape(&key);
        let Some(pair) = self.pairs.get(&shape.last()) else { return Ok([key, value]) };
        let change = |network: &Network<P>, x: &B::Tensor| b.add(x, &b.scale(&network.forward(b, x)?, self.strength)?);
        Ok([change(&pair.key, &key)?, change(&pair.value, &value)?])
    }
}

impl<P> Network<P> {
    fn new(scope: &mut Scope<'_, P>, width: usize, structure: &Structure) -> Result<Self> {
        let widths = structure.widths(width);
        let last = widths.len().saturating_sub(2);
        let layers = widths.windows(2).enumerate().map(|(n, widths)| {
            let &[inputs, outputs] = widths else { unreachable!("windows of two") };
            let mut scope = scope.sub(n);
            Ok(Layer {
                linear: Linear::new(scope.sub("linear"), inputs, outputs)?,
                curve: structure.curve.filter(|_| n < last || structure.curve_at_end),
                norm: structure
                    .norms
                    .then(|| LayerNorm::new(scope.sub("norm"), outputs, LAYER_NORM_EPS))
                    .transpose()?,
            })
        });
        Ok(Self(layers.collect::<Result<_>>()?))
    }

    /// `x (B, L, C)` to the same.
    fn forward<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        let mut x = x.clone();
        for Layer { linear, curve, norm } in &self.0 {
            x = linear.forward(b, &x)?;
            if let Some(curve) = curve {
                x = curve.forward(b, &x)?;
            }
            if let Some(norm) = norm {
                x = norm.forward(b, &x)?;
            }
        }
        Ok(x)
    }
}

impl Structure {
    /// The widths before and after each linear map, as A1111 rounds them.
    fn widths(&self, width: usize) -> Vec<usize> {
        self.layers.iter().map(|factor| (width as f64 * factor) as usize).collect()
    }
}

/// Reads a hypernetwork's file.
#[derive(Clone, Copy)]
struct Reader<'a> {
    file: &'a TorchFile,
}

impl<'a> Reader<'a> {
    fn refuse<T>(self, problem: impl Into<String>) -> Result<T> {
        Err(Error::Adapter { source_label: self.file.label().to_owned(), problem: problem.into() })
    }

    fn root(self) -> Result<Dict<'a>> {
        match self.file.root() {
            Value::Dict(root) => Ok(root),
            _ => self.refuse("it holds no dict, so it is no hypernetwork"),
        }
    }

    fn structure(self, root: Dict<'a>) -> Result<Structure> {
        let flag = |key: &str, default: bool| match root.get(key) {
            Some(Value::Bool(flag)) => flag,
            _ => default,
        };
        let layers: Vec<f64> = match root.get("layer_structure") {
            Some(Value::List(items) | Value::Tuple(items)) if items.len() <= MAX_LAYERS => {
                items.iter().map_while(|item| number(&item)).collect()
            }
            None | Some(Value::None) => vec![1.0, 2.0, 1.0],
            Some(_) => Vec::new(),
        };
        let ends = layers.first() == Some(&1.0) && layers.last() == Some(&1.0);
        if layers.len() < 2 || !ends || !layers.iter().all(|x| (1e-3..=64.0).contains(x)) {
            return self.refuse(format!(
                "layer_structure is {layers:?}, expected 2 to {MAX_LAYERS} factors from 1 to 1: this is no hypernetwork"
            ));
        }
        let curve = match root.get("activation_func") {
            None | Some(Value::None) | Some(Value::Str("linear")) => None,
            Some(Value::Str(name)) => match Curve::named(name) {
                Some(curve) => Some(curve),
                None => return self.refuse(format!("activation_func {} is not supported", quote(name))),
            },
            Some(_) => return self.refuse("activation_func is no text: this is no hypernetwork"),
        };
        let curve_at_end = flag("activate_output", true);
        Ok(Structure { layers, curve, curve_at_end, norms: flag("is_layer_norm", false) })
    }

    /// The keys that are numbers.
    fn widths(self, root: Dict<'a>) -> Result<Vec<usize>> {
        let mut widths = Vec::new();
        for (key, _) in root.iter() {
            let Value::Int(width) = key else { continue };
            match usize::try_from(width) {
                Ok(width) if (1..=MAX_WIDTH).contains(&width) => widths.push(width),
                _ => return self.refuse(format!("a network for contexts of width {width}, expected 1 to {MAX_WIDTH}")),
            }
        }
        if widths.is_empty() {
            return self.refuse("it has no networks for contexts of any width, so it is no hypernetwork");
        }
        widths.sort_unstable();
        Ok(widths)
    }

    /// The state of a width's two networks.
    fn pair(self, root: Dict<'a>, width: usize) -> Result<[Dict<'a>; 2]> {
        let found = root.iter().find_map(|(key, value)| match (key, value) {
            (Value::Int(n), Value::Tuple(pair) | Value::List(pair)) if usize::try_from(n) == Ok(width) => Some(pair),
            _ => None,
        });
        let state = |pair: Items<'a>, n: usize| match pair.get(n) {
            Some(Value::Dict(state)) => Some(state),
            _ => None,
        };
        match found.and_then(|pair| Some([state(pair, 0)?, state(pair, 1)?])) {
            Some(pair) => Ok(pair),
            None => self.refuse(format!("width {width} has not the states of two networks: this is no hypernetwork")),
        }
    }

    /// The tensors of one network, under the names that [`Network::new`] asks for. In the file they are numbered through with
    /// curves and dropouts between them; but the order is the same.
    fn tensors(self, state: Dict<'a>, width: usize, structure: &Structure) -> Result<InMemory> {
        let mut numbered: BTreeMap<usize, [Option<TorchTensor<'a>>; 2]> = BTreeMap::new();
        for (key, value) in state.iter() {
            let (Value::Str(key), Value::Tensor(tensor)) = (key, value) else { continue };
            let place = key.strip_prefix("linear").and_then(|rest| {
                // The first version had `linear1.` and `linear2.`.
                let (n, part) = rest.strip_prefix('.').unwrap_or(rest).split_once('.')?;
                Some((n.parse().ok()?, ["weight", "bias"].iter().position(|name| *name == part)?))
            });
            let Some((n, part)) = place else {
                return self.refuse(format!("tensor {} of width {width} is of no hypernetwork", quote(key)));
            };
            numbered.entry(n).or_default()[part] = Some(tensor);
        }
        let widths = structure.widths(width);
        let kinds = widths.windows(2).enumerate().flat_map(|(n, widths)| {
            let (inputs, outputs) = (widths[0], widths[1]);
            let norm = structure.norms.then(|| (format!("{n}.norm"), vec![outputs], outputs));
            [(format!("{n}.linear"), vec![outputs, inputs], outputs)].into_iter().chain(norm)
        });
        let kinds: Vec<_> = kinds.collect();
        if kinds.len() != numbered.len() {
            let (got, expected) = (numbered.len(), kinds.len());
            return self
                .refuse(format!("width {width} has {got} layers with weights, by its layer_structure {expected}"));
        }
        let mut tensors = InMemory::default();
        for ((name, shape, outputs), (n, [weight, bias])) in kinds.into_iter().zip(numbered) {
            for (part, tensor, shape) in [("weight", weight, shape), ("bias", bias, vec![outputs])] {
                let Some(tensor) = tensor.filter(|tensor| tensor.shape() == shape) else {
                    let got = tensor.map_or("missing".to_owned(), |tensor| format!("{:?}", tensor.shape()));
                    return self.refuse(format!("linear.{n}.{part} of width {width} is {got}, expected {shape:?}"));
                };
                let values = tensor.read_f32()?;
                if let Some(got) = values.iter().find(|x| !x.is_finite()) {
                    return self.refuse(format!("linear.{n}.{part} of width {width} has the value {got}"));
                }
                tensors.0.insert(format!("{name}.{part}"), values);
            }
        }
        Ok(tensors)
    }
}

fn number(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Int(n) => Some(*n as f64),
        Value::Float(x) => Some(*x),
        _ => None,
    }
}
