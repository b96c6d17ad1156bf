// The entry of kernels whose threads each make one V of the result, by `each`: `count` of `Params` is how many there are.
@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let i = (workgroup.x + workgroup.y * grid.x) * 256u + t;
    if i < p.count {
        each(i);
    }
}
