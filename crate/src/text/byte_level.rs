//! GPT-2's alphabet: every byte is one printable character of a token's text.

/// Characters of the bytes that are not printable on their own start here.
const SHIFTED: u32 = 256;

/// Whether a byte stands for itself as a Latin-1 character.
fn printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

/// The byte that a character stands for, `None` where it is not of the alphabet.
pub(super) fn byte(character: char) -> Option<u8> {
    let code = u32::from(character);
    match u8::try_from(code) {
        Ok(byte) => printable(byte).then_some(byte),
        Err(_) => (0..=255u8).filter(|byte| !printable(*byte)).nth((code - SHIFTED) as usize),
    }
}

/// The bytes of a token's text; a text that is not of the alphabet (an added token's) stands for itself.
pub(super) fn bytes(token: &str) -> Vec<u8> {
    token.chars().map(byte).collect::<Option<_>>().unwrap_or_else(|| token.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_alphabet_is_that_of_tokenizers() {
        let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        let bytes: BTreeSet<u8> = alphabet.iter().map(|c| byte(*c).unwrap()).collect();
        assert_eq!(bytes.len(), 256);
        assert_eq!(byte('Ġ'), Some(b' '));
        assert_eq!(byte('Ċ'), Some(b'\n'));
        assert_eq!(byte('日'), None);
        assert_eq!(super::bytes("ĠcafÃ©"), " café".as_bytes());
        assert_eq!(super::bytes("<|日 x|>"), "<|日 x|>".as_bytes());
    }
}
