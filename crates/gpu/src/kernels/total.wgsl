// Sums over the 64 threads of a workgroup.
var<workgroup> parts: array<f32, 64>;

// The sum over all threads, in an order that is always the same.
fn total(t: u32, value: f32) -> f32 {
    workgroupBarrier();
    parts[t] = value;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if t < half {
            parts[t] += parts[t + half];
        }
    }
    workgroupBarrier();
    return parts[0];
}
