// A group norm with its activation in one run, where a group is small: a workgroup has a group of an image, finds its mean and sum
// of squared differences, and writes what is normalised.
//
// A thread has some channels of every so many pixels, and sums relative to its first element, so that no digits are lost.
struct Params {
    pixels: u32,
    // Of a pixel, in units of V, as those of a group.
    channels: u32,
    per_group: u32,
    groups: u32,
    // Elements of a group.
    group_count: f32,
    eps: f32,
    activation: u32,
}

@group(0) @binding(0) var<storage, read_write> y: array<V>;
@group(0) @binding(1) var<storage, read_write> x: array<V>;
@group(0) @binding(2) var<storage, read> gamma: array<F>;
@group(0) @binding(3) var<storage, read> beta: array<F>;
var<immediate> p: Params;

var<workgroup> parts: array<f32, 256>;

// The sum over all threads, in an order that is always the same.
fn sum_of_all(t: u32, value: f32) -> f32 {
    workgroupBarrier();
    parts[t] = value;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if t < half {
            parts[t] += parts[t + half];
        }
    }
    workgroupBarrier();
    return parts[0];
}

fn across(value: F) -> f32 {
//# if WIDE
    return value.x + value.y + value.z + value.w;
//# else
    return value;
//# end
}

fn first_of(value: F) -> f32 {
//# if WIDE
    return value.x;
//# else
    return value;
//# end
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) t: u32) {
    let group = workgroup.x % p.groups;
    let image = workgroup.x / p.groups;
    let first_channel = group * p.per_group;
    let base = image * p.pixels * p.channels + first_channel;
    let lanes = min(p.per_group, 256u);
    let lines = 256u / lanes;
    let lane = t % lanes;
    var first_pixel = t / lanes;
    if first_pixel >= lines {
        first_pixel = p.pixels;
    }

    let near = first_of(F(x[base]));
    var shift = near;
    if first_pixel < p.pixels {
        shift = first_of(F(x[base + first_pixel * p.channels + lane]));
    }
    var count = 0.0;
    var sums = F();
    var squares = F();
    for (var pixel = first_pixel; pixel < p.pixels; pixel += lines) {
        for (var channel = lane; channel < p.per_group; channel += lanes) {
            let d = F(x[base + pixel * p.channels + channel]) - shift;
            sums += d;
            squares += d * d;
            count += f32(LANES);
        }
    }
    let sum = across(sums);
    let own = sum / max(count, 1.0);
    let mean = near + sum_of_all(t, count * (shift + own - near)) / p.group_count;
    let off = shift + own - mean;
    let total = sum_of_all(t, across(squares) - sum * own + count * off * off);
    let deviation = sqrt(total / p.group_count + p.eps);

    for (var pixel = first_pixel; pixel < p.pixels; pixel += lines) {
        for (var channel = lane; channel < p.per_group; channel += lanes) {
            let at = base + pixel * p.channels + channel;
            let normal = (F(x[at]) - mean) / deviation;
            y[at] = kept(activate(normal * gamma[first_channel + channel] + beta[first_channel + channel], p.activation));
        }
    }
}
