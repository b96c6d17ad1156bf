// The mean of all elements, by one workgroup.
struct Params {
    count: u32,
}

@group(0) @binding(0) var<storage, read_write> y: array<T>;
@group(0) @binding(1) var<storage, read_write> x: array<T>;
var<immediate> p: Params;

var<workgroup> parts: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) t: u32) {
    var sum = 0.0;
    for (var i = t; i < p.count; i += 256u) {
        sum += f32(x[i]);
    }
    parts[t] = sum;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if t < half {
            parts[t] += parts[t + half];
        }
    }
    if t == 0u {
        y[0] = T(parts[0] / f32(p.count));
    }
}
