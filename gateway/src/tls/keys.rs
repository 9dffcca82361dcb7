//! The keys of one connection's records, in one block on the heap.
//!
//! What an idle connection keeps is key, IV, sequence number and, for TLS 1.3, the traffic secret of each direction, and
//! nothing else: the cipher's own state is made from the key for each record (some 0.1 µs) and forgotten. The block is
//! never copied, only handed on, and wiped when dropped.

use std::fmt;

use ring::{aead, hkdf};
use zeroize::Zeroize;

/// Longest AEAD key, bytes.
pub const KEY_BYTES_MAX: usize = 32;
/// Longest traffic secret, bytes.
pub const SECRET_BYTES_MAX: usize = 48;
/// Length of an IV and a nonce, bytes.
pub const IV_BYTES: usize = 12;
/// Length of the number that a TLS 1.2 AES record carries in clear, bytes (RFC 5288 section 3).
pub const EXPLICIT_NONCE_BYTES: usize = 8;
/// Length of an AEAD's tag, bytes.
pub const TAG_BYTES: usize = 16;

const SEQ_BYTES: usize = 8;

/// Version and cipher of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Suite {
    /// TLS 1.2 with ECDHE and AES-128-GCM.
    V12Aes128,
    /// TLS 1.2 with ECDHE and AES-256-GCM.
    V12Aes256,
    /// TLS 1.2 with ECDHE and ChaCha20-Poly1305.
    V12Chacha,
    /// TLS 1.3 with AES-128-GCM and SHA-256.
    V13Aes128,
    /// TLS 1.3 with AES-256-GCM and SHA-384.
    V13Aes256,
    /// TLS 1.3 with ChaCha20-Poly1305 and SHA-256.
    V13Chacha,
}

impl Suite {
    /// Every suite.
    pub const ALL: [Self; 6] =
        [Self::V12Aes128, Self::V12Aes256, Self::V12Chacha, Self::V13Aes128, Self::V13Aes256, Self::V13Chacha];

    /// Whether it is of TLS 1.3.
    pub fn is_v13(self) -> bool {
        matches!(self, Self::V13Aes128 | Self::V13Aes256 | Self::V13Chacha)
    }

    /// Length of its key, bytes.
    pub fn key_bytes(self) -> usize {
        self.algorithm().key_len()
    }

    /// Length of its traffic secrets, bytes; TLS 1.2 has none.
    pub fn secret_bytes(self) -> usize {
        match self {
            Self::V12Aes128 | Self::V12Aes256 | Self::V12Chacha => 0,
            Self::V13Aes128 | Self::V13Chacha => 32,
            Self::V13Aes256 => 48,
        }
    }

    /// Bytes of the nonce that each record carries.
    pub fn explicit_nonce_bytes(self) -> usize {
        if matches!(self, Self::V12Aes128 | Self::V12Aes256) { EXPLICIT_NONCE_BYTES } else { 0 }
    }

    /// Records that one key may protect. AES-GCM: RFC 8446 section 5.5 allows 2^24.5 full ones.
    pub fn records_max(self) -> u64 {
        if matches!(self, Self::V12Chacha | Self::V13Chacha) { u64::MAX } else { 1 << 24 }
    }

    fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Self::V12Aes128 | Self::V13Aes128 => &aead::AES_128_GCM,
            Self::V12Aes256 | Self::V13Aes256 => &aead::AES_256_GCM,
            Self::V12Chacha | Self::V13Chacha => &aead::CHACHA20_POLY1305,
        }
    }

    fn hkdf(self) -> hkdf::Algorithm {
        if self == Self::V13Aes256 { hkdf::HKDF_SHA384 } else { hkdf::HKDF_SHA256 }
    }

    fn half_bytes(self) -> usize {
        SEQ_BYTES + IV_BYTES + self.key_bytes() + self.secret_bytes()
    }
}

/// Which way records go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// From the peer.
    Receive,
    /// To the peer.
    Send,
}

/// What a handshake agreed on for one direction.
#[derive(Clone)]
pub struct Agreed {
    /// Records that went this way under this key.
    pub seq: u64,
    /// The key; the suite says how much of it counts.
    pub key: [u8; KEY_BYTES_MAX],
    /// The IV; of TLS 1.2 with AES the first four bytes are the salt.
    pub iv: [u8; IV_BYTES],
    /// The traffic secret of TLS 1.3.
    pub secret: [u8; SECRET_BYTES_MAX],
}

impl Agreed {
    /// As of the start of application data under TLS 1.3: key and IV follow from the traffic secret.
    pub fn from_secret(suite: Suite, secret: &[u8]) -> Self {
        let mut agreed = Self::empty();
        let bytes = suite.secret_bytes().min(secret.len());
        agreed.secret[..bytes].copy_from_slice(&secret[..bytes]);
        expand(suite, &agreed.secret[..suite.secret_bytes()], b"key", &mut agreed.key[..suite.key_bytes()]);
        expand(suite, &agreed.secret[..suite.secret_bytes()], b"iv", &mut agreed.iv);
        agreed
    }

    /// All zeroes, to be filled in.
    pub fn empty() -> Self {
        Self { seq: 0, key: [0; KEY_BYTES_MAX], iv: [0; IV_BYTES], secret: [0; SECRET_BYTES_MAX] }
    }
}

impl Drop for Agreed {
    fn drop(&mut self) {
        self.key.zeroize();
        self.iv.zeroize();
        self.secret.zeroize();
    }
}

impl fmt::Debug for Agreed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Agreed {{ seq: {}, [secret] }}", self.seq)
    }
}

/// Both directions' keys; the suite is kept by their owner.
pub(super) struct Keys(Box<[u8]>);

