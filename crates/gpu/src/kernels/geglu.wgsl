// GEGLU of rows `(a, gate)`.
struct Params {
    // Of the result, in units of V.
    count: u32,
    // Of a row of the result, in units of V.
    width: u32,
}

@group(0) @binding(0) var<storage, read_write> y: array<V>;
@group(0) @binding(1) var<storage, read_write> x: array<V>;
var<immediate> p: Params;

fn each(i: u32) {
    let source = i / p.width * 2u * p.width + i % p.width;
    y[i] = kept(F(x[source]) * gelu(F(x[source + p.width])));
}
