// Rows of two tensors side by side.
struct Params {
    // Of the result, in units of V, as all.
    count: u32,
    left: u32,
    right: u32,
}

@group(0) @binding(0) var<storage, read_write> y: array<V>;
@group(0) @binding(1) var<storage, read_write> a: array<V>;
@group(0) @binding(2) var<storage, read_write> b: array<V>;
var<immediate> p: Params;

fn each(i: u32) {
    let width = p.left + p.right;
    let row = i / width;
    let column = i % width;
    if column < p.left {
        y[i] = a[row * p.left + column];
    } else {
        y[i] = b[row * p.right + column - p.left];
    }
}
