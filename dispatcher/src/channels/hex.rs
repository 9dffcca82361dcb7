//! Bytes in hexadecimal.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Two digits for each byte, small letters.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

#[cfg(test)]
mod tests {
    use super::hex;

    #[test]
    fn each_byte_is_two_small_digits() {
        assert_eq!(hex(&[0x00, 0x0f, 0xa0, 0xff, 0x19]), "000fa0ff19");
        assert_eq!(hex(&[]), "");
    }
}
