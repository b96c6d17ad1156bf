//! Floats of 8 bits (Micikevicius et al. 2022, <https://arxiv.org/abs/2209.05433>, and the forms without a negative zero of
//! <https://arxiv.org/abs/2206.02915>): so few that each form is a table of its values.

use crate::DType;

/// How a form spends its bits.
struct Form {
    /// Bits after the exponent.
    mantissa: u32,
    bias: i32,
    special: Special,
}

/// Which numbers are none.
enum Special {
    /// Infinities and NaN as IEEE 754 has them.
    Ieee,
    /// NaN where all bits but the sign are 1.
    AllOnes,
    /// NaN in the place of the negative zero.
    NegativeZero,
}

const E4M3: [f32; 256] = table(&Form { mantissa: 3, bias: 7, special: Special::AllOnes });
const E5M2: [f32; 256] = table(&Form { mantissa: 2, bias: 15, special: Special::Ieee });
const E4M3_FNUZ: [f32; 256] = table(&Form { mantissa: 3, bias: 8, special: Special::NegativeZero });
const E5M2_FNUZ: [f32; 256] = table(&Form { mantissa: 2, bias: 16, special: Special::NegativeZero });

/// The value of each of the 256 bytes; none if `dtype` is no float of 8 bits.
pub(crate) const fn values(dtype: DType) -> Option<&'static [f32; 256]> {
    match dtype {
        DType::F8E4M3 => Some(&E4M3),
        DType::F8E5M2 => Some(&E5M2),
        DType::F8E4M3FNUZ => Some(&E4M3_FNUZ),
        DType::F8E5M2FNUZ => Some(&E5M2_FNUZ),
        _ => None,
    }
}

const fn table(form: &Form) -> [f32; 256] {
    let mut table = [0.0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte as usize] = value(form, byte);
        byte += 1;
    }
    table
}

/// `(-1)^s · 2^(e - bias) · 1.m`, with an exponent of 0 `(-1)^s · 2^(1 - bias) · 0.m`.
const fn value(form: &Form, byte: u32) -> f32 {
    let Form { mantissa, bias, special } = form;
    let one = 1 << *mantissa;
    let (exponent, fraction) = ((byte & 0x7f) >> *mantissa, byte & (one - 1));
    match special {
        Special::AllOnes if byte & 0x7f == 0x7f => return f32::NAN,
        Special::NegativeZero if byte == 0x80 => return f32::NAN,
        Special::Ieee if byte & 0x7f == 0x7c => return if byte < 0x80 { f32::INFINITY } else { f32::NEG_INFINITY },
        Special::Ieee if byte & 0x7f > 0x7c => return f32::NAN,
        _ => {}
    }
    let (digits, power) = match exponent {
        0 => (fraction, 1 - *bias),
        exponent => (one + fraction, exponent as i32 - *bias),
    };
    // Both factors are exact: a whole number of at most 4 bits, and a power of two in the range of an f32.
    let scale = f32::from_bits(((127 + power - *mantissa as i32) as u32) << 23);
    let magnitude = digits as f32 * scale;
    if byte < 0x80 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// `reference/float8.py`: what torch makes of each byte.
    #[test]
    fn every_byte_is_as_in_torch() {
        let path = format!("{}/tests/data/float8.json", env!("CARGO_MANIFEST_DIR"));
        let goldens: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        for name in ["F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"] {
            let dtype = DType::parse(name).unwrap();
            assert!(dtype.is_float8() && dtype.is_float());
            let expected = goldens[name].as_array().unwrap();
            assert_eq!(expected.len(), 256);
            for ((byte, value), bits) in (0..).zip(values(dtype).unwrap()).zip(expected) {
                let expected = f32::from_bits(u32::try_from(bits.as_u64().unwrap()).unwrap());
                let same = value.to_bits() == expected.to_bits() || value.is_nan() && expected.is_nan();
                assert!(same, "{name} {byte:#04x}: {value}, expected {expected}");
            }
        }
        assert!(values(DType::F8E8M0).is_none() && !DType::F8E8M0.is_float());
    }
}
