// The normalised elements, with gain, offset and activation.
struct Params {
    // In units of V.
    count: u32,
    // Elements of an image.
    image: u32,
    channels: u32,
    groups: u32,
    per_group: u32,
    // Elements of a group.
    group_count: f32,
    eps: f32,
    activation: u32,
}

@group(0) @binding(0) var<storage, read_write> y: array<V>;
@group(0) @binding(1) var<storage, read_write> x: array<V>;
@group(0) @binding(2) var<storage, read_write> stats: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read> gamma: array<F>;
@group(0) @binding(4) var<storage, read> beta: array<F>;
var<immediate> p: Params;

fn each(i: u32) {
    let channel = i * LANES % p.channels;
    let first_stat = i * LANES / p.image * p.groups;
    var mean = F();
    var square = F();
//# if WIDE
//# for j in 4
    let stat$j = stats[first_stat + (channel + $ju) / p.per_group];
    mean[$j] = stat$j.x;
    square[$j] = stat$j.y;
//# end
//# else
    let stat = stats[first_stat + channel / p.per_group];
    mean = stat.x;
    square = stat.y;
//# end
    let normal = (F(x[i]) - mean) / sqrt(square / p.group_count + p.eps);
    y[i] = kept(activate(normal * gamma[channel / LANES] + beta[channel / LANES], p.activation));
}
