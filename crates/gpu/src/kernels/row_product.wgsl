// Vectors times a matrix: a linear map of few rows, as that of a timestep. A workgroup has 32 columns of a row; 8 of its threads have
// them, each four, and 32 divide the channels. A sum runs over the channels of a thread, then over threads, for one row as for many.
struct Params {
    // In units of V, as the columns.
    inputs: u32,
    columns: u32,
    // Between rows of the weight, in units of V.
    weight_stride: u32,
    activation: u32,
    // 1 for a bias, 2 for a residual.
    flags: u32,
}

@group(0) @binding(0) var<storage, read_write> y: array<V>;
@group(0) @binding(1) var<storage, read_write> x: array<V>;
@group(0) @binding(2) var<storage, read_write> residual: array<V>;
@group(0) @binding(3) var<storage, read> weight: array<V>;
@group(0) @binding(4) var<storage, read> bias: array<F>;
var<immediate> p: Params;

var<workgroup> parts: array<F, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) t: u32) {
    let column = workgroup.x * 8u + t % 8u;
    let slice = t / 8u;
    let row = workgroup.y;
    var sum = F();
    if column < p.columns {
        for (var i = slice; i < p.inputs; i += 32u) {
            let value = F(x[row * p.inputs + i]);
            let at = 4u * i * p.weight_stride + column;
//# for n in 4
            sum += value[$n] * F(weight[at + $nu * p.weight_stride]);
//# end
        }
    }
    parts[t] = sum;
    for (var half = 16u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if slice < half {
            parts[t] += parts[t + half * 8u];
        }
    }
    if slice == 0u && column < p.columns {
        var value = parts[t];
        if (p.flags & 1u) != 0u {
            value += bias[column];
        }
        value = activate(value, p.activation);
        let at = row * p.columns + column;
        if (p.flags & 2u) != 0u {
            value += F(residual[at]);
        }
        y[at] = kept(value);
    }
}
