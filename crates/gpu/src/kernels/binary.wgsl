// A function of two elements at a time.
struct Params {
    // Of the result, in units of V.
    count: u32,
    // 0 for the sum, 1 for the difference, 2 for the product.
    code: u32,
}

@group(0) @binding(0) var<storage, read_write> y: array<V>;
@group(0) @binding(1) var<storage, read_write> a: array<V>;
@group(0) @binding(2) var<storage, read_write> b: array<V>;
var<immediate> p: Params;

fn each(i: u32) {
    var result = F(a[i]);
    switch p.code {
        case 1u: { result -= F(b[i]); }
        case 2u: { result *= F(b[i]); }
        default: { result += F(b[i]); }
    }
    y[i] = kept(result);
}
