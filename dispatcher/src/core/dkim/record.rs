//! What a domain publishes in DNS, so that receivers can check its signatures (RFC 6376, 3.6).

use base64::{Engine, engine::general_purpose::STANDARD};

use super::key::{Key, Pair};
use crate::limits::DNS_STRING_BYTES_MAX;

/// A TXT record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its name: `selector._domainkey.example.org`.
    pub name: String,
    /// Its text.
    pub value: String,
}

impl Record {
    /// That of a key.
    pub fn of(key: &Key) -> Self {
        let public = key.pair().public();
        let (kind, public) = match key.pair() {
            Pair::Ed25519(_) => ("ed25519", STANDARD.encode(public)),
            Pair::Rsa(_) => ("rsa", STANDARD.encode(subject_public_key_info(public))),
        };
        let name = format!("{}._domainkey.{}", key.selector(), key.domain());
        Self { name, value: format!("v=DKIM1; k={kind}; p={public}") }
    }

    /// Its text as a zone file has it, in strings of at most 255 bytes.
    pub fn quoted(&self) -> String {
        let strings = self.value.as_bytes().chunks(DNS_STRING_BYTES_MAX);
        let strings: Vec<String> = strings.map(|s| format!("\"{}\"", String::from_utf8_lossy(s))).collect();
        strings.join(" ")
    }
}

/// An RSA key with what it is (RFC 5280, 4.1.2.7): verifiers expect that, not the key alone.
fn subject_public_key_info(key: &[u8]) -> Vec<u8> {
    /// `SEQUENCE { OID rsaEncryption, NULL }`
    const ALGORITHM: [u8; 15] =
        [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let mut bits = vec![0];
    bits.extend_from_slice(key);
    let mut inner = ALGORITHM.to_vec();
    inner.extend(tagged(0x03, &bits));
    tagged(0x30, &inner)
}

/// DER of a value shorter than 64 KiB.
fn tagged(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = (value.len() as u16).to_be_bytes();
    match value.len() {
        0..0x80 => out.push(length[1]),
        0x80..0x100 => out.extend([0x81, length[1]]),
        _ => out.extend([0x82, length[0], length[1]]),
    }
    out.extend_from_slice(value);
    out
}
