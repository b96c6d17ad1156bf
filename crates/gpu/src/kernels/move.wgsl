// Part of each row to part of another, or to four pixels.
struct Params {
    // Of the result, in units of V.
    count: u32,
    // What is moved of a row, in units of V, as all that follow.
    width: u32,
    from_stride: u32,
    from_start: u32,
    to_stride: u32,
    to_start: u32,
    // Pixels of a line of the result of nearest upsampling, or 0.
    line: u32,
}

@group(0) @binding(0) var<storage, read_write> y: array<V>;
@group(0) @binding(1) var<storage, read_write> x: array<V>;
var<immediate> p: Params;

fn each(i: u32) {
    let row = i / p.width;
    let column = i % p.width;
    var source = row;
    if p.line != 0u {
        source = row / p.line / 2u * (p.line / 2u) + row % p.line / 2u;
    }
    y[row * p.to_stride + p.to_start + column] = x[source * p.from_stride + p.from_start + column];
}
