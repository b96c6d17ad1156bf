// A row for each image, added to all its pixels.
struct Params {
    // Of the result, in units of V.
    count: u32,
    // In units of V.
    image: u32,
    channels: u32,
}

@group(0) @binding(0) var<storage, read_write> y: array<V>;
@group(0) @binding(1) var<storage, read_write> x: array<V>;
@group(0) @binding(2) var<storage, read_write> v: array<V>;
var<immediate> p: Params;

fn each(i: u32) {
    y[i] = kept(F(x[i]) + F(v[i / p.image * p.channels + i % p.channels]));
}
