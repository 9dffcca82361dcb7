//! `[tls]`

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[tls]`: not served by the gateway itself yet; both keys are refused, so that nobody believes to be encrypted. Put a
/// proxy that ends TLS in front.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// File with the certificate chain, PEM. Reserved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<String>,
    /// File with the private key, PEM. Reserved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}
