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
    // 1 for a bias, 2 for a residual.
    flags: u32,
}

@group(0) @binding(0) var<storage, read_write> y: array<E>;
@group(0) @binding(1) var<storage, read_write> x: array<E>;
@group(0) @binding(2) var<storage, read_write> residual: array<E>;
@group(0) @binding(3) var<storage, read> weight: array<V>;
@group(0) @binding(4) var<storage, read> bias: array<F>;
var<immediate> p: Params;

// Where row `row` of this phase lies in the result.
fn result_row(row: u32, phase: u32) -> u32 {
    if p.phases == 1u {
        return row;
    }
    let column = row % p.out_width;
    let line = row / p.out_width;
    return (2u * line + phase / 2u) * 2u * p.out_width + 2u * column + phase % 2u;
}
