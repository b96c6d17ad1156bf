// A function of each element.
struct Params {
    // Of the result, in units of V.
    count: u32,
    // Activations, then those of `UnaryFunction`.
    code: u32,
    a: f32,
    b: f32,
}

@group(0) @binding(0) var<storage, read_write> y: array<V>;
@group(0) @binding(1) var<storage, read_write> x: array<V>;
var<immediate> p: Params;

fn each(i: u32) {
    let value = F(x[i]);
    var result = value;
    switch p.code {
        case 16u: { result = value * p.a; }
        case 17u: { result = abs(value); }
        case 18u: { result = exponential(value); }
        case 19u: {
            result = select(value, F(p.a), value < F(p.a));
            result = select(result, F(p.b), result > F(p.b));
        }
        default: { result = activate(value, p.code); }
    }
    y[i] = kept(result);
}
