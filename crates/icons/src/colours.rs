//! Colours of backgrounds, and of things whose hue is shifted.

use calotype_image::RgbaImage;

/// A background colour and its name in captions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Background {
    /// Plain English name.
    pub name: &'static str,
    /// sRGB value.
    pub rgb: [u8; 3],
}

/// The backgrounds, at least 100 apart from each other in RGB, so that a blurred or tinted one is still told.
pub const BACKGROUNDS: [Background; 10] = [
    Background { name: "red", rgb: [214, 32, 38] },
    Background { name: "orange", rgb: [255, 138, 0] },
    Background { name: "yellow", rgb: [255, 232, 60] },
    Background { name: "green", rgb: [46, 160, 67] },
    Background { name: "blue", rgb: [36, 92, 222] },
    Background { name: "purple", rgb: [128, 40, 168] },
    Background { name: "pink", rgb: [255, 158, 200] },
    Background { name: "brown", rgb: [118, 72, 36] },
    Background { name: "white", rgb: [255, 255, 255] },
    Background { name: "black", rgb: [16, 16, 18] },
];

/// The background of captions that name none.
pub(crate) const WHITE: usize = 8;

/// A colour that a thing can be shifted to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Colour {
    /// Plain English name.
    pub name: &'static str,
    /// Hue in degrees.
    hue: f32,
    /// How much of the way to white its lightness goes.
    lift: f32,
}

/// The colours of things.
pub const COLOURS: [Colour; 7] = [
    Colour { name: "red", hue: 0.0, lift: 0.0 },
    Colour { name: "orange", hue: 28.0, lift: 0.0 },
    Colour { name: "yellow", hue: 52.0, lift: 0.1 },
    Colour { name: "green", hue: 128.0, lift: 0.0 },
    Colour { name: "blue", hue: 220.0, lift: 0.0 },
    Colour { name: "purple", hue: 278.0, lift: 0.0 },
    Colour { name: "pink", hue: 332.0, lift: 0.3 },
];

/// Degrees that a new hue must differ by from the thing's own.
const APART: f32 = 40.0;
/// Share of a thing that must be coloured, and how much alike its hues must be (length of their mean on the circle).
const COLOURED: f32 = 0.6;
const ALIKE: f32 = 0.85;

/// The hue that most of a picture has, in degrees; none where it has several, or hardly any.
pub(crate) fn main_hue(picture: &RgbaImage) -> Option<f32> {
    let (mut x, mut y, mut coloured, mut all) = (0.0f32, 0.0f32, 0.0f32, 0.0f32);
    for pixel in picture.data().chunks_exact(4) {
        let [r, g, b, alpha] = [pixel[0], pixel[1], pixel[2], pixel[3]];
        let [hue, saturation, lightness] = to_hsl([r, g, b]);
        let alpha = f32::from(alpha) / 255.0;
        all += alpha;
        if saturation > 0.3 && (0.15..0.92).contains(&lightness) {
            coloured += alpha;
            x += alpha * hue.to_radians().cos();
            y += alpha * hue.to_radians().sin();
        }
    }
    let clear = all > 0.0 && coloured / all >= COLOURED && x.hypot(y) / coloured >= ALIKE;
    clear.then(|| y.atan2(x).to_degrees().rem_euclid(360.0))
}

/// The colours (places in [`COLOURS`]) that a thing of hue `own` can be shifted to and then looks otherwise.
pub(crate) fn other_colours(own: f32) -> Vec<usize> {
    let distance = |hue: f32| (hue - own + 180.0).rem_euclid(360.0) - 180.0;
    (0..COLOURS.len()).filter(|&c| distance(COLOURS[c].hue).abs() >= APART).collect()
}

