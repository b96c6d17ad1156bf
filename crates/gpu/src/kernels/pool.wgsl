// The greatest of each 2 × 2 block.
struct Params {
    // Of the result, in units of V.
    count: u32,
    channels: u32,
    // Of x.
    width: u32,
    height: u32,
}

@group(0) @binding(0) var<storage, read_write> y: array<V>;
@group(0) @binding(1) var<storage, read_write> x: array<V>;
var<immediate> p: Params;

fn each(i: u32) {
    let pixel = i / p.channels;
    let column = pixel % (p.width / 2u);
    let line = pixel / (p.width / 2u);
    let first_line = line / (p.height / 2u) * p.height + line % (p.height / 2u) * 2u;
    let at = (first_line * p.width + column * 2u) * p.channels + i % p.channels;
    var greatest = F(x[at]);
//# for n in 1 2 3
    let x$n = F(x[at + ($nu / 2u * p.width + $nu % 2u) * p.channels]);
    greatest = select(greatest, x$n, x$n > greatest);
//# end
    y[i] = kept(greatest);
}
