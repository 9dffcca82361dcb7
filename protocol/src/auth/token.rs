//! A token taken apart (RFC 7515 compact form), and its claims (RFC 7519).

use std::{borrow::Cow, ops::Deref};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::AuthError;
use crate::{
    apps::Key,
    limits::{TOKEN_BYTES_MAX, TOKEN_LEEWAY_S},
};

/// Headers of most tokens, `{"alg":…,"typ":"JWT"}` and the same turned round, with the `alg` in them: recognised, they need not be read.
const USUAL_HEADERS: [(&str, &str); 6] = [
    ("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", "HS256"),
    ("eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9", "HS256"),
    ("eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9", "RS256"),
    ("eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9", "RS256"),
    ("eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9", "EdDSA"),
    ("eyJ0eXAiOiJKV1QiLCJhbGciOiJFZERTQSJ9", "EdDSA"),
];

/// A token whose parts were read and nothing of which is trusted before [`Token::verify`]. What it says lies in the buffer it was
/// decoded into.
pub(super) struct Token<'a, 'b> {
    signed: &'a str,
    signature: &'a str,
    header: Header<'b>,
    pub(super) claims: Claims<'b>,
}

/// A text that is copied only where it is escaped.
#[derive(Deserialize)]
pub(super) struct Text<'b>(#[serde(borrow)] Cow<'b, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

#[derive(Deserialize)]
struct Header<'b> {
    #[serde(borrow)]
    alg: Text<'b>,
    #[serde(borrow)]
    kid: Option<Text<'b>>,
    /// Extensions that must be understood (RFC 7515 section 4.1.11); none is.
    crit: Option<serde::de::IgnoredAny>,
}

/// The claims that mean something here; others are ignored.
#[derive(Deserialize)]
pub(super) struct Claims<'b> {
    #[serde(borrow)]
    pub(super) app: Option<Text<'b>>,
    #[serde(borrow)]
    pub(super) sub: Option<Text<'b>>,
    #[serde(borrow)]
    pub(super) dev: Option<Text<'b>>,
    #[serde(borrow)]
    pub(super) plat: Option<Text<'b>>,
    #[serde(default)]
    pub(super) aud: Texts,
    #[serde(default)]
    pub(super) scope: Texts,
    /// Seconds, not always whole (RFC 7519 section 2, NumericDate).
    exp: Option<f64>,
    nbf: Option<f64>,
    iat: Option<f64>,
    #[serde(borrow)]
    pub(super) jti: Option<Text<'b>>,
}

/// One text or a list of them: `aud` (RFC 7519 section 4.1.3); `scope` is one text of words (RFC 8693 section 4.2) or,
/// with some issuers, a list.
#[derive(Deserialize, Default)]
#[serde(untagged)]
pub(super) enum Texts {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

impl Texts {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    pub(super) fn contains(&self, text: &str) -> bool {
        self.texts().iter().any(|t| t == text)
    }

    /// The words of all texts.
    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        self.texts().iter().flat_map(|t| t.split_ascii_whitespace())
    }

    fn texts(&self) -> &[String] {
        match self {
            Self::None => &[],
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

impl<'a, 'b> Token<'a, 'b> {
    /// Takes a token apart; `decoded` is cleared, and holds what it says.
    pub(super) fn parse(text: &'a str, decoded: &'b mut Vec<u8>) -> Result<Self, AuthError> {
        if text.is_empty() {
            return Err(AuthError::Missing);
        }
        if text.len() > TOKEN_BYTES_MAX {
            return Err(AuthError::TooLong { bytes: text.len() });
        }
        let malformed = |problem| AuthError::Malformed { problem };
        let (signed, signature) = text.rsplit_once('.').ok_or(malformed("it has not three parts"))?;
        let (header, claims) = signed.split_once('.').ok_or(malformed("it has not three parts"))?;
        if claims.contains('.') {
            return Err(malformed("it has not three parts"));
        }
        decoded.clear();
        decoded.reserve(text.len());
        let in_header = malformed("its header cannot be read");
        let usual = USUAL_HEADERS.iter().find(|(text, _)| *text == header);
        if usual.is_none() && URL_SAFE_NO_PAD.decode_vec(header, decoded).is_err() {
            return Err(in_header);
        }
        let header_bytes = decoded.len();
        let claims_decode = URL_SAFE_NO_PAD.decode_vec(claims, decoded);
        let (header, claims) = decoded.split_at(header_bytes);
        let header: Header<'b> = match usual {
            Some((_, alg)) => Header { alg: Text(Cow::Borrowed(alg)), kid: None, crit: None },
            None => serde_json::from_slice(header).map_err(|_| in_header)?,
        };
        if header.crit.is_some() {
            return Err(malformed("its header asks for an extension that is not known"));
        }
        let in_claims = malformed("its claims cannot be read");
        if claims_decode.is_err() {
            return Err(in_claims);
        }
        let claims = serde_json::from_slice(claims).map_err(|_| in_claims)?;
        Ok(Self { signed, signature, header, claims })
    }

    /// Checks the signature with those of `keys` that fit the header and are in use.
    pub(super) fn verify(&self, keys: &[Key], now_s: u64) -> Result<(), AuthError> {
        let (alg, kid) = (&*self.header.alg, self.header.kid.as_deref());
        if !keys.iter().any(|key| key.fits(alg, None)) {
            return Err(AuthError::Algorithm);
        }
        // A key that carries the token's `kid` is meant alone; keys without one are tried when none carries it.
        let named = kid.is_some() && keys.iter().any(|key| key.kid() == kid);
        let mut tried = false;
        for key in keys.iter().filter(|key| key.fits(alg, kid) && key.valid_at(now_s.saturating_mul(1_000))) {
            if named && key.kid() != kid {
                continue;
            }
            tried = true;
            if key.verifies(self.signature, self.signed) {
                return Ok(());
            }
        }
        Err(if tried { AuthError::Signature } else { AuthError::UnknownKey })
    }
}

impl Claims<'_> {
    pub(super) fn check_times(&self, now_s: u64) -> Result<(), AuthError> {
        let missing = || AuthError::Claim { claim: "exp", problem: "is missing".into() };
        let expires_s = self.exp.ok_or_else(missing)? as u64;
        if now_s >= expires_s.saturating_add(TOKEN_LEEWAY_S) {
            return Err(AuthError::Expired { ago_s: now_s - expires_s });
        }
        match self.nbf.map(|nbf| nbf as u64) {
            Some(starts_s) if starts_s > now_s.saturating_add(TOKEN_LEEWAY_S) => {
                Err(AuthError::NotYet { in_s: starts_s - now_s })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn issued_s(&self) -> u64 {
        self.iat.unwrap_or(0.0) as u64
    }

    pub(super) fn expires_ms(&self) -> u64 {
        (self.exp.unwrap_or(0.0) * 1_000.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_headers_say_what_is_taken_for_said() {
        for (text, alg) in USUAL_HEADERS {
            let bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
            let header: Header<'_> = serde_json::from_slice(&bytes).unwrap();
            assert_eq!((&*header.alg, header.kid.is_none(), header.crit.is_none()), (alg, true, true));
        }
    }
}
