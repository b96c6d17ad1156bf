//! Where parameters come from.
//!
//! A network's constructor walks down a [`Scope`], which carries the dotted checkpoint path, and asks for each parameter
//! by name, kind and shape. What answers is either a backend fed by a [`ParamSource`], read
//! piece by piece, so that a model is never held twice; or a list, so that everything is known before anything is read.

mod random;
mod scale;
pub(crate) mod stored;

use std::{collections::HashMap, fmt::Display};

use calotype_tensor::{Backend, ParamData, ParamKind, ParamRole, Shape};

pub use random::Random;
pub use stored::Stored;

use crate::{Error, Result};

/// One parameter that a network has.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// Its checkpoint path, in diffusers' and transformers' names.
    pub name: String,
    /// What it is.
    pub kind: ParamKind,
    /// Its shape in a file: a convolution's is `(O, I, KH, KW)`, a linear map's `(O, I)`.
    pub shape: Vec<usize>,
    /// How training starts it.
    pub init: Init,
    /// Whether it may be kept in 8 bits ([`ParamRole::quantise`]).
    pub quantise: bool,
}

impl ParamSpec {
    /// The number of its elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// What a backend needs to know of it.
    #[must_use]
    pub fn role(&self) -> ParamRole {
        ParamRole { kind: self.kind, quantise: self.quantise }
    }
}

/// The distribution that training starts a parameter from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All 0.
    Zeros,
    /// All 1.
    Ones,
    /// Uniform in `-bound..bound`. PyTorch's layers use `1/√fan_in` (He et al. 2015 with `a = √5`).
    Uniform(f32),
    /// Normal with this standard deviation around 0.
    Normal(f32),
    /// Normal with this standard deviation around 1.
    NormalAroundOne(f32),
}

/// Something that has the values of parameters.
pub trait ParamSource {
    /// The elements of one parameter, row-major in its file layout ([`ParamSpec::shape`]).
    ///
    /// # Errors
    /// There is no such parameter, or it has another shape.
    fn data(&mut self, spec: &ParamSpec) -> Result<Box<dyn ParamData + '_>>;
}

/// Values by checkpoint path, in file layout.
#[derive(Clone, Debug, Default)]
pub struct InMemory(pub HashMap<String, Vec<f32>>);

impl ParamSource for InMemory {
    /// Takes the value out, so that its memory is freed as the model is made.
    fn data(&mut self, spec: &ParamSpec) -> Result<Box<dyn ParamData + '_>> {
        let source_label = || "parameters in memory".to_owned();
        let data = self.0.remove(&spec.name).ok_or_else(|| Error::Missing {
            source_label: source_label(),
            tensor: spec.name.clone(),
            others: 0,
            by_config: false,
        })?;
        if data.len() == spec.count() {
            return Ok(Box::new(data));
        }
        Err(Error::Misshapen {
            source_label: source_label(),
            tensor: spec.name.clone(),
            expected: format!("{:?}", spec.shape),
            got: format!("{} elements", data.len()),
            by_config: false,
        })
    }
}

/// Answers a constructor: turns what it asks for into a parameter of form `P`.
trait ParamFactory<P> {
    fn make(&mut self, spec: ParamSpec) -> Result<P>;
}

/// Makes parameters of a backend.
struct Loader<'a, B> {
    backend: &'a B,
    source: &'a mut dyn ParamSource,
}

impl<B: Backend> ParamFactory<B::Param> for Loader<'_, B> {
    fn make(&mut self, spec: ParamSpec) -> Result<B::Param> {
        let data = self.source.data(&spec)?;
        Ok(self.backend.param(&spec.name, spec.role(), Shape::new(&spec.shape)?, &*data)?)
    }
}

/// Lists parameters and makes none.
impl ParamFactory<()> for Vec<ParamSpec> {
    fn make(&mut self, spec: ParamSpec) -> Result<()> {
        self.push(spec);
        Ok(())
    }
}

/// A place in the tree of checkpoint names, where a constructor asks for parameters.
pub struct Scope<'a, P> {
    factory: &'a mut dyn ParamFactory<P>,
    path: String,
    quantise: bool,
}

impl<'a, P> Scope<'a, P> {
    fn root(factory: &'a mut dyn ParamFactory<P>) -> Self {
        Self { factory, path: String::new(), quantise: true }
    }

    /// The place `name` below this one.
    pub fn sub(&mut self, name: impl Display) -> Scope<'_, P> {
        let path = self.join(name);
        Scope { factory: &mut *self.factory, path, quantise: self.quantise }
    }

    /// The same place once more.
    pub(crate) fn here(&mut self) -> Scope<'_, P> {
        Scope { factory: &mut *self.factory, path: self.path.clone(), quantise: self.quantise }
    }

    /// The same place, for a layer whose weights are never kept in 8 bits: its result goes into all others, or out of the network.
    pub(crate) fn unquantised(self) -> Self {
        Self { quantise: false, ..self }
    }

    /// The parameter `name` here; `shape` is its file layout.
    pub(crate) fn param(&mut self, name: &str, kind: ParamKind, shape: &[usize], init: Init) -> Result<P> {
        let name = self.join(name);
        self.factory.make(ParamSpec { name, kind, shape: shape.to_vec(), init, quantise: self.quantise })
    }

    fn join(&self, name: impl Display) -> String {
        if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) }
    }
}

/// Runs a constructor with `backend`'s parameters from `source`.
pub(crate) fn with_backend<B: Backend, T>(
    backend: &B,
    source: &mut dyn ParamSource,
    new: impl FnOnce(&mut Scope<'_, B::Param>) -> Result<T>,
) -> Result<T> {
    new(&mut Scope::root(&mut Loader { backend, source }))
}

/// Runs a constructor only to list what it asks for.
pub(crate) fn list<T>(new: impl FnOnce(&mut Scope<'_, ()>) -> Result<T>) -> Result<Vec<ParamSpec>> {
    let mut specs = Vec::new();
    new(&mut Scope::root(&mut specs))?;
    Ok(specs)
}
