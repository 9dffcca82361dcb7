//! `[tls]` of the configuration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{config::ConfigError, limits};

/// `[tls]`: with a certificate and its key, clients of this gateway connect with `wss://` and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// File with the certificate chain, PEM, the gateway's own certificate first. Needs `tls.key`. Default: none, `ws://`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<String>,
    /// File with the private key of `tls.cert`, PEM (PKCS#8, PKCS#1 or SEC1; ECDSA P-256, P-384, Ed25519 or RSA).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// More certificates, for clients that ask for their names (SNI); who asks for none of them gets `tls.cert`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateConfig>,
    /// Oldest version spoken. Default `1.2`.
    pub min_version: TlsVersion,
    /// Handshakes that one shard begins per second, 1 to 100000; more clients wait. Default 1000.
    pub handshakes_per_s: u32,
    /// How often the files are looked at, seconds, 0 to 86400. Default 10; 0: only SIGHUP reloads them.
    pub reload_s: u32,
}

/// `[[tls.certificates]]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    /// File with the certificate chain, PEM, the gateway's own certificate first.
    pub cert: String,
    /// File with its private key, PEM.
    pub key: String,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2 and 1.3.
    #[default]
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3 alone.
    #[serde(rename = "1.3")]
    V13,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            cert: None,
            key: None,
            certificates: Vec::new(),
            min_version: TlsVersion::V12,
            handshakes_per_s: limits::TLS_HANDSHAKES_PER_S,
            reload_s: limits::TLS_RELOAD_S,
        }
    }
}

/// A `[tls]` that was checked, files aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// At least one; the first is for clients that ask for no name.
    pub certificates: Vec<CertificateConfig>,
    /// Oldest version spoken.
    pub min_version: TlsVersion,
    /// Handshakes that one shard begins per second.
    pub handshakes_per_s: u32,
    /// Seconds between looks at the files; 0: none.
    pub reload_s: u32,
}

impl TlsConfig {
    /// What is asked for; `None`: no TLS.
    pub fn check(&self) -> Result<Option<TlsSettings>, ConfigError> {
        let missing = |key, problem| Err(ConfigError::Missing { key, problem });
        let first = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => CertificateConfig { cert: cert.clone(), key: key.clone() },
            (Some(_), None) => return missing("tls.key", "is missing: tls.cert needs its private key"),
            (None, Some(_)) => return missing("tls.cert", "is missing: tls.key needs its certificate"),
            (None, None) if self.certificates.is_empty() => return Ok(None),
            (None, None) => return missing("tls.cert", "is missing: [[tls.certificates]] are more than the first"),
        };
        let certificates: Vec<_> = std::iter::once(first).chain(self.certificates.iter().cloned()).collect();
        let within = |key, value: u32, min: u32, max: u32| match (min..=max).contains(&value) {
            true => Ok(()),
            false => Err(ConfigError::Value { key, value: value.to_string(), expected: format!("{min} to {max}") }),
        };
        within("tls.handshakes_per_s", self.handshakes_per_s, 1, limits::TLS_HANDSHAKES_PER_S_MAX)?;
        within("tls.reload_s", self.reload_s, 0, limits::TLS_RELOAD_S_MAX)?;
        within("tls.certificates", certificates.len() as u32 - 1, 0, limits::TLS_CERTIFICATES_MAX - 1)?;
        let &Self { min_version, handshakes_per_s, reload_s, .. } = self;
        Ok(Some(TlsSettings { certificates, min_version, handshakes_per_s, reload_s }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_certificate_there_is_no_tls_and_half_a_pair_is_refused() {
        assert_eq!(TlsConfig::default().check().unwrap(), None);
        let refused = |text: &str| toml(text).check().unwrap_err().to_string();
        assert!(refused("cert = \"c\"").starts_with("tls.key is missing"));
        assert!(refused("key = \"k\"").starts_with("tls.cert is missing"));
        assert!(refused("certificates = [{ cert = \"c\", key = \"k\" }]").starts_with("tls.cert is missing"));
        let rate = refused("cert = \"c\"\nkey = \"k\"\nhandshakes_per_s = 0");
        assert_eq!(rate, "tls.handshakes_per_s is 0, must be 1 to 100000");
        let reload = refused(&format!("cert = \"c\"\nkey = \"k\"\nreload_s = {}", limits::TLS_RELOAD_S_MAX + 1));
        assert_eq!(reload, "tls.reload_s is 86401, must be 0 to 86400");
        let pairs = vec!["{ cert = \"c\", key = \"k\" }"; limits::TLS_CERTIFICATES_MAX as usize].join(", ");
        let many = refused(&format!("cert = \"c\"\nkey = \"k\"\ncertificates = [{pairs}]"));
        assert_eq!(many, "tls.certificates is 1000, must be 0 to 999");
    }

    #[test]
    fn the_first_certificate_is_the_one_for_no_name() {
        let config =
            toml("cert = \"a\"\nkey = \"b\"\nmin_version = \"1.3\"\ncertificates = [{ cert = \"c\", key = \"d\" }]");
        let settings = config.check().unwrap().unwrap();
        assert_eq!((settings.certificates[0].cert.as_str(), settings.certificates[1].key.as_str()), ("a", "d"));
        assert_eq!(settings.min_version, TlsVersion::V13);
    }

    fn toml(text: &str) -> TlsConfig {
        let value: serde_json::Value = text
            .lines()
            .map(|line| line.split_once(" = ").unwrap())
            .map(|(key, value)| (key.to_owned(), json(value)))
            .collect::<serde_json::Map<_, _>>()
            .into();
        serde_json::from_value(value).unwrap()
    }

    fn json(value: &str) -> serde_json::Value {
        serde_json::from_str(&value.replace("cert =", "\"cert\":").replace("key =", "\"key\":")).unwrap()
    }
}
