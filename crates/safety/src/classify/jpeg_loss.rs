//! What is left of an image after a JPEG file, without the file: bit by bit as libjpeg-turbo writes and reads it, with which
//! Pillow and the data sets of old networks did. Colours at half the resolution, the integer transform (`islow`), smooth
//! upsampling (`fancy`).

use calotype_image::RgbImage;

use crate::Result;

/// Sides must be multiples of it: blocks of 8 at half the resolution.
const UNIT: usize = 16;
const BLOCK: usize = 8;
/// Bits after the point of the transform's constants, and of what is between its two passes.
const CONST_BITS: u32 = 13;
const PASS_BITS: u32 = 2;
/// Bits after the point of the colours' constants.
const COLOUR_BITS: u32 = 16;
const HALF: i32 = 1 << (COLOUR_BITS - 1);

/// Steps of the coefficients at quality 50, of brightness and of colours (ITU T.81, tables K.1 and K.2).
#[rustfmt::skip]
const STEPS: [[i32; BLOCK * BLOCK]; 2] = [
    [
        16, 11, 10, 16, 24, 40, 51, 61,
        12, 12, 14, 19, 26, 58, 60, 55,
        14, 13, 16, 24, 40, 57, 69, 56,
        14, 17, 22, 29, 51, 87, 80, 62,
        18, 22, 37, 56, 68, 109, 103, 77,
        24, 35, 55, 64, 81, 104, 113, 92,
        49, 64, 78, 87, 103, 121, 120, 101,
        72, 92, 95, 98, 112, 100, 103, 99,
    ],
    [
        17, 18, 24, 47, 99, 99, 99, 99,
        18, 21, 26, 66, 99, 99, 99, 99,
        24, 26, 56, 99, 99, 99, 99, 99,
        47, 66, 99, 99, 99, 99, 99, 99,
        99, 99, 99, 99, 99, 99, 99, 99,
        99, 99, 99, 99, 99, 99, 99, 99,
        99, 99, 99, 99, 99, 99, 99, 99,
        99, 99, 99, 99, 99, 99, 99, 99,
    ],
];

/// One of brightness and the two colours.
struct Plane {
    width: usize,
    values: Vec<i32>,
}

/// The image after a JPEG of this quality, 50 to 100. Rows and columns that make no whole unit of 16 are left as they are.
pub(super) fn through_jpeg(image: &RgbImage, quality: i32) -> Result<RgbImage> {
    let [width, height] = [image.width(), image.height()].map(|side| side as usize / UNIT * UNIT);
    let row_bytes = image.width() as usize * 3;
    let mut planes = [(); 3].map(|()| Plane { width, values: Vec::with_capacity(width * height) });
    for row in image.data().chunks_exact(row_bytes.max(1)).take(height) {
        for pixel in row.chunks_exact(3).take(width) {
            let values = to_ycc([pixel[0], pixel[1], pixel[2]].map(i32::from));
            planes.iter_mut().zip(values).for_each(|(plane, value)| plane.values.push(value));
        }
    }
    let [mut brightness, blue, red] = planes;
    quantise(&mut brightness, quality, &STEPS[0]);
    let [blue, red] = [blue, red].map(|full| {
        let mut half = halved(&full);
        quantise(&mut half, quality, &STEPS[1]);
        doubled(&half)
    });
    let mut data = image.data().to_vec();
    for (y, row) in data.chunks_exact_mut(row_bytes.max(1)).take(height).enumerate() {
        for (x, pixel) in row.chunks_exact_mut(3).take(width).enumerate() {
            let at = y * width + x;
            pixel.copy_from_slice(&to_rgb([brightness.values[at], blue.values[at], red.values[at]]));
        }
    }
    Ok(RgbImage::new(image.width(), image.height(), data)?)
}

/// `jccolor.c`.
fn to_ycc([r, g, b]: [i32; 3]) -> [i32; 3] {
    let middle = (128 << COLOUR_BITS) + HALF - 1;
    [
        (19595 * r + 38470 * g + 7471 * b + HALF) >> COLOUR_BITS,
        (-11059 * r - 21709 * g + 32768 * b + middle) >> COLOUR_BITS,
        (32768 * r - 27439 * g - 5329 * b + middle) >> COLOUR_BITS,
    ]
}

/// `jdcolor.c`.
fn to_rgb([y, blue, red]: [i32; 3]) -> [u8; 3] {
    let (blue, red) = (blue - 128, red - 128);
    let r = y + ((91881 * red + HALF) >> COLOUR_BITS);
    let g = y + ((-22554 * blue - 46802 * red + HALF) >> COLOUR_BITS);
    let b = y + ((116_130 * blue + HALF) >> COLOUR_BITS);
    [r, g, b].map(|value| value.clamp(0, 255) as u8)
}

/// Means of 2×2 values, rounded down and up in turns (`h2v2_downsample`).
fn halved(full: &Plane) -> Plane {
    let mut values = Vec::with_capacity(full.values.len() / 4);
    for rows in full.values.chunks_exact((2 * full.width).max(1)) {
        let (above, below) = rows.split_at(full.width);
        for (x, (a, b)) in above.chunks_exact(2).zip(below.chunks_exact(2)).enumerate() {
            values.push((a[0] + a[1] + b[0] + b[1] + 1 + x as i32 % 2) >> 2);
        }
    }
    Plane { width: full.width / 2, values }
}

