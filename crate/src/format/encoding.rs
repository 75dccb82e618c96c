//! How weights lie in GPU memory.
//!
//! The build script includes this file, and makes a variant of each kernel that reads weights for each encoding: so it uses
//! nothing but the standard library.

/// How a weight lies in GPU memory. Elements keep their order in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    /// One f32 in a u32. No scales.
    F32,
    /// Two f16 in a u32, the first in the low half. No scales.
    F16,
    /// Eight 4-bit codes in a u32, element `i` of the eight in bits `4i..4i+4`. Two f32 for each group
    /// of 32: scale and min; value = scale * code + min.
    Q4,
    /// The same in groups of 16.
    Q4G16,
    /// NF4 with double quantization, which [`super::nf4`] makes of plain numbers. Eight 4-bit codes in a u32, as in Q4. The
    /// scales are words: the 256 numbers of its dynamic map, and a record for each 4,096 elements: an f32
    /// `absmax`, an f32 `offset`, and a byte for each 64 of them; value = code's number * (byte's number * absmax + offset).
    Nf4,
    /// Four signed bytes in a u32, the first lowest. One f32 for each group of 32: value = scale * code.
    Q8,
    /// The same in groups of 16.
    Q8G16,
    /// Four signed bytes in a u32, the first lowest. Two f32 for each group of 32: value = scale * code + min.
    Q8Min,
}

/// What an encoding is made of.
pub struct Descriptor {
    /// As kernels and files of choices name it.
    pub name: &'static str,
    /// Bits of a code, or of a number that stands as it is.
    pub bits: usize,
    /// How many elements share a scale; 1 for numbers that stand as they are.
    pub group: usize,
    /// Whether a group has a min beside its scale.
    pub has_min: bool,
}

impl Encoding {
    /// Each.
    pub const ALL: [Self; 8] =
        [Self::Q4, Self::Q4G16, Self::Nf4, Self::Q8, Self::Q8G16, Self::Q8Min, Self::F16, Self::F32];

    /// What it is made of.
    pub fn descriptor(self) -> Descriptor {
        let of = |name, bits, group, has_min| Descriptor { name, bits, group, has_min };
        match self {
            Self::F32 => of("f32", 32, 1, false),
            Self::F16 => of("f16", 16, 1, false),
            Self::Q4 => of("q4", 4, 32, true),
            Self::Q4G16 => of("q4g16", 4, 16, true),
            Self::Nf4 => of("nf4", 4, 64, false),
            Self::Q8 => of("q8", 8, 32, false),
            Self::Q8G16 => of("q8g16", 8, 16, false),
            Self::Q8Min => of("q8min", 8, 32, true),
        }
    }

    /// As kernels and files of choices name it.
    pub fn name(self) -> &'static str {
        self.descriptor().name
    }

    /// Elements that share one u32 of codes.
    pub fn codes_per_word(self) -> usize {
        32 / self.descriptor().bits
    }

    /// The flags of its kernels: its name; whether it is CODED, in how many bits, with a MIN, in groups of 16 (G16); and how
    /// many EIGHTS of a row are read at a time where lanes are few.
    pub fn flags(self) -> Vec<(String, String)> {
        let Descriptor { name, bits, group, has_min } = self.descriptor();
        let coded = group > 1;
        let flags = [
            (true, name.to_uppercase()),
            (coded, "CODED".into()),
            (coded, format!("BITS{bits}")),
            (has_min, "MIN".into()),
            (group == 16, "G16".into()),
        ];
        let flags = flags.into_iter().filter(|(has, _)| *has).map(|(_, flag)| (flag, "1".into()));
        flags.chain([("EIGHTS".into(), if coded { "4" } else { "1" }.into())]).collect()
    }
}
