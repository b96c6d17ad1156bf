// The ReLU with a slope for each channel.
struct Params {
    // Of the result, in units of V.
    count: u32,
    // In units of V.
    channels: u32,
}

@group(0) @binding(0) var<storage, read_write> y: array<V>;
@group(0) @binding(1) var<storage, read_write> x: array<V>;
@group(0) @binding(2) var<storage, read> slope: array<F>;
var<immediate> p: Params;

fn each(i: u32) {
    let value = F(x[i]);
    y[i] = kept(select(slope[i % p.channels] * value, value, value > F(0.0)));
}
