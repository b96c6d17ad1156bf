// A convolution of each channel by itself.
struct Params {
    // Of the result, in units of V.
    count: u32,
    channels: u32,
    width: u32,
    height: u32,
    out_width: u32,
    out_height: u32,
    kernel_width: u32,
    taps: u32,
    stride: u32,
    top: u32,
    left: u32,
    // 1 for a bias.
    flags: u32,
}

@group(0) @binding(0) var<storage, read_write> y: array<V>;
@group(0) @binding(1) var<storage, read_write> x: array<V>;
@group(0) @binding(2) var<storage, read> weight: array<V>;
@group(0) @binding(3) var<storage, read> bias: array<F>;
var<immediate> p: Params;

fn each(i: u32) {
    let channel = i % p.channels;
    let pixel = i / p.channels;
    let line = pixel / p.out_width;
    // Numbers below zero wrap, and so are outside too.
    let left = pixel % p.out_width * p.stride - p.left;
    let top = line % p.out_height * p.stride - p.top;
    var sum = F();
    for (var tap = 0u; tap < p.taps; tap++) {
        let h = top + tap / p.kernel_width;
        let w = left + tap % p.kernel_width;
        if h < p.height && w < p.width {
            let at = ((line / p.out_height * p.height + h) * p.width + w) * p.channels + channel;
            sum += F(x[at]) * F(weight[tap * p.channels + channel]);
        }
    }
    if (p.flags & 1u) != 0u {
        sum += bias[channel];
    }
    y[i] = kept(sum);
}
