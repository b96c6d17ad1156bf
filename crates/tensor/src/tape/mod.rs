//! The gradient tape: a backend that wraps another one and records, for reverse-mode differentiation
//! (Linnainmaa 1970; Griewank & Walther 2008, chapter 3).
//!
//! A forward pass over a [`Tape`] computes with the inner backend. Every operation that depends on a parameter or on a
//! leaf leaves a node, which keeps what its backward needs; [`Tape::backward`] walks the nodes from the last to the
//! first and frees each as soon as it has passed it. Operations on constants leave nothing.

mod gradients;
mod low_rank;
mod ops;
mod parameter;
mod record;
mod var;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::{Differentiable, Error, ParamKind, Result, op_shapes};

pub use gradients::Gradients;
pub use low_rank::LowRank;
pub use parameter::Parameter;
pub use var::Var;

use record::Recording;
use var::Source;

/// A [`Backend`](crate::Backend) that computes with `B` and records for the gradient.
///
/// One step of training is a forward pass, [`backward`](Self::backward), and a change of the [`parameters`](Self::parameters).
/// A tape is for one thread; the inner backend may use as many as it likes.
pub struct Tape<B: Differentiable> {
    inner: B,
    mode: Cell<Mode>,
    parameters: RefCell<Vec<Parameter<B>>>,
    /// How often any parameter has changed: a gradient of values that are gone would be wrong.
    changes: Rc<Cell<u64>>,
    /// Whether the parameters count as constants for now.
    frozen: Rc<Cell<bool>>,
    recording: RefCell<Recording<B>>,
    leaves: Cell<u64>,
    /// Changes of weights, by the weights' names.
    changed: RefCell<HashMap<String, Rc<LowRank<B>>>>,
}

/// What becomes of an operation that depends on a parameter or a leaf.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// It is recorded.
    Record,
    /// It is recorded, for the walk that runs a checkpoint's block again.
    Replay,
    /// It is only marked: the checkpoint around it is recorded as one node.
    Checkpoint,
    /// It is a constant.
    NoGrad,
}

impl<B: Differentiable> Tape<B> {
    /// A tape without parameters, over `inner`.
    pub fn new(inner: B) -> Self {
        Self {
            inner,
            mode: Cell::new(Mode::Record),
            parameters: RefCell::new(Vec::new()),
            changes: Rc::new(Cell::new(0)),
            frozen: Rc::new(Cell::new(false)),
            recording: RefCell::new(Recording::new()),
            leaves: Cell::new(0),
            changed: RefCell::new(HashMap::new()),
        }
    }

    /// The backend that computes.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// Every parameter made with [`Backend::param`](crate::Backend::param) on this tape, in the order in which they were made.
    pub fn parameters(&self) -> Vec<Parameter<B>> {
        self.parameters.borrow().clone()
    }

    /// A trained parameter with this value, in the layout of its kind; a constant in [`no_grad`](Self::no_grad).
    ///
    /// # Errors
    /// The tape has one of this name, or the value has not the rank of its kind.
    pub fn parameter(&self, name: &str, kind: ParamKind, value: B::Tensor) -> Result<Parameter<B>> {
        let shape = self.inner.shape(&value);
        op_shapes::param(kind, shape)?;
        if self.mode.get() == Mode::NoGrad {
            let frozen = Rc::new(Cell::new(true));
            return Ok(Parameter::new(name, kind, shape, usize::MAX, value, self.changes.clone(), frozen));
        }
        let mut parameters = self.parameters.borrow_mut();
        if parameters.iter().any(|p| p.name() == name) {
            return invalid("param", format!("the name {name:?} is taken, expected each parameter once"));
        }
        let parameter =
            Parameter::new(name, kind, shape, parameters.len(), value, self.changes.clone(), self.frozen.clone());
        parameters.push(parameter.clone());
        Ok(parameter)
    }

    /// A value without a gradient.
    pub fn constant(&self, value: B::Tensor) -> Var<B> {
        Var::new(value, None)
    }

    /// A value whose gradient [`Gradients::leaf`] gives. It can be used in any number of recordings.
    pub fn leaf(&self, value: B::Tensor) -> Var<B> {
        let id = self.leaves.replace(self.leaves.get() + 1);
        Var::new(value, Some(Source::Leaf(id)))
    }

    /// Runs `f` without recording: what it computes are constants, and so are parameters that it makes, which are none of the
    /// tape's [`parameters`](Self::parameters).
    pub fn no_grad<R>(&self, f: impl FnOnce(&Self) -> R) -> R {
        self.in_mode(Mode::NoGrad, f)
    }

    /// Runs `f` with the parameters as constants: what it records leads to leaves only.
    pub fn frozen<R>(&self, f: impl FnOnce(&Self) -> R) -> R {
        let before = self.frozen.replace(true);
        let result = f(self);
        self.frozen.set(before);
        result
    }

    /// How many nodes the recording holds now.
    pub fn recorded(&self) -> usize {
        self.recording.borrow().len()
    }

    /// Forgets the recording, for a forward pass that wants no gradient or that has failed.
    pub fn clear(&self) {
        // The nodes are dropped after the borrow has ended: a checkpoint's block may own anything, even this tape's parameters.
        let nodes = self.recording.borrow_mut().take();
        drop(nodes);
    }

    fn in_mode<R>(&self, mode: Mode, f: impl FnOnce(&Self) -> R) -> R {
        let before = self.mode.replace(mode);
        let result = f(self);
        self.mode.set(before);
        result
    }
}

fn invalid<T>(op: &'static str, message: impl Into<String>) -> Result<T> {
    Err(Error::Invalid { op, message: message.into() })
}
