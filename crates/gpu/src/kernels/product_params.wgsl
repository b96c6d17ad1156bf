// What products are told and bound to, by threads and by matrices.
struct Params {
    // Of the result, in one phase.
    rows: u32,
    inputs: u32,
    columns: u32,
    // Between rows of the weight, in units of V.
    weight_stride: u32,
    width: u32,
    height: u32,
    out_width: u32,
    out_height: u32,
    kernel_width: u32,
    taps: u32,
    stride: u32,
    top: u32,
    left: u32,
    // 1, or 4 for a convolution after upsampling: the pixels of each 2 × 2 block of the result have weights of their own.
    phases: u32,
    activation: u32,
    // 1 for a bias, 2 for a residual, 4 too if that is a row for each image.
    flags: u32,
    // Where a part of a large product begins.
    first_block: u32,
}

@group(0) @binding(0) var<storage, read_write> y: array<E>;
@group(0) @binding(1) var<storage, read_write> x: array<E>;
//# if THREE
// Three weights of one shape, each with its result.
@group(0) @binding(2) var<storage, read_write> y1: array<E>;
@group(0) @binding(3) var<storage, read_write> y2: array<E>;
@group(0) @binding(4) var<storage, read> weight: array<V>;
@group(0) @binding(5) var<storage, read> weight1: array<V>;
@group(0) @binding(6) var<storage, read> weight2: array<V>;
//# else
@group(0) @binding(2) var<storage, read_write> residual: array<E>;
@group(0) @binding(3) var<storage, read> weight: array<V>;
@group(0) @binding(4) var<storage, read> bias: array<F>;
//# end
var<immediate> p: Params;

// Of the weight that this workgroup has: the `part`th of three.
fn load_weight(part: u32, at: u32) -> V {
//# if THREE
    if part == 1u {
        return weight1[at];
    }
    if part == 2u {
        return weight2[at];
    }
//# end
    return weight[at];
}

fn store(part: u32, at: u32, value: E) {
//# if THREE
    if part == 1u {
        y1[at] = value;
        return;
    }
    if part == 2u {
        y2[at] = value;
        return;
    }
//# end
    y[at] = value;
}

// Where what is added to a result lies, which itself lies at `at`.
fn added_at(at: u32, row: u32, column: u32) -> u32 {
    if (p.flags & 4u) == 0u {
        return at;
    }
    return row / (p.out_width * p.out_height) * p.columns + column;
}

// Where row `row` of this phase lies in the result.
fn result_row(row: u32, phase: u32) -> u32 {
    if p.phases == 1u {
        return row;
    }
    let column = row % p.out_width;
    let line = row / p.out_width;
    return (2u * line + phase / 2u) * 2u * p.out_width + 2u * column + phase % 2u;
}
