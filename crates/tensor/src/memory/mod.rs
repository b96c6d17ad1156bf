//! What a run will need of memory, found before it computes anything.

mod intervals;
mod trim;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Backend, DType, Fusion, Op, ParamData, ParamRole, Result, Shape, Threads, op_shapes};
pub use intervals::Intervals;
pub use trim::trim_heap;

/// What a backend takes of memory: what [`MemoryPlan`] asks it.
///
/// Sizes are in bytes. Those of tensors and workspaces are as an arena hands them out, what it rounds up to included.
pub trait Memory: Backend {
    /// What a tensor takes.
    fn tensor_bytes(&self, shape: Shape) -> usize;

    /// What a parameter takes, whose shape in the layout of its kind is `shape`.
    fn param_bytes(&self, role: ParamRole, shape: Shape) -> usize;

    /// What an operation takes for itself while it runs, beside its arguments and its result. What each of the threads holds while it
    /// works on a part is not counted.
    fn workspace_bytes(&self, _op: &Op, _tensors: &[Shape], _params: &[(ParamRole, Shape)]) -> usize {
        0
    }

    /// Whether the result of an operation lies in the memory of its arguments, and takes none of its own.
    fn is_view(&self, op: &Op) -> bool {
        matches!(op, Op::Reshape(_))
    }

    /// Takes an arena of so many bytes, which a [`MemoryPlan`] finds, for the tensors to come. What does not fit there is taken outside of it.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory): there are not so many.
    fn reserve(&self, _bytes: usize) -> Result<()> {
        Ok(())
    }

    /// Gives memory back that holds nothing now: what tensors that are gone have left, and an arena in which there are none.
    fn trim(&self) {}
}

/// A backend that computes nothing: a model's `forward` on it finds how large an arena another backend needs for the same.
///
/// It gives tensors places as that one does, what an operation needs for itself included. Cloning shares the places.
///
/// ```
/// use calotype_tensor::{Backend, Memory, MemoryPlan, Result, cpu::Cpu};
///
/// fn forward<B: Backend>(b: &B) -> Result<B::Tensor> {
///     let x = b.from_f32([256, 1024].into(), vec![1.0; 256 * 1024])?;
///     b.add(&x, &b.scale(&x, 2.0)?)
/// }
///
/// # fn main() -> Result<()> {
/// let cpu = Cpu::new(0)?;
/// let plan = MemoryPlan::new(&cpu);
/// forward(&plan)?;
/// // At most three tensors at a time.
/// assert!((3 << 20..4 << 20).contains(&plan.arena_bytes()));
/// cpu.reserve(plan.arena_bytes())?;
/// forward(&cpu)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MemoryPlan<B> {
    backend: B,
    ledger: Arc<Mutex<Ledger>>,
}

#[derive(Default)]
struct Ledger {
    places: Intervals,
    parameters: usize,
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A tensor's shape, and where it would be.
#[derive(Clone)]
pub struct PlannedTensor {
    shape: Shape,
    /// More than one where it is a view of several.
    places: Vec<Arc<Place>>,
}

/// What a parameter is, and its shape in the layout of its kind.
#[derive(Clone, Copy, Debug)]
pub struct PlannedParam {
    role: ParamRole,
    shape: Shape,
}

/// A place that is free again when it is dropped.
struct Place {
    ledger: Arc<Mutex<Ledger>>,
    start: usize,
    length: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.ledger).places.give(self.start, self.length);
    }
}

impl<B: Memory + Clone> MemoryPlan<B> {
    /// For runs on `backend`.
    pub fn new(backend: &B) -> Self {
        Self { backend: backend.clone(), ledger: Arc::default() }
    }

    /// The bytes that all tensors so far would have needed at a time.
    pub fn arena_bytes(&self) -> usize {
        lock(&self.ledger).places.end()
    }

    /// The bytes of all parameters so far.
    pub fn param_bytes(&self) -> usize {
        lock(&self.ledger).parameters
    }

    /// A tensor of this shape, such as an input.
    pub fn tensor(&self, shape: Shape) -> PlannedTensor {
        PlannedTensor { shape, places: vec![self.place(self.backend.tensor_bytes(shape))] }
    }

    fn place(&self, length: usize) -> Arc<Place> {
        let start = lock(&self.ledger).places.take_or_grow(length);
        Arc::new(Place { ledger: self.ledger.clone(), start, length })
    }
}

impl<B: Memory + Clone> Backend for MemoryPlan<B> {
    type Tensor = PlannedTensor;
    type Param = PlannedParam;

    fn dtype(&self) -> DType {
        self.backend.dtype()
    }

    fn threads(&self) -> &Threads {
        self.backend.threads()
    }

    fn fuses(&self, fusion: Fusion) -> bool {
        self.backend.fuses(fusion)
    }

    fn from_f32(&self, shape: Shape, data: Vec<f32>) -> Result<PlannedTensor> {
        op_shapes::data("from_f32", shape, data.len())?;
        Ok(self.tensor(shape))
    }

    /// Zeros.
    fn to_f32(&self, x: &PlannedTensor) -> Result<Vec<f32>> {
        Ok(vec![0.0; x.shape.count()])
    }

    fn shape(&self, x: &PlannedTensor) -> Shape {
        x.shape
    }

    /// The data are not read.
    fn param(&self, _: &str, role: impl Into<ParamRole>, shape: Shape, data: &dyn ParamData) -> Result<PlannedParam> {
        let role = role.into();
        let shape = op_shapes::param_from_file(role.kind, shape, data.count())?;
        lock(&self.ledger).parameters += self.backend.param_bytes(role, shape);
        Ok(PlannedParam { role, shape })
    }

    fn param_shape(&self, p: &PlannedParam) -> Shape {
        p.shape
    }

    fn compute(
        &self,
        op: &Op,
        tensors: &[&PlannedTensor],
        params: &[&PlannedParam],
        shape: Shape,
    ) -> Result<PlannedTensor> {
        if self.backend.is_view(op) {
            return Ok(PlannedTensor { shape, places: tensors.iter().flat_map(|x| x.places.clone()).collect() });
        }
        let shapes: Vec<Shape> = tensors.iter().map(|x| x.shape).collect();
        let params: Vec<_> = params.iter().map(|p| (p.role, p.shape)).collect();
        let workspace = self.backend.workspace_bytes(op, &shapes, &params);
        let _own = (workspace > 0).then(|| self.place(workspace));
        Ok(self.tensor(shape))
    }
}
