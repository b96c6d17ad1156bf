//! OpenCV's `COLOR_BGR2YUV` and back, in its fixed point of 14 bits.

/// One half, and the middle of the colour channels.
const HALF: i32 = 1 << 13;
const MIDDLE: i32 = 128;

fn byte(x: i32) -> u8 {
    x.clamp(0, 255) as u8
}

/// Y, U, V of a pixel.
pub(super) fn from_rgb([r, g, b]: [u8; 3]) -> [u8; 3] {
    let [r, g, b] = [r, g, b].map(i32::from);
    let y = (r * 4899 + g * 9617 + b * 1868 + HALF) >> 14;
    let u = ((b - y) * 8061 + (MIDDLE << 14) + HALF) >> 14;
    let v = ((r - y) * 14369 + (MIDDLE << 14) + HALF) >> 14;
    [y, u, v].map(byte)
}

/// R, G, B of a pixel.
pub(super) fn to_rgb([y, u, v]: [u8; 3]) -> [u8; 3] {
    let (y, u, v) = (i32::from(y), i32::from(u) - MIDDLE, i32::from(v) - MIDDLE);
    let r = y + ((v * 18678 + HALF) >> 14);
    let g = y + ((u * -6472 + v * -9519 + HALF) >> 14);
    let b = y + ((u * 33292 + HALF) >> 14);
    [r, g, b].map(byte)
}