impl Keys {
    pub(super) fn new(suite: Suite, receive: &Agreed, send: &Agreed) -> Self {
        let mut keys = Self(vec![0; 2 * suite.half_bytes()].into_boxed_slice());
        for (side, agreed) in [(Side::Receive, receive), (Side::Send, send)] {
            let half = keys.half_mut(side);
            let (seq, rest) = half.split_at_mut(SEQ_BYTES);
            let (iv, rest) = rest.split_at_mut(IV_BYTES);
            let (key, secret) = rest.split_at_mut(suite.key_bytes());
            seq.copy_from_slice(&agreed.seq.to_ne_bytes());
            iv.copy_from_slice(&agreed.iv);
            key.copy_from_slice(&agreed.key[..key.len()]);
            secret.copy_from_slice(&agreed.secret[..secret.len()]);
        }
        keys
    }

    /// Records that went this way under the present key.
    pub(super) fn seq(&self, side: Side) -> u64 {
        u64::from_ne_bytes(array(&self.half(side)[..SEQ_BYTES]))
    }

    pub(super) fn set_seq(&mut self, side: Side, seq: u64) {
        self.half_mut(side)[..SEQ_BYTES].copy_from_slice(&seq.to_ne_bytes());
    }

    pub(super) fn iv(&self, side: Side) -> [u8; IV_BYTES] {
        array(&self.half(side)[SEQ_BYTES..SEQ_BYTES + IV_BYTES])
    }

    /// The IV with the sequence number mixed in (RFC 8446 section 5.3).
    pub(super) fn nonce(&self, side: Side) -> [u8; IV_BYTES] {
        let mut nonce = self.iv(side);
        for (byte, seq) in nonce[IV_BYTES - SEQ_BYTES..].iter_mut().zip(self.seq(side).to_be_bytes()) {
            *byte ^= seq;
        }
        nonce
    }

    /// The cipher, ready for use.
    pub(super) fn cipher(&self, suite: Suite, side: Side) -> aead::LessSafeKey {
        let key = &self.half(side)[SEQ_BYTES + IV_BYTES..][..suite.key_bytes()];
        aead::LessSafeKey::new(aead::UnboundKey::new(suite.algorithm(), key).expect("the key has the suite's length"))
    }

    /// The next key of this direction (RFC 8446 section 7.2); its records are counted anew.
    pub(super) fn update(&mut self, suite: Suite, side: Side) {
        let secret_at = SEQ_BYTES + IV_BYTES + suite.key_bytes();
        let mut next = [0; SECRET_BYTES_MAX];
        let next_secret = &mut next[..suite.secret_bytes()];
        expand(suite, &self.half(side)[secret_at..], b"traffic upd", next_secret);
        let mut agreed = Agreed::from_secret(suite, next_secret);
        let half = self.half_mut(side);
        half[..SEQ_BYTES].fill(0);
        half[SEQ_BYTES..SEQ_BYTES + IV_BYTES].copy_from_slice(&agreed.iv);
        half[SEQ_BYTES + IV_BYTES..secret_at].copy_from_slice(&agreed.key[..suite.key_bytes()]);
        half[secret_at..].copy_from_slice(next_secret);
        agreed.seq = 0;
        next.zeroize();
    }

    fn half(&self, side: Side) -> &[u8] {
        let (receive, send) = self.0.split_at(self.0.len() / 2);
        if side == Side::Receive { receive } else { send }
    }

    fn half_mut(&mut self, side: Side) -> &mut [u8] {
        let middle = self.0.len() / 2;
        let (receive, send) = self.0.split_at_mut(middle);
        if side == Side::Receive { receive } else { send }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).
fn expand(suite: Suite, secret: &[u8], label: &[u8], out: &mut [u8]) {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    const PREFIX: &[u8] = b"tls13 ";
    let bytes = (out.len() as u16).to_be_bytes();
    let label_bytes = [(PREFIX.len() + label.len()) as u8];
    let info = [&bytes[..], &label_bytes, PREFIX, label, &[0]];
    let prk = hkdf::Prk::new_less_safe(suite.hkdf(), secret);
    let filled = prk.expand(&info, Length(out.len())).and_then(|okm| okm.fill(out));
    filled.expect("no output is longer than 255 hashes");
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the slice was cut to this length")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8448 section 3, "Simple 1-RTT Handshake": the server's application traffic secret and what follows from it.
    #[test]
    fn key_and_iv_follow_from_the_secret_as_in_rfc_8448() {
        let secret = hex("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643");
        let agreed = Agreed::from_secret(Suite::V13Aes128, &secret);
        assert_eq!(agreed.key[..16], hex("9f02283b6c9c07efc26bb9f2ac92e356"));
        assert_eq!(agreed.iv[..], hex("cf782b88dd83549aadf1e984"));
    }

    #[test]
    fn an_idle_connection_keeps_two_keys_ivs_numbers_and_secrets() {
        let bytes = |suite: Suite| Keys::new(suite, &Agreed::empty(), &Agreed::empty()).0.len();
        assert_eq!(Suite::ALL.map(bytes), [72, 104, 104, 136, 200, 168]);
    }

    #[test]
    fn an_update_changes_one_direction_and_counts_anew() {
        let agreed = Agreed { seq: 7, ..Agreed::from_secret(Suite::V13Aes256, &[9; 48]).clone() };
        let mut keys = Keys::new(Suite::V13Aes256, &agreed, &agreed);
        keys.update(Suite::V13Aes256, Side::Receive);
        assert_eq!((keys.seq(Side::Receive), keys.seq(Side::Send)), (0, 7));
        assert_ne!(keys.iv(Side::Receive), keys.iv(Side::Send));
        assert_eq!(format!("{agreed:?}"), "Agreed { seq: 7, [secret] }");
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }
}