/// Each value becomes four, of 9, 3, 3 and 1 parts of it and of its neighbours on that side (`h2v2_fancy_upsample`).
fn doubled(half: &Plane) -> Plane {
    let rows: Vec<&[i32]> = half.values.chunks_exact(half.width.max(1)).collect();
    let mut values = Vec::with_capacity(half.values.len() * 4);
    for (y, row) in rows.iter().enumerate() {
        for neighbour in [y.saturating_sub(1), (y + 1).min(rows.len() - 1)] {
            let sums: Vec<i32> = row.iter().zip(rows[neighbour]).map(|(near, far)| 3 * near + far).collect();
            for (x, sum) in sums.iter().enumerate() {
                let (left, right) = (sums[x.saturating_sub(1)], sums[(x + 1).min(sums.len() - 1)]);
                values.push((3 * sum + left + 8) >> 4);
                values.push((3 * sum + right + 7) >> 4);
            }
        }
    }
    Plane { width: half.width * 2, values }
}

/// Every block, through the coefficients and back.
fn quantise(plane: &mut Plane, quality: i32, steps: &[i32; BLOCK * BLOCK]) {
    let scale = 200 - 2 * quality;
    let width = plane.width;
    for top in (0..plane.values.len() / width.max(1)).step_by(BLOCK) {
        for left in (0..width).step_by(BLOCK) {
            let place = |n: usize| (top + n / BLOCK) * width + left + n % BLOCK;
            let mut block: [i32; BLOCK * BLOCK] = std::array::from_fn(|n| plane.values[place(n)] - 128);
            forward(&mut block);
            for (coefficient, step) in block.iter_mut().zip(steps) {
                let step = ((step * scale + 50) / 100).clamp(1, 255);
                // Coefficients are eight times too large.
                let rounded = (coefficient.abs() + 4 * step) / (8 * step);
                *coefficient = coefficient.signum() * rounded * step;
            }
            inverse(&mut block);
            for (n, value) in block.into_iter().enumerate() {
                plane.values[place(n)] = (value + 128).clamp(0, 255);
            }
        }
    }
}

fn rounded(value: i32, bits: u32) -> i32 {
    (value + (1 << (bits - 1))) >> bits
}

/// The part of the transform and of its inverse that is of odd coefficients.
fn odd([a, b, c, d]: [i32; 4]) -> [i32; 4] {
    let both = (a + c + b + d) * 9633;
    let (ad, bc) = ((a + d) * -7373, (b + c) * -20995);
    let (ac, bd) = ((a + c) * -16069 + both, (b + d) * -3196 + both);
    [a * 2446 + ad + ac, b * 16819 + bc + bd, c * 25172 + bc + ac, d * 12299 + ad + bd]
}

/// The part of both that is of coefficients 2 and 6.
fn turned([a, b]: [i32; 2]) -> [i32; 2] {
    let both = (a + b) * 4433;
    [both + a * 6270, both - b * 15137]
}

/// The cosine transform (`jfdctint.c`, after Loeffler, Ligtenberg & Moschytz 1989), eight times too large.
fn forward(block: &mut [i32; BLOCK * BLOCK]) {
    for (step, next, is_first) in [(1, BLOCK, true), (BLOCK, 1, false)] {
        for line in 0..BLOCK {
            let at = |n: usize| line * next + n * step;
            let v: [i32; BLOCK] = std::array::from_fn(|n| block[at(n)]);
            let [s0, s1, s2, s3] = [v[0] + v[7], v[1] + v[6], v[2] + v[5], v[3] + v[4]];
            let even = [s0 + s3 + s1 + s2, s0 + s3 - s1 - s2];
            let [c2, c6] = turned([s0 - s3, s1 - s2]);
            let [c7, c5, c3, c1] = odd([v[3] - v[4], v[2] - v[5], v[1] - v[6], v[0] - v[7]]);
            let bits = if is_first { CONST_BITS - PASS_BITS } else { CONST_BITS + PASS_BITS };
            let [c0, c4] = even.map(|sum| if is_first { sum << PASS_BITS } else { rounded(sum, PASS_BITS) });
            let [c1, c2, c3, c5, c6, c7] = [c1, c2, c3, c5, c6, c7].map(|sum| rounded(sum, bits));
            for (n, value) in [c0, c1, c2, c3, c4, c5, c6, c7].into_iter().enumerate() {
                block[at(n)] = value;
            }
        }
    }
}

/// Its inverse (`jidctint.c`).
fn inverse(block: &mut [i32; BLOCK * BLOCK]) {
    for (step, next, bits) in [(BLOCK, 1, CONST_BITS - PASS_BITS), (1, BLOCK, CONST_BITS + PASS_BITS + 3)] {
        for line in 0..BLOCK {
            let at = |n: usize| line * next + n * step;
            let c: [i32; BLOCK] = std::array::from_fn(|n| block[at(n)]);
            let [outer, inner] = turned([c[2], c[6]]);
            let [sum, difference] = [c[0] + c[4], c[0] - c[4]].map(|value| value << CONST_BITS);
            let even = [sum + outer, difference + inner, difference - inner, sum - outer];
            let [o3, o2, o1, o0] = odd([c[7], c[5], c[3], c[1]]);
            for (n, (even, odd)) in even.into_iter().zip([o0, o1, o2, o3]).enumerate() {
                block[at(n)] = rounded(even + odd, bits);
                block[at(BLOCK - 1 - n)] = rounded(even - odd, bits);
            }
        }
    }
}
