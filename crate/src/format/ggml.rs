//! The tensor encodings of ggml: numbers, names and block sizes.

use std::fmt;

macro_rules! types {
    ($($name:ident $number:literal $block:literal $bytes:literal,)*) => {
        /// How a tensor's elements are encoded in a GGUF file, under ggml's own names.
        #[allow(non_camel_case_types, missing_docs)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum GgmlType { $($name = $number,)* }

        impl GgmlType {
            /// Each of them.
            pub const ALL: [Self; [$($number),*].len()] = [$(Self::$name),*];

            /// The type with this number, if it is one of ggml's.
            pub fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

            /// ggml's name, such as "Q4_1".
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Elements in one block; 1 for the dense types.
            pub fn block_len(self) -> usize {
                match self { $(Self::$name => $block,)* }
            }

            /// Bytes in one block.
            pub fn block_bytes(self) -> usize {
                match self { $(Self::$name => $bytes,)* }
            }
        }
    };
}

types! {
    F32 0 1 4, F16 1 1 2, Q4_0 2 32 18, Q4_1 3 32 20, Q5_0 6 32 22, Q5_1 7 32 24, Q8_0 8 32 34, Q8_1 9 32 36,
    Q2_K 10 256 84, Q3_K 11 256 110, Q4_K 12 256 144, Q5_K 13 256 176, Q6_K 14 256 210, Q8_K 15 256 292,
    IQ2_XXS 16 256 66, IQ2_XS 17 256 74, IQ3_XXS 18 256 98, IQ1_S 19 256 50, IQ4_NL 20 32 18, IQ3_S 21 256 110,
    IQ2_S 22 256 82, IQ4_XS 23 256 136, I8 24 1 1, I16 25 1 2, I32 26 1 4, I64 27 1 8, F64 28 1 8,
    IQ1_M 29 256 56, BF16 30 1 2, TQ1_0 34 256 54, TQ2_0 35 256 66, MXFP4 39 32 17, NVFP4 40 64 36, Q1_0 41 128 18,
}

impl GgmlType {
    /// The number that stands for the type in a file.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// Bytes of `elements` elements, which must be whole blocks; `None` if they are not, or on overflow.
    pub fn byte_len(self, elements: u64) -> Option<u64> {
        let block = self.block_len() as u64;
        elements.is_multiple_of(block).then(|| (elements / block).checked_mul(self.block_bytes() as u64))?
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_sizes() {
        assert_eq!(GgmlType::from_number(3), Some(GgmlType::Q4_1));
        assert_eq!(GgmlType::from_number(4), None, "Q4_2 was removed from ggml");
        assert_eq!(GgmlType::IQ4_XS.number(), 23);
        assert_eq!(GgmlType::Q6_K.to_string(), "Q6_K");
        assert_eq!(GgmlType::Q4_0.byte_len(64), Some(36));
        assert_eq!(GgmlType::Q4_0.byte_len(33), None);
        assert_eq!(GgmlType::F32.byte_len(u64::MAX), None);
    }
}
