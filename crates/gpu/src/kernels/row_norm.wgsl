// Layer norm, or rows divided by their length: a workgroup a row.
struct Params {
    rows: u32,
    // In units of V.
    width: u32,
    // Elements of a row.
    count: f32,
    eps: f32,
    // 1 for rows divided by their length.
    unit: u32,
}

@group(0) @binding(0) var<storage, read_write> y: array<V>;
@group(0) @binding(1) var<storage, read_write> x: array<V>;
@group(0) @binding(2) var<storage, read> gamma: array<F>;
@group(0) @binding(3) var<storage, read> beta: array<F>;
var<immediate> p: Params;

// The sum of what is read at a time.
fn across(value: F) -> f32 {
//# if WIDE
    return value.x + value.y + value.z + value.w;
//# else
    return value;
//# end
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let row = workgroup.x + workgroup.y * grid.x;
    if row >= p.rows {
        return;
    }
    let base = row * p.width;
    var mean = 0.0;
    if p.unit == 0u {
        var sum = F();
        for (var i = t; i < p.width; i += 64u) {
            sum += F(x[base + i]);
        }
        mean = total(t, across(sum)) / p.count;
    }
    var square = F();
    for (var i = t; i < p.width; i += 64u) {
        let d = F(x[base + i]) - mean;
        square += d * d;
    }
    let squares = total(t, across(square));
    if p.unit == 0u {
        let deviation = sqrt(squares / p.count + p.eps);
        for (var i = t; i < p.width; i += 64u) {
            y[base + i] = kept((F(x[base + i]) - mean) / deviation * gamma[i] + beta[i]);
        }
    } else {
        let length = sqrt(squares) + p.eps;
        for (var i = t; i < p.width; i += 64u) {
            y[base + i] = kept(F(x[base + i]) / length);
        }
    }
}
