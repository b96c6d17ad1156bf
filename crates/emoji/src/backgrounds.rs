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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_well_apart() {
        for (i, a) in BACKGROUNDS.iter().enumerate() {
            for b in &BACKGROUNDS[..i] {
                let square: u32 = a.rgb.iter().zip(b.rgb).map(|(&a, b)| u32::from(a.abs_diff(b)).pow(2)).sum();
                assert!(square >= 100 * 100, "{} and {} are {:.0} apart", a.name, b.name, f64::from(square).sqrt());
                assert_ne!(a.name, b.name);
            }
        }
    }
}
