// Scaled-dot-product attention without a score matrix in memory (Dao et al. 2022): a workgroup has QUERIES queries of a head and walks
// over the keys, 32 at a time, with the greatest score so far and the sum of weights relative to it.
//
// Of 16 × 16 threads, a line has ROWS queries and all 32 keys, and of the result 4 channels in each chunk of 64.

const ROWS = ${ROWS}u;
const QUERIES = ${QUERIES}u;
const KEYS = 32u;
// Between queries or keys in workgroup memory, in units of V: 16 channels, and one to spread the banks.
const STEP = 5u;

var<workgroup> qs: array<V, ${QUERY_PLACES}>;
var<workgroup> ks: array<V, 160>;
var<workgroup> vs: array<V, 512>;
// Scores, then weights; the stride spreads the banks.
var<workgroup> weights: array<f32, ${WEIGHT_PLACES}>;
var<workgroup> greatest: array<f32, ${QUERIES}>;
var<workgroup> factors: array<f32, ${QUERIES}>;

//# for n in q k v
fn load_$n(base: u32, channel: u32) -> V {
//# if LOOSE
    var value = V();
//# for i in 4
    if channel + $iu < p.dim {
        value[$i] = $n[base + channel + $iu];
    }
//# end
    return value;
//# else
    if channel >= p.dim {
        return V();
    }
    return $n[(base + channel) / 4u];
//# end
}
//# end

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let tx = t % 16u;
    let ty = t / 16u;
    let first_query = (p.first_block + workgroup.x) * QUERIES;
    let head = workgroup.y;
    let image = workgroup.z;
    let channels = p.heads * p.dim;
    let first_channel = head * p.dim;
    let own = ty * ROWS;

    var last_key = p.keys;
    if p.causal != 0u {
        last_key = min(p.keys, first_query + QUERIES);
    }
    if t < QUERIES {
        greatest[t] = LOWEST;
    }

//# for i in ROWS
    var total$i = 0.0;
//# for c in CHUNKS
    var sum$i_$c = F();
//# end
//# end
    for (var first_key = 0u; first_key < last_key; first_key += KEYS) {
        // Scores.
//# for i in ROWS
        var score$i = vec2<f32>();
//# end
        for (var first = 0u; first < p.dim; first += 16u) {
            var q_part = V();
            let query = first_query + t / 4u;
            if t < QUERIES * 4u && query < p.queries {
                q_part = load_q((image * p.queries + query) * channels + first_channel, first + t % 4u * 4u);
            }
            var k_part = V();
            let key = first_key + t / 4u;
            if t < KEYS * 4u && key < p.keys {
                k_part = load_k((image * p.keys + key) * channels + first_channel, first + t % 4u * 4u);
            }
            workgroupBarrier();
            if t < QUERIES * 4u {
                qs[t / 4u * STEP + t % 4u] = q_part;
            }
            if t < KEYS * 4u {
                ks[t / 4u * STEP + t % 4u] = k_part;
            }
            workgroupBarrier();
            for (var d = 0u; d < 4u; d++) {
                let near = F(ks[tx * STEP + d]);
                let far = F(ks[(tx + 16u) * STEP + d]);
//# for i in ROWS
                let q$i = F(qs[(own + $iu) * STEP + d]);
                score$i += vec2<f32>(dot(q$i, near), dot(q$i, far));
//# end
            }
        }
        // Keys that the query does not see have no weight.
        let key = vec2<u32>(first_key + tx, first_key + tx + 16u);
//# for i in ROWS
        let end$i = select(p.keys, min(p.keys, first_query + own + $iu + 1u), p.causal != 0u);
        let seen$i = key < vec2<u32>(end$i);
        score$i = select(vec2<f32>(LOWEST), score$i * p.scale, seen$i);
        weights[(own + $iu) * 33u + tx] = score$i.x;
        weights[(own + $iu) * 33u + tx + 16u] = score$i.y;
//# end
        workgroupBarrier();
        if t < QUERIES {
            let before = greatest[t];
            var now = before;
            for (var n = 0u; n < KEYS; n++) {
                now = max(now, weights[t * 33u + n]);
            }
            greatest[t] = now;
            factors[t] = exp(before - now);
        }
        workgroupBarrier();
//# for i in ROWS
        let weight$i = select(vec2<f32>(), exp(score$i - greatest[own + $iu]), seen$i);
        weights[(own + $iu) * 33u + tx] = weight$i.x;
        weights[(own + $iu) * 33u + tx + 16u] = weight$i.y;
        let factor$i = factors[own + $iu];
        total$i *= factor$i;
//# end

        // The weighted sum of the values.
//# for c in CHUNKS
        for (var part = t; part < 512u; part += 256u) {
            let own_key = first_key + part / 16u;
            var v_part = V();
            if own_key < p.keys {
                v_part = load_v((image * p.keys + own_key) * channels + first_channel, $cu * 64u + part % 16u * 4u);
            }
            vs[part] = v_part;
        }
        workgroupBarrier();
//# for i in ROWS
        sum$i_$c *= factor$i;
//# end
        for (var n = 0u; n < KEYS; n++) {
            let value = F(vs[n * 16u + tx]);
//# for i in ROWS
            let w$i = weights[(own + $iu) * 33u + n];
            sum$i_$c += w$i * value;
//# if $c == 0
            total$i += w$i;
//# end
//# end
        }
        workgroupBarrier();
//# end
    }

//# for i in ROWS
    if first_query + own + $iu < p.queries {
        let base = (image * p.queries + first_query + own + $iu) * channels + first_channel;
//# for c in CHUNKS
        let channel$c = $cu * 64u + tx * 4u;
        let value$c = kept(sum$i_$c / total$i);
//# if LOOSE
//# for j in 4
        if channel$c + $ju < p.dim {
            y[base + channel$c + $ju] = value$c[$j];
        }
//# end
//# else
        if channel$c < p.dim {
            y[(base + channel$c) / 4u] = value$c;
        }
//# end
//# end
    }
//# end
}