/// The picture with every hue turned by what takes `own` to the colour's.
pub(crate) fn shifted(picture: &RgbaImage, own: f32, colour: &Colour) -> RgbaImage {
    let mut picture = picture.clone();
    for pixel in picture.data_mut().chunks_exact_mut(4) {
        let [hue, saturation, lightness] = to_hsl([pixel[0], pixel[1], pixel[2]]);
        // Greys have no hue to shift, and stay.
        let lift = colour.lift * saturation.min(1.0);
        let hsl = [(hue + colour.hue - own).rem_euclid(360.0), saturation, lightness + (1.0 - lightness) * lift];
        pixel[..3].copy_from_slice(&from_hsl(hsl));
    }
    picture
}

/// Hue in degrees, saturation and lightness in 0..1 (CSS Color 4, section 7).
fn to_hsl(rgb: [u8; 3]) -> [f32; 3] {
    let [r, g, b] = rgb.map(|x| f32::from(x) / 255.0);
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    let (lightness, range) = ((max + min) / 2.0, max - min);
    if range <= 0.0 {
        return [0.0, 0.0, lightness];
    }
    let hue = if max == r {
        (g - b) / range
    } else if max == g {
        (b - r) / range + 2.0
    } else {
        (r - g) / range + 4.0
    };
    [(hue * 60.0).rem_euclid(360.0), range / (1.0 - (2.0 * lightness - 1.0).abs()), lightness]
}

fn from_hsl([hue, saturation, lightness]: [f32; 3]) -> [u8; 3] {
    [0.0, 8.0, 4.0].map(|offset| {
        let k = (offset + hue / 30.0).rem_euclid(12.0);
        let x = lightness - saturation * lightness.min(1.0 - lightness) * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0);
        (x.clamp(0.0, 1.0) * 255.0).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backgrounds_are_well_apart() {
        for (i, a) in BACKGROUNDS.iter().enumerate() {
            for b in &BACKGROUNDS[..i] {
                let square: u32 = a.rgb.iter().zip(b.rgb).map(|(&a, b)| u32::from(a.abs_diff(b)).pow(2)).sum();
                assert!(square >= 100 * 100, "{} and {} are {:.0} apart", a.name, b.name, f64::from(square).sqrt());
                assert_ne!(a.name, b.name);
            }
        }
        assert_eq!(BACKGROUNDS[WHITE].name, "white");
    }

    #[test]
    fn hsl_there_and_back() {
        for rgb in [[255, 0, 0], [12, 200, 99], [7, 7, 7], [255, 255, 255], [250, 100, 180], [0, 0, 1]] {
            let back = from_hsl(to_hsl(rgb));
            assert!(rgb.iter().zip(back).all(|(a, b)| a.abs_diff(b) <= 1), "{rgb:?} {back:?}");
        }
        assert_eq!(to_hsl([0, 255, 0]), [120.0, 1.0, 0.5]);
    }

    #[test]
    fn an_apple_becomes_blue_and_its_white_stays() {
        let mut data = [200u8, 20, 20, 255].repeat(14);
        data.extend([255, 255, 255, 255, 255, 255, 255, 255]);
        let apple = RgbaImage::new(4, 4, data).unwrap();
        let own = main_hue(&apple).unwrap();
        assert!(own < 1.0);
        assert!(!other_colours(own).contains(&0) && other_colours(own).contains(&4));
        let blue = shifted(&apple, own, &COLOURS[4]);
        assert_eq!(blue.pixel(3, 3), Some([255, 255, 255, 255]));
        let [r, g, b, _] = blue.pixel(0, 0).unwrap();
        assert!(b > 190 && r < 30 && g < 90, "{r} {g} {b}");
    }

    #[test]
    fn two_hues_are_none() {
        let half = [[255u8, 0, 0, 255].repeat(8), [0u8, 0, 255, 255].repeat(8)].concat();
        assert_eq!(main_hue(&RgbaImage::new(4, 4, half).unwrap()), None);
        assert_eq!(main_hue(&RgbaImage::new(4, 4, [90, 90, 90, 255].repeat(16)).unwrap()), None);
    }
}
