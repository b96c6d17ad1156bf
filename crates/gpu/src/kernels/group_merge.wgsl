// The mean and sum of squared differences of a group from those of its slices.
struct Params {
    pixels: u32,
    per_group: u32,
    slice: u32,
    slices: u32,
}

@group(0) @binding(0) var<storage, read_write> merged: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read_write> stats: array<vec2<f32>>;
var<immediate> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) t: u32) {
    let base = workgroup.x * p.slices;
    let near = stats[base].x;
    var offset = 0.0;
    for (var i = t; i < p.slices; i += 64u) {
        let pixels = min(p.slice, p.pixels - i * p.slice);
        offset += f32(pixels * p.per_group) * (stats[base + i].x - near);
    }
    let mean = near + total(t, offset) / f32(p.pixels * p.per_group);
    var square = 0.0;
    for (var i = t; i < p.slices; i += 64u) {
        let pixels = min(p.slice, p.pixels - i * p.slice);
        let d = stats[base + i].x - mean;
        square += stats[base + i].y + f32(pixels * p.per_group) * d * d;
    }
    let squares = total(t, square);
    if t == 0u {
        merged[workgroup.x] = vec2<f32>(mean, squares);
    }
}
