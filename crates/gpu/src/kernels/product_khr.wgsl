// The product of `product.wgsl` by cooperative matrices of f16 with sums in f32.
//
// Four subgroups make a square of BLOCK rows and columns, each PER × PER matrices of it. A driver that makes smaller subgroups than
// it could has more than four: then some compute the same, as matrices must be used by all alike, and the first four are read. DEPTH channels at a time lie in workgroup memory. Sums leave their matrices by way of workgroup memory.

const PER = ${PER}u;
const BLOCK = 2u * PER * SIDE;
const DEPTH = 2u * SIDE;
// Between rows in workgroup memory: eight more spread the banks.
const X_STEP = DEPTH + 8u;
const W_STEP = BLOCK + 8u;
const SQUARE = SIDE * SIDE;
//# if GEGLU
const COLUMNS = BLOCK / 2u;
//# else
const COLUMNS = BLOCK;
//# end

var<workgroup> xs: array<f16, ${X_PLACES}>;
var<workgroup> ws: array<f16, ${W_PLACES}>;
// A matrix of each subgroup.
var<workgroup> sums: array<f32, ${SUM_PLACES}>;
// Of each row: its image's first line, and its first pixel.
var<workgroup> pixels: array<vec3<u32>, ${BLOCK}>;

fn four_sums(at: u32) -> F {
    return F(sums[at], sums[at + 1u], sums[at + 2u], sums[at + 3u]);
}

@compute @workgroup_size(${THREADS})
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    let column_blocks = (p.columns + COLUMNS - 1u) / COLUMNS;
    let block = p.first_block + workgroup.x + workgroup.y * grid.x;
    let first_row = block / column_blocks * BLOCK;
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
    let sx = subgroup % 2u;
    let sy = subgroup / 2u % 2u;

    // Numbers below zero wrap, and so are outside too.
    for (var i = t; i < BLOCK; i += THREADS) {
        let row = first_row + i;
        let line = row / p.out_width;
        var top = line % p.out_height * p.stride + phase / 2u - p.top;
        if row >= p.rows {
            top = 0x80000000u;
        }
        let left = row % p.out_width * p.stride + phase % 2u - p.left;
        pixels[i] = vec3<u32>(line / p.out_height * p.height, top, left);
    }

//# for i in PER
//# for j in PER
    var sum$i_$j = MatrixC();
//# end
//# end
    for (var tap = 0u; tap < p.taps; tap++) {
        let down = tap / p.kernel_width;
        let right = tap % p.kernel_width;
        let weight_row = (phase * p.taps + tap) * p.inputs;
        for (var first = 0u; first < p.inputs; first += DEPTH) {
            workgroupBarrier();
            for (var i = t; i < BLOCK * DEPTH / 4u; i += THREADS) {
                let row = i / (DEPTH / 4u);
                let channel = first + i % (DEPTH / 4u) * 4u;
                let pixel = pixels[row];
                let h = pixel.y + down;
                let w = pixel.z + right;
                var part = V();
                if channel < p.inputs && h < p.height && w < p.width {
                    part = x[(((pixel.x + h) * p.width + w) * p.inputs + channel) / 4u];
                }
                let to = row * X_STEP + i % (DEPTH / 4u) * 4u;
//# for n in 4
                xs[to + $nu] = part[$n];
//# end
            }
            for (var i = t; i < DEPTH * BLOCK / 4u; i += THREADS) {
                let channel = i / (BLOCK / 4u);
                let place = i % (BLOCK / 4u) * 4u;
//# if GEGLU
                let own = first_column + place % COLUMNS;
                let column = select(own, p.columns + own, place >= COLUMNS);
//# else
                let own = first_column + place;
                let column = own;
//# end
                var part = V();
                if first + channel < p.inputs && own < p.columns {
                    part = load_weight(part_of_three, (weight_row + first + channel) * p.weight_stride + column / 4u);
                }
                let to = channel * W_STEP + place;
//# for n in 4
                ws[to + $nu] = part[$n];
//# end
            }
            workgroupBarrier();
            for (var k = 0u; k < DEPTH; k += SIDE) {
//# for i in PER
                let a$i = coopLoadT<MatrixA>(&xs[(sy * PER + $iu) * SIDE * X_STEP + k], X_STEP);
                let b$i = coopLoadT<MatrixB>(&ws[k * W_STEP + (sx * PER + $iu) * SIDE], W_STEP);
//# end
//# for i in PER
//# for j in PER
                sum$i_$j = coopMultiplyAdd(a$i, b$j, sum$i_$j);
//# end
//# end
            }
        }
    }

//# for i in PER
//# for j in PER
    workgroupBarrier();
    coopStoreT(sum$i_$j, &sums[subgroup * SQUARE], SIDE);
    workgroupBarrier();
//# if GEGLU
    // The subgroups to the right have the gates of those to the left.
    for (var n = t; n < SQUARE / 2u; n += THREADS) {
        let half = n / (SQUARE / 4u);
        let place = n % (SQUARE / 4u) * 4u;
        let row = first_row + (half * PER + $iu) * SIDE + place / SIDE;
        let column = first_column + $ju * SIDE + place % SIDE;
        if row < p.rows && column < p.columns {
            var value = four_sums(2u * half * SQUARE + place);
            var gates = four_sums((2u * half + 1u) * SQUARE + place);
            if (p.flags & 1u) != 0u {
                value += bias[column / 4u];
                gates += bias[(p.columns + column) / 4u];
            }
            y[(row * p.columns + column) / 4u] = kept(value * gelu(gates));
        }
    }
//# else
    for (var n = t; n < SQUARE; n += THREADS) {
        let quarter = n / (SQUARE / 4u);
        let place = n % (SQUARE / 4u) * 4u;
        let row = first_row + (quarter / 2u * PER + $iu) * SIDE + place / SIDE;
        let column = first_column + (quarter % 2u * PER + $ju) * SIDE + place % SIDE;
        if row < p.rows && column < p.columns {
            var value = four_sums(quarter * SQUARE + place);
            let at = result_row(row, phase) * p.columns + column;
//# if PLAIN
            if (p.flags & 1u) != 0u {
                value += bias[column / 4u];
            }
            value = activate(value, p.activation);
            if (p.flags & 2u) != 0u {
                value += F(residual[added_at(at, row, column) / 4u]);
            }
//# end
            store(part_of_three, at / 4u, kept(value));
        }
    }
//# end
//# end
//# end
}
