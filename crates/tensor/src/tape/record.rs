use super::var::Source;
use super::{Gradients, Mode, Tape, Var, invalid};
use crate::{Backend, Differentiable, Result, op_shapes};

/// The nodes of a forward pass, in the order in which they were computed.
pub(super) struct Recording<B: Differentiable> {
    nodes: Vec<Node<B>>,
    next_serial: u64,
    /// The tape's count of changes at the first node.
    changes: u64,
}

/// One operation that happened.
pub(super) struct Node<B: Differentiable> {
    serial: u64,
    /// `∂L/∂y`, as far as it has come together.
    gradient: Option<B::Tensor>,
    backward: Backward<B>,
}

/// Takes `∂L/∂y` and [gives](Walk::give) the gradients of the operation's arguments. It owns what it needs of the forward pass.
type Backward<B> = Box<dyn FnOnce(&mut Walk<'_, B>, <B as Backend>::Tensor) -> Result<()>>;

/// One run from the loss back to the parameters.
pub(super) struct Walk<'a, B: Differentiable> {
    tape: &'a Tape<B>,
    gradients: Gradients<B>,
}

impl<B: Differentiable> Recording<B> {
    pub(super) fn new() -> Self {
        Self { nodes: Vec::new(), next_serial: 0, changes: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Empties the recording. Serial numbers go on, so that values of the old one are known as such.
    pub(super) fn take(&mut self) -> Vec<Node<B>> {
        std::mem::take(&mut self.nodes)
    }

    fn push(&mut self, changes: u64, backward: Backward<B>) -> Source {
        if self.nodes.is_empty() {
            self.changes = changes;
        }
        let (index, serial) = (self.nodes.len(), self.next_serial);
        self.next_serial += 1;
        self.nodes.push(Node { serial, gradient: None, backward });
        Source::Node { index, serial }
    }

    fn node(&mut self, index: usize, serial: u64) -> Option<&mut Node<B>> {
        self.nodes.get_mut(index).filter(|node| node.serial == serial)
    }
}

impl<B: Differentiable> Tape<B> {
    /// `value` as the result of `op` on arguments with these sources, recorded if any of them leads to a gradient: then
    /// `backward(walk, sources, ∂L/∂value)` runs on the way back.
    pub(super) fn record(
        &self,
        op: &'static str,
        sources: Vec<Option<Source>>,
        value: B::Tensor,
        backward: impl FnOnce(&mut Walk<'_, B>, &[Option<Source>], B::Tensor) -> Result<()> + 'static,
    ) -> Result<Var<B>> {
        let mode = self.mode.get();
        if mode == Mode::NoGrad || sources.iter().all(Option::is_none) {
            return Ok(Var::new(value, None));
        }
        if mode == Mode::Checkpoint {
            return Ok(Var::new(value, Some(Source::Inside)));
        }
        self.push(op, sources, value, backward)
    }

    /// `value` as the result of a new node. Errors when an argument is of another recording.
    pub(super) fn push(
        &self,
        op: &'static str,
        sources: Vec<Option<Source>>,
        value: B::Tensor,
        backward: impl FnOnce(&mut Walk<'_, B>, &[Option<Source>], B::Tensor) -> Result<()> + 'static,
    ) -> Result<Var<B>> {
        let mut recording = self.recording.borrow_mut();
        for source in sources.iter().flatten() {
            check(op, &mut recording, *source)?;
        }
        let backward = move |walk: &mut Walk<'_, B>, dy| backward(walk, &sources, dy);
        let source = recording.push(self.changes.get(), Box::new(backward));
        Ok(Var::new(value, Some(source)))
    }

    /// The gradients of `loss`, of shape `(1)`, with respect to every parameter and leaf that it depends on; none for a constant.
    ///
    /// The recording is consumed, also by an error: a second call with the same loss is an [`Error::Invalid`](crate::Error::Invalid).
    /// Errors too when a parameter has changed since the recording began, and inside a checkpoint or [`no_grad`](Self::no_grad).
    pub fn backward(&self, loss: &Var<B>) -> Result<Gradients<B>> {
        self.replay(loss, |inner| {
            op_shapes::same("backward", "loss", [1].into(), inner.shape(loss.value()))?;
            inner.from_f32([1].into(), vec![1.0])
        })
    }

    /// The same for any value `y` whose gradient is `dy`: vector-Jacobian products.
    ///
    /// # Errors
    /// As [`backward`](Self::backward), or `dy` has another shape than `y`.
    pub fn backward_from(&self, y: &Var<B>, dy: B::Tensor) -> Result<Gradients<B>> {
        self.replay(y, |inner| op_shapes::same("backward", "dy", inner.shape(y.value()), inner.shape(&dy)).map(|()| dy))
    }

    /// Walks back from `y`, whose gradient is `dy`.
    fn replay(&self, y: &Var<B>, dy: impl FnOnce(&B) -> Result<B::Tensor>) -> Result<Gradients<B>> {
        if self.mode.get() != Mode::Record {
            return invalid("backward", "called inside a checkpoint or no_grad; call it outside");
        }
        let gradients = self.in_mode(Mode::Replay, |tape| tape.walk(y, dy(&tape.inner)?));
        self.clear();
        gradients
    }

    fn walk(&self, y: &Var<B>, dy: B::Tensor) -> Result<Gradients<B>> {
        if self.recorded() > 0 && self.recording.borrow().changes != self.changes.get() {
            let message = "a parameter changed after the recording began; call clear before the forward pass";
            return invalid("backward", message);
        }
        let mut walk = Walk { tape: self, gradients: Gradients::new() };
        walk.give(y.source(), dy)?;
        // The block of a checkpoint appends its nodes here when it runs again, and the walk goes on with them.
        while let Some(node) = self.pop() {
            if let Some(dy) = node.gradient {
                (node.backward)(&mut walk, dy)?;
            }
        }
        Ok(walk.gradients)
    }

    fn pop(&self) -> Option<Node<B>> {
        self.recording.borrow_mut().nodes.pop()
    }
}

impl<'a, B: Differentiable> Walk<'a, B> {
    pub(super) fn tape(&self) -> &'a Tape<B> {
        self.tape
    }

    pub(super) fn inner(&self) -> &'a B {
        &self.tape.inner
    }

    /// Adds a gradient to what `source` has so far.
    pub(super) fn give(&mut self, source: Option<Source>, gradient: B::Tensor) -> Result<()> {
        let Some(source) = source else { return Ok(()) };
        let inner = self.inner();
        match source {
            Source::Leaf(id) => self.gradients.add_leaf(inner, id, gradient),
            Source::Parameter(index) => self.gradients.add_parameter(inner, index, gradient),
            Source::Node { index, serial } => {
                let mut recording = self.tape.recording.borrow_mut();
                let Some(node) = recording.node(index, serial) else { return stale("backward") };
                match &mut node.gradient {
                    Some(sum) => inner.accumulate(sum, &gradient),
                    none => {
                        *none = Some(gradient);
                        Ok(())
                    }
                }
            }
            Source::Inside => inside("backward"),
        }
    }

    /// [`give`](Self::give) of several, each to its source.
    pub(super) fn give_each<const N: usize>(&mut self, to: &[Option<Source>], gradients: [B::Tensor; N]) -> Result<()> {
        to.iter().zip(gradients).try_for_each(|(&to, gradient)| self.give(to, gradient))
    }

    /// Computes and adds a gradient, if anything wants it.
    pub(super) fn give_with(
        &mut self,
        source: Option<Source>,
        gradient: impl FnOnce(&B) -> Result<B::Tensor>,
    ) -> Result<()> {
        match source {
            Some(_) => self.give(source, gradient(self.inner())?),
            None => Ok(()),
        }
    }
}

fn check<B: Differentiable>(op: &'static str, recording: &mut Recording<B>, source: Source) -> Result<()> {
    match source {
        Source::Node { index, serial } if recording.node(index, serial).is_none() => stale(op),
        Source::Inside => inside(op),
        _ => Ok(()),
    }
}

fn stale<T>(op: &'static str) -> Result<T> {
    invalid(op, "the value is of a recording that is gone; compute it again after backward or clear")
}

fn inside<T>(op: &'static str) -> Result<T> {
    invalid(op, "the value was computed inside a checkpoint and is not its result; return it from the block")
}
