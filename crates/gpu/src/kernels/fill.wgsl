// One word everywhere.
struct Params {
    count: u32,
    word: u32,
}

@group(0) @binding(0) var<storage, read_write> y: array<u32>;
var<immediate> p: Params;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let i = (workgroup.x + workgroup.y * grid.x) * 256u + t;
    if i < p.count {
        y[i] = p.word;
    }
}
