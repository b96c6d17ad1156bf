//! What the tape keeps, measured in bytes.

#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::mem;
use std::rc::Rc;

use calotype_tensor::reference::{Array, Reference};
use calotype_tensor::tape::{Tape, Var};
use calotype_tensor::{Activation, Backend, ParamKind, Result};

type Value = Var<Reference<f64>>;

/// The system's allocator, which counts what each thread has not given back.
struct Counting;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: the system's allocator does the work; the counters are plain cells that allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.set(LIVE.get().wrapping_add(layout.size()));
        PEAK.set(PEAK.get().max(LIVE.get()));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get().wrapping_sub(layout.size()));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Elements of a tensor, and its bytes: so large that nothing else counts.
const SIZE: usize = 1 << 16;
const BYTES: usize = SIZE * size_of::<f64>();

/// How many tensors lie in memory now.
fn live() -> usize {
    (LIVE.get() + BYTES / 2) / BYTES
}

fn tensor() -> Array<f64> {
    Array::new([SIZE].into(), vec![0.01; SIZE]).unwrap()
}

/// Sixteen operations, each of which saves its argument.
fn deep(t: &Tape<Reference<f64>>, x: &Value) -> Result<Value> {
    (0..16).try_fold(x.clone(), |x, _| t.activation(&x, Activation::Silu))
}

#[test]
fn nothing_is_kept_after_backward_or_clear() {
    let t = Tape::new(Reference::new());
    let x = t.leaf(tensor());
    for _ in 0..2 {
        let loss = t.mean(&deep(&t, &x).unwrap()).unwrap();
        assert_eq!(live(), 1 + 15, "the leaf, and the argument of each operation but the first");
        let gradients = t.backward(&loss).unwrap();
        assert_eq!(live(), 2, "the leaf and its gradient");
        drop(gradients);
        assert_eq!(live(), 1);
        let forgotten = deep(&t, &x).unwrap();
        assert_eq!(live(), 1 + 16);
        t.clear();
        assert_eq!(live(), 2, "the leaf and the result");
        drop(forgotten);
    }
}

#[test]
fn without_gradients_and_for_constants_nothing_is_kept() {
    let t = Tape::new(Reference::new());
    let x = t.leaf(tensor());
    let y = t.no_grad(|t| deep(t, &x)).unwrap();
    assert_eq!(live(), 2);
    let z = deep(&t, &y).unwrap();
    assert_eq!(live(), 3);
    drop(z);
}

#[test]
fn a_node_and_its_gradient_are_dropped_when_the_walk_has_passed() {
    let t = Tape::new(Reference::new());
    let x = t.leaf(tensor());
    // The block looks at the memory when it runs, and runs again at the end of the walk.
    let seen = Rc::new(RefCell::new(Vec::new()));
    let into = Rc::clone(&seen);
    let first = t.checkpoint(std::slice::from_ref(&x), move |t, x| {
        into.borrow_mut().push(live());
        t.activation(&x[0], Activation::Silu)
    });
    let loss = t.mean(&deep(&t, &first.unwrap()).unwrap()).unwrap();
    assert_eq!(live(), 1 + 16);
    t.backward(&loss).unwrap();
    assert_eq!(*seen.borrow(), [1, 2], "the leaf, then the leaf and one gradient");
}

#[test]
fn checkpoints_lower_the_peak() {
    let peak = |checkpoints: bool| {
        let t = Tape::new(Reference::new());
        let mut x = t.leaf(tensor());
        PEAK.set(0);
        for _ in 0..8 {
            x = if checkpoints { t.checkpoint(&[x], |t, x| deep(t, &x[0])).unwrap() } else { deep(&t, &x).unwrap() };
        }
        let loss = t.mean(&x).unwrap();
        drop(x);
        t.backward(&loss).unwrap();
        PEAK.get() / BYTES
    };
    let (without, with) = (peak(false), peak(true));
    assert!(without >= 8 * 16, "{without}");
    // One block's arguments, the blocks' inputs and what the operation at work needs.
    assert!(with <= 8 + 16 + 8, "{with}");
}

#[test]
fn a_parameter_is_held_once_while_it_is_updated() {
    let t = Tape::new(Reference::new());
    let data = vec![0.5; SIZE];
    let table = t.param("table", ParamKind::Table, [SIZE / 4, 4].into(), &data).unwrap();
    t.no_grad(|t| t.embedding(&table, &[1], 1)).unwrap();
    let before = live();
    table
        .update(|value| {
            // The reference backend packs by sharing, so the storage would live on in a packed form.
            let small = Array::new([1].into(), vec![0.0])?;
            let value = mem::replace(value, small);
            drop(value);
            assert_eq!(live(), before - 1);
            Ok(())
        })
        .unwrap();
}
