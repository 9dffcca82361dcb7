//! Why someone is not let in.

use crate::{apps::Scope, limits::TOKEN_BYTES_MAX};

/// Why credentials are refused. The texts help the honest caller; they repeat nothing of a secret or token, and do not
/// tell an unknown app from a wrong secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// There are none.
    #[error("no credentials were given")]
    Missing,
    /// Neither Basic nor Bearer.
    #[error("the Authorization header is neither Basic nor Bearer")]
    Scheme,
    /// Basic credentials that are not base64 of `appId:secret`.
    #[error("Basic credentials are not base64 of appId:secret")]
    Basic,
    /// Unknown app, or none of its secrets.
    #[error("unknown app or wrong secret")]
    Secret,
    /// The right secret, too late.
    #[error("the secret has expired")]
    SecretExpired,
    /// Above [`TOKEN_BYTES_MAX`].
    #[error("the token has {bytes} bytes, at most {TOKEN_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not three base64url parts, or the first two are not JSON objects of the right form.
    #[error("the token is not a signed JWT: {problem}")]
    Malformed {
        /// Which part.
        problem: &'static str,
    },
    /// The token names an app that is not configured.
    #[error("the token's app is not known here")]
    UnknownApp,
    /// No key of the app has this algorithm.
    #[error("the token's alg is not one that its app's keys are used with")]
    Algorithm,
    /// No key of the app has this `kid` and algorithm, or its time has passed.
    #[error("the token's kid names no key of its app that is in use")]
    UnknownKey,
    /// No key verifies the signature.
    #[error("the token's signature is not of a key of its app")]
    Signature,
    /// `exp` has passed.
    #[error("the token expired {ago_s} s ago")]
    Expired {
        /// Seconds since then.
        ago_s: u64,
    },
    /// `nbf` has not come.
    #[error("the token is valid only in {in_s} s")]
    NotYet {
        /// Seconds until then.
        in_s: u64,
    },
    /// A claim is missing or wrong.
    #[error("the token's claim {claim} {problem}")]
    Claim {
        /// Which.
        claim: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A caller's token on `/v1/ws`.
    #[error("the token is a caller's (aud pushgate-api); clients need one of their own")]
    CallerToken,
    /// A client's token on REST.
    #[error("the token is not a caller's: its aud is not pushgate-api")]
    ClientToken,
    /// The caller is known and may not do this.
    #[error("the credentials lack the scope {}", needed.as_str())]
    Scope {
        /// What was needed.
        needed: Scope,
    },
}

impl AuthError {
    pub(super) fn claim(claim: &'static str, e: &crate::ids::IdError) -> Self {
        Self::Claim { claim, problem: format!("is wrong: {e}") }
    }

    /// The HTTP status: 403 for who is known and not allowed, else 401.
    pub fn status(&self) -> u16 {
        match self {
            Self::ClientToken | Self::Scope { .. } => 403,
            _ => 401,
        }
    }

    /// A sentence for the caller.
    pub fn reason(&self) -> String {
        self.to_string()
    }

    /// A word for programs; stable.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "missing_credentials",
            Self::Scheme | Self::Basic | Self::TooLong { .. } | Self::Malformed { .. } => "malformed_credentials",
            Self::Secret => "wrong_secret",
            Self::SecretExpired => "secret_expired",
            Self::UnknownApp => "unknown_app",
            Self::Algorithm => "wrong_algorithm",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "wrong_signature",
            Self::Expired { .. } => "token_expired",
            Self::NotYet { .. } => "token_not_yet_valid",
            Self::Claim { .. } => "wrong_claim",
            Self::CallerToken => "caller_token",
            Self::ClientToken => "client_token",
            Self::Scope { .. } => "missing_scope",
        }
    }
}
