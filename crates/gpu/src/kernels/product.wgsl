// Rows of x, gathered by taps, times a matrix: a linear map has one tap, a convolution one for each kernel position. What follows
// on the product (bias, activation, residual, GEGLU) is computed where the sums are.
//
// A workgroup makes 64 rows of 64 columns, each of its 16 × 16 threads 4 × 4; 16 channels at a time lie in workgroup memory.
// A sum runs over taps, then channels, whatever the number of rows: results don't depend on the batch.

// 64 rows of 4 × 4 channels, and 16 channels of 16 × 4 columns.
var<workgroup> xs: array<V, 256>;
var<workgroup> ws: array<V, 256>;

// Columns of the result that a workgroup makes.
//# if GEGLU
const COLUMNS = 32u;
//# else
const COLUMNS = 64u;
//# end

// Four channels of a row, which begins at `base`; zeros past its end.
fn load_x(base: u32, channel: u32) -> V {
//# if LOOSE
    var v = V();
//# for i in 4
    if channel + $iu < p.inputs {
        v[$i] = x[base + channel + $iu];
    }
//# end
    return v;
//# else
    if channel >= p.inputs {
        return V();
    }
    return x[(base + channel) / 4u];
//# end
}

//# if THREE
//# else
fn add_residual(value: F, at: u32) -> F {
//# if LOOSE
    return value + F(f32(residual[at]), 0.0, 0.0, 0.0);
//# else
    return value + F(residual[at / 4u]);
//# end
}
//# end

fn write(row: u32, column: u32, phase: u32, part: u32, sums: F) {
    if row >= p.rows || column >= p.columns {
        return;
    }
    var value = sums;
//# if PLAIN
    if (p.flags & 1u) != 0u {
        value += bias[column / 4u];
    }
    value = activate(value, p.activation);
//# end
    let at = result_row(row, phase) * p.columns + column;
//# if PLAIN
    let added = added_at(at, row, column);
//# end
//# if LOOSE
//# for i in 4
    if column + $iu < p.columns {
        var one = F(value[$i]);
//# if PLAIN
        if (p.flags & 2u) != 0u {
            one = add_residual(one, added + $iu);
        }
//# end
        store(part, at + $iu, kept(one).x);
    }
//# end
//# else
//# if PLAIN
    if (p.flags & 2u) != 0u {
        value = add_residual(value, added);
    }
//# end
    store(part, at / 4u, kept(value));
//# end
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let column_blocks = (p.columns + COLUMNS - 1u) / COLUMNS;
    let block = p.first_block + workgroup.x + workgroup.y * grid.x;
    let first_row = block / column_blocks * 64u;
    let first_column = block % column_blocks * COLUMNS;
//# if THREE
    let phase = 0u;
    let part_of_three = workgroup.z;
//# else
    let phase = workgroup.z;
    let part_of_three = 0u;
//# end
    if first_row >= p.rows {
        return;
    }
    let tx = t % 16u;
    let ty = t / 16u;

    // The row that this thread loads, and its first pixel. Numbers below zero wrap, and so are outside too.
    let row = first_row + t / 4u;
    let line = row / p.out_width;
    let image = line / p.out_height;
    let left = row % p.out_width * p.stride + phase % 2u - p.left;
    let top = line % p.out_height * p.stride + phase / 2u - p.top;

    // The columns of the weight that this thread loads.
//# if GEGLU
    let part = tx % 8u * 4u;
    let has_columns = first_column + part < p.columns;
    let column = select(first_column + part, p.columns + first_column + part, tx >= 8u);
    let own_row = ty * 4u + tx / 8u * 2u;
    let own_column = first_column + part;
//# else
    let column = first_column + tx * 4u;
    let has_columns = column < p.columns;
    let own_row = ty * 4u;
    let own_column = column;
//# end

//# for i in 4
    var sums$i = F();
//# end
    for (var tap = 0u; tap < p.taps; tap++) {
        let h = top + tap / p.kernel_width;
        let w = left + tap % p.kernel_width;
        let inside = row < p.rows && h < p.height && w < p.width;
        let base = ((image * p.height + h) * p.width + w) * p.inputs;
        let weight_row = (phase * p.taps + tap) * p.inputs;
        for (var first = 0u; first < p.inputs; first += 16u) {
            var x_part = V();
            if inside {
                x_part = load_x(base, first + t % 4u * 4u);
            }
            var w_part = V();
            if has_columns && first + ty < p.inputs {
                w_part = load_weight(part_of_three, (weight_row + first + ty) * p.weight_stride + column / 4u);
            }
            workgroupBarrier();
            xs[t] = x_part;
            ws[t] = w_part;
            workgroupBarrier();
            for (var k = 0u; k < 4u; k++) {
//# if GEGLU
//# for j in 4
                let a$j = F(ws[(k * 4u + $ju) * 16u + tx % 8u]);
                let gate$j = F(ws[(k * 4u + $ju) * 16u + 8u + tx % 8u]);
//# end
//# for i in 2
                let x$i = F(xs[(own_row + $iu) * 4u + k]);
                sums$i += x$i.x * a0 + x$i.y * a1 + x$i.z * a2 + x$i.w * a3;
//# end
                sums2 += x0.x * gate0 + x0.y * gate1 + x0.z * gate2 + x0.w * gate3;
                sums3 += x1.x * gate0 + x1.y * gate1 + x1.z * gate2 + x1.w * gate3;
//# else
//# for j in 4
                let w$j = F(ws[(k * 4u + $ju) * 16u + tx]);
//# end
//# for i in 4
                let x$i = F(xs[(own_row + $iu) * 4u + k]);
                sums$i += x$i.x * w0 + x$i.y * w1 + x$i.z * w2 + x$i.w * w3;
//# end
//# end
            }
        }
    }

//# if GEGLU
    if (p.flags & 1u) != 0u && own_column < p.columns {
        let of_a = bias[own_column / 4u];
        let of_gate = bias[(p.columns + own_column) / 4u];
        sums0 += of_a;
        sums1 += of_a;
        sums2 += of_gate;
        sums3 += of_gate;
    }
    write(first_row + own_row, own_column, phase, part_of_three, sums0 * gelu(sums2));
    write(first_row + own_row + 1u, own_column, phase, part_of_three, sums1 * gelu(sums3));
//# else
//# for i in 4
    write(first_row + own_row + $iu, own_column, phase, part_of_three, sums$i);
//# end
//# end
}
