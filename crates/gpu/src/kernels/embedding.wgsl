// Rows of a table.
struct Params {
    // Of the result, in units of V.
    count: u32,
    width: u32,
}

@group(0) @binding(0) var<storage, read_write> y: array<V>;
@group(0) @binding(1) var<storage, read_write> ids: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<V>;
var<immediate> p: Params;

fn each(i: u32) {
    y[i] = table[ids[i / p.width] * p.width + i % p.width];
}
