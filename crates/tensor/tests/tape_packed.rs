//! How much memory a backward takes beside the packed weights. One test: it counts what all threads allocate.

#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use calotype_tensor::cpu::Cpu;
use calotype_tensor::tape::Tape;
use calotype_tensor::{Activation, Backend, ParamKind};

/// The system's allocator, which counts bytes in large blocks. A backend recycles its buffers, so that they only grow.
struct Counting;

const LARGE: usize = WIDTH * WIDTH * size_of::<f32>();
static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work; the counter is an atomic that allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= LARGE {
            LIVE.fetch_add(layout.size(), Relaxed);
        }
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if layout.size() >= LARGE {
            LIVE.fetch_sub(layout.size(), Relaxed);
        }
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WIDTH: usize = 256;
const LAYERS: usize = 8;

#[test]
fn a_packed_weight_makes_room_for_its_gradient() {
    let t = Tape::new(Cpu::new(1).unwrap());
    let weight = |n: usize| {
        let data = vec![0.01; WIDTH * WIDTH];
        t.param(&n.to_string(), ParamKind::Linear, [WIDTH, WIDTH].into(), &data).unwrap()
    };
    let weights: Vec<_> = (0..LAYERS).map(weight).collect();
    let mut x = t.from_f32([1, WIDTH].into(), vec![1.0; WIDTH]).unwrap();
    for weight in &weights {
        x = t.linear(&x, weight, None, None, Activation::None).unwrap();
    }
    let loss = t.mean(&x).unwrap();
    let before = LIVE.load(Relaxed);
    assert!(before >= 2 * LAYERS * LARGE, "values and packed forms: {before} bytes");
    let gradients = t.backward(&loss).unwrap();
    assert_eq!(gradients.iter().count(), LAYERS);
    // The first layer's gradient and transpose come before a packed weight is free; a buffer is up to an eighth larger.
    let grown = (LIVE.load(Relaxed) - before) as f64 / LARGE as f64;
    assert!(grown < 3.0, "{grown} weights more");
}
