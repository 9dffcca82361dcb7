//! Keys that verify tokens, each bound to one algorithm.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, EncodingKey, crypto, jwk::AlgorithmParameters};
use ring::{digest::SHA256_OUTPUT_LEN, hmac};
use serde::Deserialize;

use super::Algorithm;

/// A key with the algorithm it is used with.
#[derive(Clone)]
pub struct Key {
    alg: Algorithm,
    kid: Option<String>,
    not_after_ms: Option<u64>,
    verifier: Verifier,
    /// Present for HS256 alone: a public key signs nothing.
    signer: Option<EncodingKey>,
}

/// What checks a signature.
#[derive(Clone)]
enum Verifier {
    /// HS256, with the key's share of the work done: a token is checked for each connection, and half of what it takes would be
    /// that.
    Secret(hmac::Key),
    /// RS256 and EdDSA.
    Public(DecodingKey),
}

impl Verifier {
    fn secret(secret: &[u8]) -> Self {
        Self::Secret(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }
}

impl Key {
    /// From an HS256 secret or a PEM public key.
    pub(super) fn from_text(
        alg: Algorithm,
        text: &str,
        kid: Option<String>,
        not_after_ms: Option<u64>,
    ) -> Result<Self, String> {
        let pem = |e: jsonwebtoken::errors::Error| {
            format!("key is not a public key for {} in PEM: {}", alg.as_str(), plain(&e))
        };
        let (verifier, signer) = match alg {
            Algorithm::HS256 => {
                // A PEM text here is nearly always a public key under the wrong algorithm: everyone could sign with it.
                if text.contains("-----BEGIN") {
                    return Err("key is in PEM, which is not a secret for HS256; set alg to RS256 or EdDSA".into());
                }
                (Verifier::secret(text.as_bytes()), Some(EncodingKey::from_secret(text.as_bytes())))
            }
            Algorithm::RS256 | Algorithm::EdDSA if text.contains("PRIVATE KEY") => {
                return Err("key is a private key; give the public one".into());
            }
            Algorithm::RS256 => (Verifier::Public(DecodingKey::from_rsa_pem(text.as_bytes()).map_err(pem)?), None),
            Algorithm::EdDSA => (Verifier::Public(DecodingKey::from_ed_pem(text.as_bytes()).map_err(pem)?), None),
        };
        Ok(Self { alg, kid, not_after_ms, verifier, signer })
    }

    /// The signature keys of a JWKS that fit `alg`; at least one.
    pub(super) fn from_jwks(alg: Algorithm, text: &str, not_after_ms: Option<u64>) -> Result<Vec<Self>, String> {
        // Key by key: a set may hold kinds that this build does not know, which are no error (RFC 7517 section 5).
        let set: Jwks = serde_json::from_str(text).map_err(|_| "jwks_file is not a JSON Web Key Set".to_owned())?;
        let keys: Vec<Self> = set.keys.into_iter().filter_map(|key| Self::from_jwk(alg, key, not_after_ms)).collect();
        if keys.is_empty() {
            return Err(format!("jwks_file holds no signature key for {}", alg.as_str()));
        }
        Ok(keys)
    }

    fn from_jwk(alg: Algorithm, json: serde_json::Value, not_after_ms: Option<u64>) -> Option<Self> {
        if json.get("use").is_some_and(|u| u != "sig") || json.get("alg").is_some_and(|a| a != alg.as_str()) {
            return None;
        }
        let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(json).ok()?;
        let fits = match (&jwk.algorithm, alg) {
            (AlgorithmParameters::RSA(_), Algorithm::RS256) => true,
            (AlgorithmParameters::OctetKeyPair(p), Algorithm::EdDSA) => {
                p.curve == jsonwebtoken::jwk::EllipticCurve::Ed25519
            }
            (AlgorithmParameters::OctetKey(_), Algorithm::HS256) => true,
            _ => false,
        };
        let (verifier, signer) = match &jwk.algorithm {
            _ if !fits => return None,
            AlgorithmParameters::OctetKey(p) => {
                let secret = URL_SAFE_NO_PAD.decode(&p.value).ok()?;
                if secret.len() < crate::limits::SECRET_BYTES_MIN {
                    return None;
                }
                (Verifier::secret(&secret), Some(EncodingKey::from_secret(&secret)))
            }
            _ => (Verifier::Public(DecodingKey::from_jwk(&jwk).ok()?), None),
        };
        Some(Self { alg, kid: jwk.common.key_id, not_after_ms, verifier, signer })
    }

    /// Whether a token whose header names `alg` and `kid` is to be checked with this key.
    pub(crate) fn fits(&self, alg: &str, kid: Option<&str>) -> bool {
        self.alg.as_str() == alg && (kid.is_none() || self.kid.is_none() || self.kid.as_deref() == kid)
    }

    pub(crate) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Whether it may still be used.
    pub(crate) fn valid_at(&self, now_ms: u64) -> bool {
        self.not_after_ms.is_none_or(|end| now_ms < end)
    }

    /// Whether `signature` (base64url) is this key's of `signed`.
    pub(crate) fn verifies(&self, signature: &str, signed: &str) -> bool {
        match &self.verifier {
            Verifier::Public(key) => {
                crypto::verify(signature, signed.as_bytes(), key, self.jwt_algorithm()).unwrap_or(false)
            }
            Verifier::Secret(key) => {
                // A decoder may want room for more than there can be.
                let mut tag = [0; SHA256_OUTPUT_LEN + 4];
                let decoded = URL_SAFE_NO_PAD.decode_slice(signature, &mut tag);
                decoded.is_ok_and(|bytes| hmac::verify(key, signed.as_bytes(), &tag[..bytes]).is_ok())
            }
        }
    }

    /// A token with these claims; `None` for keys that cannot sign.
    pub(crate) fn sign<T: serde::Serialize>(&self, claims: &T) -> Option<String> {
        let mut header = jsonwebtoken::Header::new(self.jwt_algorithm());
        header.kid.clone_from(&self.kid);
        jsonwebtoken::encode(&header, claims, self.signer.as_ref()?).ok()
    }

    fn jwt_algorithm(&self) -> jsonwebtoken::Algorithm {
        match self.alg {
            Algorithm::HS256 => jsonwebtoken::Algorithm::HS256,
            Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::EdDSA => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("alg", &self.alg)
            .field("kid", &self.kid)
            .field("not_after_ms", &self.not_after_ms)
            .field("key", &format_args!("[secret]"))
            .finish()
    }
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<serde_json::Value>,
}

/// The kind of the library's error, without the text that it was given.
fn plain(e: &jsonwebtoken::errors::Error) -> &'static str {
    match e.kind() {
        jsonwebtoken::errors::ErrorKind::InvalidKeyFormat => "another kind of key, or none",
        _ => "damaged",
    }
}
