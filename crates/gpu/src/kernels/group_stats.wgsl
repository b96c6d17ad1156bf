// Mean and sum of squared differences from it of a slice of the pixels, for each group: a thread has one channel (of a group of over
// 256, several), and sums relative to its first element, so that no digits are lost.
struct Params {
    pixels: u32,
    channels: u32,
    groups: u32,
    // Channels of a group.
    per_group: u32,
    // Groups of a workgroup.
    block_groups: u32,
    // Pixels of a slice.
    slice: u32,
    slices: u32,
}

// (batch, groups, slices)
@group(0) @binding(0) var<storage, read_write> stats: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read_write> x: array<T>;
var<immediate> p: Params;

var<workgroup> counts: array<f32, 256>;
var<workgroup> means: array<f32, 256>;
var<workgroup> squares: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) t: u32) {
    let first_group = workgroup.y * p.block_groups;
    let groups = min(p.block_groups, p.groups - first_group);
    let width = groups * p.per_group;
    let lanes = min(width, 256u);
    let lines = 256u / lanes;
    let lane = t % lanes;
    let first_pixel = workgroup.x * p.slice;
    let end = min(first_pixel + p.slice, p.pixels);
    let base = workgroup.z * p.pixels * p.channels + first_group * p.per_group;

    var count = 0.0;
    var sum = 0.0;
    var square = 0.0;
    let shift = f32(x[base + first_pixel * p.channels + lane]);
    if t / lanes < lines {
        for (var pixel = first_pixel + t / lanes; pixel < end; pixel += lines) {
            for (var channel = lane; channel < width; channel += lanes) {
                let d = f32(x[base + pixel * p.channels + channel]) - shift;
                sum += d;
                square += d * d;
                count += 1.0;
            }
        }
    }
    let n = max(count, 1.0);
    counts[t] = count;
    means[t] = shift + sum / n;
    squares[t] = square - sum * sum / n;
    workgroupBarrier();

    if t < groups {
        let span = min(p.per_group, lanes);
        let near = means[t * span];
        var all = 0.0;
        var offset = 0.0;
        for (var line = 0u; line < lines; line++) {
            for (var i = line * lanes + t * span; i < line * lanes + (t + 1u) * span; i++) {
                all += counts[i];
                offset += counts[i] * (means[i] - near);
            }
        }
        let mean = near + offset / all;
        var total = 0.0;
        for (var line = 0u; line < lines; line++) {
            for (var i = line * lanes + t * span; i < line * lanes + (t + 1u) * span; i++) {
                let d = means[i] - mean;
                total += squares[i] + counts[i] * d * d;
            }
        }
        stats[(workgroup.z * p.groups + first_group + t) * p.slices + workgroup.x] = vec2<f32>(mean, total);
    }
}
