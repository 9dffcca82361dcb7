//! Masking (RFC 6455 section 5.3).

/// XORs `bytes` with the key, whose first byte belongs to the first of `bytes`. Returns the key turned so that it fits
/// the byte that follows.
pub(super) fn apply(bytes: &mut [u8], key: [u8; 4]) -> [u8; 4] {
    let word = u32::from_ne_bytes(key);
    let word = u64::from(word) << 32 | u64::from(word);
    let mut eights = bytes.chunks_exact_mut(8);
    for eight in &mut eights {
        let mut n = [0; 8];
        n.copy_from_slice(eight);
        eight.copy_from_slice(&(u64::from_ne_bytes(n) ^ word).to_ne_bytes());
    }
    for (byte, k) in eights.into_remainder().iter_mut().zip(key.iter().cycle()) {
        *byte ^= k;
    }
    let mut turned = key;
    turned.rotate_left(bytes.len() % 4);
    turned
}
