// What attention is told and bound to, by threads and by matrices.
struct Params {
    queries: u32,
    keys: u32,
    heads: u32,
    dim: u32,
    causal: u32,
    scale: f32,
    // Where a part of the blocks of queries begins.
    first_block: u32,
}

@group(0) @binding(0) var<storage, read_write> y: array<E>;
@group(0) @binding(1) var<storage, read_write> q: array<E>;
@group(0) @binding(2) var<storage, read_write> k: array<E>;
@group(0) @binding(3) var<storage, read_write> v: array<E>;
var<immediate> p: Params;

// Less than any score.
const LOWEST = -3.0e38;
