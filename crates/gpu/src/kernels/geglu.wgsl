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

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let i = (workgroup.x + workgroup.y * grid.x) * 256u + t;
    if i >= p.count {
        return;
    }
    let source = i / p.width * 2u * p.width + i % p.width;
    y[i] = kept(F(x[source]) * gelu(F(x[source + p.width])));
}
