use std::fmt;

macro_rules! dtypes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $size:literal;)*) => {
        /// The type of one element of a tensor, as safetensors spells it. Elements are little-endian.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum DType { $($(#[$doc])* $variant,)* }

        impl DType {
            /// Every dtype there is.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Bytes of one element.
            pub const fn size(self) -> usize {
                match self { $(Self::$variant => $size,)* }
            }

            /// The name in a safetensors header, such as `BF16`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The dtype of that name (exact case), or `None` for one this crate doesn't know.
            pub fn parse(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

dtypes! {
    /// 64-bit IEEE 754.
    F64 = "F64", 8;
    /// 32-bit IEEE 754.
    F32 = "F32", 4;
    /// 16-bit IEEE 754.
    F16 = "F16", 2;
    /// The upper half of an `F32` (bfloat16).
    BF16 = "BF16", 2;
    /// Signed 64-bit.
    I64 = "I64", 8;
    /// Signed 32-bit.
    I32 = "I32", 4;
    /// Signed 16-bit.
    I16 = "I16", 2;
    /// Signed 8-bit.
    I8 = "I8", 1;
    /// Unsigned 64-bit.
    U64 = "U64", 8;
    /// Unsigned 32-bit.
    U32 = "U32", 4;
    /// Unsigned 16-bit.
    U16 = "U16", 2;
    /// Unsigned 8-bit.
    U8 = "U8", 1;
    /// One byte, 0 or 1.
    Bool = "BOOL", 1;
    /// 8-bit float, 4 exponent bits, no infinity.
    F8E4M3 = "F8_E4M3", 1;
    /// 8-bit float, 5 exponent bits: the upper half of an `F16`.
    F8E5M2 = "F8_E5M2", 1;
    /// 8-bit float, 4 exponent bits, neither infinity nor negative zero.
    F8E4M3FNUZ = "F8_E4M3FNUZ", 1;
    /// 8-bit float, 5 exponent bits, neither infinity nor negative zero.
    F8E5M2FNUZ = "F8_E5M2FNUZ", 1;
    /// A power of two in 8 bits; raw bytes only.
    F8E8M0 = "F8_E8M0", 1;
    /// Two `F32`, real and imaginary; raw bytes only.
    C64 = "C64", 8;
}

impl DType {
    /// Whether its numbers are floats of which [`SafeTensors::read_f32`](crate::SafeTensors::read_f32) gives the values.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::BF16) || self.is_float8()
    }

    /// Whether it is a float of 8 bits: a number that is but a part of what it stands for where a scale lies beside it.
    pub const fn is_float8(self) -> bool {
        matches!(self, Self::F8E4M3 | Self::F8E5M2 | Self::F8E4M3FNUZ | Self::F8E5M2FNUZ)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_back() {
        for &dtype in DType::ALL {
            assert_eq!(DType::parse(dtype.name()), Some(dtype));
            assert!(dtype.size().is_power_of_two());
        }
        assert_eq!(DType::parse("f32"), None);
        assert_eq!(DType::parse("F4"), None);
    }
}
