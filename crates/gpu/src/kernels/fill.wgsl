// One word everywhere.
struct Params {
    count: u32,
    word: u32,
}

@group(0) @binding(0) var<storage, read_write> y: array<u32>;
var<immediate> p: Params;

fn each(i: u32) {
    y[i] = p.word;
}
