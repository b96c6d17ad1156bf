// Channels as pixels, or pixels as channels.
struct Params {
    // Elements of the result.
    count: u32,
    // Of the result.
    channels: u32,
    width: u32,
    // Pixels of a side that are channels of one.
    factor: u32,
    // 1 for pixels as channels.
    inverse: u32,
}

@group(0) @binding(0) var<storage, read_write> y: array<V>;
@group(0) @binding(1) var<storage, read_write> x: array<V>;
var<immediate> p: Params;

fn each(i: u32) {
    let channel = i % p.channels;
    let pixel = i / p.channels;
    let column = pixel % p.width;
    let line = pixel / p.width;
    let area = p.factor * p.factor;
    var at = 0u;
    if p.inverse == 0u {
        let source = line / p.factor * (p.width / p.factor) + column / p.factor;
        let place = line % p.factor * p.factor + column % p.factor;
        at = (source * p.channels + channel) * area + place;
    } else {
        let place = channel % area;
        let source_line = line * p.factor + place / p.factor;
        let source_column = column * p.factor + place % p.factor;
        at = (source_line * p.width * p.factor + source_column) * (p.channels / area) + channel / area;
    }
    y[i] = x[at];
}
