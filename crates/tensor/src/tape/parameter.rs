use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::var::Source;
use crate::{Differentiable, ParamKind, Result, Shape, op_shapes};

/// A trained parameter: its value, and the packed form that the inner backend computes with. Cloning shares it.
///
/// The packed form is made when an operation first asks for it, and once more after each change. A parameter must not
/// change between a forward pass and its backward; [`Tape::backward`](super::Tape::backward) refuses if one did.
pub struct Parameter<B: Differentiable>(Rc<Inner<B>>);

struct Inner<B: Differentiable> {
    name: String,
    kind: ParamKind,
    shape: Shape,
    index: usize,
    changes: Rc<Cell<u64>>,
    /// Whether it counts as constant for now; shared by all of a tape.
    frozen: Rc<Cell<bool>>,
    value: RefCell<B::Tensor>,
    packed: RefCell<Option<B::Param>>,
}

impl<B: Differentiable> Parameter<B> {
    pub(super) fn new(
        name: &str,
        kind: ParamKind,
        shape: Shape,
        index: usize,
        value: B::Tensor,
        changes: Rc<Cell<u64>>,
        frozen: Rc<Cell<bool>>,
    ) -> Self {
        let (value, packed) = (RefCell::new(value), RefCell::new(None));
        Self(Rc::new(Inner { name: name.to_owned(), kind, shape, index, changes, frozen, value, packed }))
    }

    /// The checkpoint path.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What the parameter is.
    pub fn kind(&self) -> ParamKind {
        self.0.kind
    }

    /// The shape, in the layout of its kind.
    pub fn shape(&self) -> Shape {
        self.0.shape
    }

    /// The place in [`Tape::parameters`](super::Tape::parameters).
    pub fn index(&self) -> usize {
        self.0.index
    }

    /// The value, of the same storage.
    pub fn value(&self) -> B::Tensor {
        self.0.value.borrow().clone()
    }

    /// Replaces the value. Errors when it has another shape.
    pub fn set(&self, inner: &B, value: B::Tensor) -> Result<()> {
        op_shapes::same("set", "value", self.0.shape, inner.shape(&value))?;
        self.update(|old| {
            *old = value;
            Ok(())
        })
    }

    /// Changes the value in place. The tape holds no other copy of it while `f` runs, so that `f` need not copy it.
    ///
    /// `f` must keep the shape and must not touch this same parameter in another way. When it fails, the value is as `f` left it.
    pub fn update(&self, f: impl FnOnce(&mut B::Tensor) -> Result<()>) -> Result<()> {
        self.0.changes.set(self.0.changes.get() + 1);
        // First, since a backend may pack a parameter by sharing its value.
        self.0.packed.take();
        f(&mut self.0.value.borrow_mut())
    }

    /// The form that the inner backend computes with.
    pub(super) fn packed(&self, inner: &B) -> Result<B::Param> {
        let mut packed = self.0.packed.borrow_mut();
        if let Some(packed) = &*packed {
            return Ok(packed.clone());
        }
        Ok(packed.insert(inner.pack(self.0.kind, &self.0.value.borrow())?).clone())
    }

    /// Forgets the packed form once its gradient is known: it is made again when an operation asks for it, and until then its
    /// memory holds gradients.
    pub(super) fn release(&self) {
        if self.source().is_some() {
            self.0.packed.take();
        }
    }

    pub(super) fn source(&self) -> Option<Source> {
        (!self.0.frozen.get()).then_some(Source::Parameter(self.0.index))
    }
}

impl<B: Differentiable> Clone for Parameter<B> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}
