// Attention by cooperative matrices of f16 with sums in f32, without a score matrix in memory.
//
// What a matrix holds can't be scaled by rows, as sums relative to a growing maximum would have to be. So there are two walks over
// the keys: the first finds the greatest score of each query, the second computes the scores again, weights, and their sum with the
// values. Each of four subgroups has SIDE queries; smaller subgroups than they could be are more than four, of which some
// compute the same. Of the threads, PARTS have a query each: a part of the keys of a block.

const QUERIES = 4u * SIDE;
const KEYS = 2u * SIDE;
const PARTS = THREADS / QUERIES;
// Channels of a head, in whole matrices.
const WIDTH = ${STEPS}u * SIDE;
// Between rows in workgroup memory: eight more spread the banks.
const STEP = WIDTH + 8u;
const Q_STEP = SIDE + 8u;
const W_STEP = KEYS + 8u;

// Keys or values of a block; before, some channels of all queries.
var<workgroup> rows: array<f16, ${ROW_PLACES}>;
// Scores of each subgroup; at last, results.
var<workgroup> scores: array<f32, ${SCORE_PLACES}>;
var<workgroup> weights: array<f16, ${PART_PLACES}>;
// For each thread, and then of all of a query.
var<workgroup> shares: array<f32, ${THREADS}>;

//# for n in q k v
// Four channels of row `row` of an image; zeros past the ends.
fn part_of_$n(row: u32, rows_of_image: u32, image: u32, head: u32, channel: u32) -> V {
    if row >= rows_of_image || channel >= p.dim {
        return V();
    }
    return $n[((image * rows_of_image + row) * p.heads + head) * (p.dim / 4u) + channel / 4u];
}
//# end

@compute @workgroup_size(${THREADS})
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    let first_query = (p.first_block + workgroup.x) * QUERIES;
    let head = workgroup.y;
    let image = workgroup.z;
    let own = subgroup % 4u * SIDE;
    var last_key = p.keys;
    if p.causal != 0u {
        last_key = min(p.keys, first_query + QUERIES);
    }
    // The query that this thread weighs keys for, and where its scores lie.
    let row = t % QUERIES;
    let first_part = t / QUERIES * (KEYS / PARTS);
    let score_at = row * KEYS + first_part;
    var end = p.keys;
    if p.causal != 0u {
        end = min(p.keys, first_query + row + 1u);
    }

    // The queries stay in matrices.
//# for n in STEPS
    workgroupBarrier();
    for (var i = t; i < QUERIES * SIDE / 4u; i += THREADS) {
        let query = i / (SIDE / 4u);
        let channel = i % (SIDE / 4u) * 4u;
        let part = part_of_q(first_query + query, p.queries, image, head, $nu * SIDE + channel);
//# for j in 4
        rows[query * Q_STEP + channel + $ju] = part[$j];
//# end
    }
    workgroupBarrier();
    let query$n = coopLoadT<MatrixA>(&rows[own * Q_STEP], Q_STEP);
//# end

//# for walk in 2
//# if $walk == 0
    var greatest = LOWEST;
//# else
    var total = 0.0;
//# for n in STEPS
    var sum$n = MatrixC();
//# end
//# end
    for (var first_key = 0u; first_key < last_key; first_key += KEYS) {
        workgroupBarrier();
        for (var i = t; i < KEYS * WIDTH / 4u; i += THREADS) {
            let key = i / (WIDTH / 4u);
            let channel = i % (WIDTH / 4u) * 4u;
            let part = part_of_k(first_key + key, p.keys, image, head, channel);
//# for j in 4
            rows[key * STEP + channel + $ju] = part[$j];
//# end
        }
        workgroupBarrier();
//# for h in 2
        var block$h = MatrixC();
//# end
//# for n in STEPS
//# for h in 2
        block$h = coopMultiplyAdd(query$n, coopLoad<MatrixB>(&rows[$hu * SIDE * STEP + $nu * SIDE], STEP), block$h);
//# end
//# end
//# for h in 2
        coopStoreT(block$h, &scores[subgroup * SIDE * KEYS + $hu * SIDE], KEYS);
//# end
        workgroupBarrier();
//# if $walk == 0
        for (var n = 0u; n < KEYS / PARTS; n++) {
            if first_key + first_part + n < end {
                greatest = max(greatest, scores[score_at + n] * p.scale);
            }
        }
//# else
        for (var i = t; i < KEYS * WIDTH / 4u; i += THREADS) {
            let key = i / (WIDTH / 4u);
            let channel = i % (WIDTH / 4u) * 4u;
            let part = part_of_v(first_key + key, p.keys, image, head, channel);
//# for j in 4
            rows[key * STEP + channel + $ju] = part[$j];
//# end
        }
        for (var n = 0u; n < KEYS / PARTS; n++) {
            var weight = f16(0.0);
            if first_key + first_part + n < end {
                weight = f16(exp(scores[score_at + n] * p.scale - greatest));
            }
            weights[row * W_STEP + first_part + n] = weight;
            total += f32(weight);
        }
        workgroupBarrier();
//# for h in 2
        let weight$h = coopLoadT<MatrixA>(&weights[own * W_STEP + $hu * SIDE], W_STEP);
//# end
//# for n in STEPS
//# for h in 2
        sum$n = coopMultiplyAdd(weight$h, coopLoadT<MatrixB>(&rows[$hu * SIDE * STEP + $nu * SIDE], STEP), sum$n);
//# end
//# end
//# end
    }
    // Of all parts of a query, in an order that is always the same.
    workgroupBarrier();
//# if $walk == 0
    shares[t] = greatest;
    workgroupBarrier();
    greatest = LOWEST;
    for (var part = 0u; part < PARTS; part++) {
        greatest = max(greatest, shares[part * QUERIES + row]);
    }
//# else
    shares[t] = total;
    workgroupBarrier();
    total = 0.0;
    for (var part = 0u; part < PARTS; part++) {
        total += shares[part * QUERIES + row];
    }
    workgroupBarrier();
    shares[t] = total;
//# end
//# end

//# for n in STEPS
    workgroupBarrier();
    coopStoreT(sum$n, &scores[subgroup * SIDE * KEYS], SIDE);
    workgroupBarrier();
    for (var i = t; i < QUERIES * SIDE / 4u; i += THREADS) {
        let line = i / (SIDE / 4u);
        let column = i % (SIDE / 4u) * 4u;
        let channel = $nu * SIDE + column;
        if first_query + line < p.queries && channel < p.dim {
            let at = line / SIDE * SIDE * KEYS + line % SIDE * SIDE + column;
            let value = F(scores[at], scores[at + 1u], scores[at + 2u], scores[at + 3u]) / shares[line];
            y[((image * p.queries + first_query + line) * p.heads + head) * (p.dim / 4u) + channel / 4u] = kept(value);
        }
    }
//# end
}
