//! A domain's signing key: RSA with SHA-256 (RFC 8301) or Ed25519 (RFC 8463), and the selector by which receivers find its other half.

use std::fmt;

use ring::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};

use crate::limits::{DNS_LABEL_BYTES_MAX, DNS_NAME_BYTES_MAX};

/// A key that signs for a domain.
pub struct Key {
    domain: String,
    selector: String,
    pair: Pair,
}

pub(super) enum Pair {
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

impl Key {
    /// Reads a private key in PEM: PKCS #8, or PKCS #1 for RSA. What is wrong is told by the name of the key in the configuration, and
    /// nothing of the key itself.
    pub fn parse(domain: &str, selector: &str, pem: &str) -> Result<Self, String> {
        let ascii = idna::domain_to_ascii(domain).ok().filter(|ascii| ascii.contains('.') && is_name(ascii));
        let ascii = ascii.ok_or_else(|| format!("domain is {domain:?}, must be a domain like example.org"))?;
        if !is_name(selector) {
            return Err(format!("selector is {selector:?}, must be letters, digits and hyphens, like pushgate1"));
        }
        let record = selector.len() + "._domainkey.".len() + ascii.len();
        if record > DNS_NAME_BYTES_MAX {
            return Err(format!(
                "selector and domain make a name of {record} bytes, must be at most {DNS_NAME_BYTES_MAX}"
            ));
        }
        Ok(Self { domain: ascii, selector: selector.to_ascii_lowercase(), pair: pair(pem)? })
    }

    /// For which domain, in the letters of DNS.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Under which name receivers find its other half.
    pub fn selector(&self) -> &str {
        &self.selector
    }

    /// Whether a signature costs so much that it is not made where others wait.
    pub fn is_slow(&self) -> bool {
        matches!(self.pair, Pair::Rsa(_))
    }

    pub(super) fn pair(&self) -> &Pair {
        &self.pair
    }

    pub(super) fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Ed25519(_) => "ed25519-sha256",
            Pair::Rsa(_) => "rsa-sha256",
        }
    }

    pub(super) fn sign(&self, headers: &[u8]) -> Vec<u8> {
        match &self.pair {
            // Of the hash, not of what was hashed (RFC 8463, 3).
            Pair::Ed25519(pair) => pair.sign(digest(&SHA256, headers).as_ref()).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), headers, &mut signature)
                    .expect("the buffer is as long as the modulus, and a key that was read can sign");
                signature
            }
        }
    }
}

impl Pair {
    /// What receivers check with, as DER.
    pub(super) fn public(&self) -> &[u8] {
        match self {
            Self::Ed25519(pair) => pair.public_key().as_ref(),
            Self::Rsa(pair) => pair.public_key().as_ref(),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} for {}, {})", self.selector, self.domain, self.algorithm())
    }
}

fn pair(pem: &str) -> Result<Pair, String> {
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes());
    let der = der.map_err(|_| "it holds no private key in PEM that is not encrypted".to_owned())?;
    let rsa = |read: Result<RsaKeyPair, ring::error::KeyRejected>| match read {
        Ok(pair) => Ok(Pair::Rsa(Box::new(pair))),
        Err(error) => Err(match error.to_string().as_str() {
            // RFC 8301 forbids fewer than 1024 bits and advises 2048, which the library demands.
            "TooSmall" => "the key has fewer than 2048 bits".to_owned(),
            "TooLarge" => "the key has more than 4096 bits".to_owned(),
            "WrongAlgorithm" => "the key is neither RSA nor Ed25519".to_owned(),
            other => format!("the key cannot be used: {other}"),
        }),
    };
    match &der {
        PrivateKeyDer::Pkcs1(der) => rsa(RsaKeyPair::from_der(der.secret_pkcs1_der())),
        PrivateKeyDer::Pkcs8(der) => match Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()) {
            Ok(pair) => Ok(Pair::Ed25519(pair)),
            Err(_) => rsa(RsaKeyPair::from_pkcs8(der.secret_pkcs8_der())),
        },
        _ => Err("the key is neither RSA nor Ed25519".to_owned()),
    }
}

/// Whether it may stand in DNS.
fn is_name(name: &str) -> bool {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    name.len() <= DNS_NAME_BYTES_MAX
        && name.split('.').all(|label| (1..=DNS_LABEL_BYTES_MAX).contains(&label.len()) && label.chars().all(sound))
}
