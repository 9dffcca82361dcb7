//! Where the results of an app are posted.

use std::{fmt, sync::Arc};

use ring::hmac;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;

/// `[apps.webhook]`: where the results of an app are posted. Exactly one of `secret` and `secret_file` is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// `https://…` or `http://…`: takes POST with a batch of results in JSON, and answers 2xx.
    pub url: String,
    /// The secret that batches are signed with (HMAC-SHA256), at least 16 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// A file that holds it; a line end after it is ignored. Looked at again each second, and at SIGHUP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<String>,
    /// With `https://`: a PEM file of the certificate authorities that its certificate may come from, instead of those that the system
    /// trusts. Looked at again each second, and at SIGHUP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
}

/// A webhook, ready for use.
#[derive(Clone)]
pub struct Webhook {
    /// Where to.
    pub url: Arc<str>,
    /// The authorities that its certificate may come from, in PEM; those of the system if absent.
    pub authorities: Option<Arc<str>>,
    key: hmac::Key,
}

impl Webhook {
    /// A webhook at this address, signed with this secret.
    pub fn new(url: &str, secret: &str) -> Self {
        Self { url: url.into(), authorities: None, key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()) }
    }

    /// The same, with a certificate from one of these authorities (PEM) alone.
    pub fn trusting(self, authorities: &str) -> Self {
        Self { authorities: Some(authorities.into()), ..self }
    }

    /// The value of the header `Pushgate-Signature` for a body posted now: `t=<Unix seconds>,v1=<hex>`, where hex is
    /// HMAC-SHA256 of `<Unix seconds>.<body>`.
    pub fn signature(&self, now_ms: u64, body: &[u8]) -> String {
        let seconds = now_ms / 1_000;
        let mut context = hmac::Context::with_key(&self.key);
        context.update(format!("{seconds}.").as_bytes());
        context.update(body);
        let hex: String = context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("t={seconds},v1={hex}")
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may carry a token.
        f.write_str("[webhook]")
    }
}

impl WebhookConfig {
    /// Checks it. `text` is the secret, wherever it came from; `authorities` what is in `ca_file`.
    pub(super) fn resolve(&self, text: &str, authorities: Option<&str>) -> Result<Webhook, String> {
        let rest = self.url.strip_prefix("https://").or_else(|| self.url.strip_prefix("http://"));
        let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
        if host.is_empty() || self.url.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("url must be like https://example.org/results".into());
        }
        let hook = Webhook::new(&self.url, text);
        match authorities {
            None => Ok(hook),
            Some(_) if self.url.starts_with("http://") => Err("ca_file has no meaning with an http:// url".into()),
            Some(pem) if !pem.contains("-----BEGIN CERTIFICATE-----") => Err("ca_file holds no certificate".into()),
            Some(pem) => Ok(hook.trusting(pem)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_other_implementations() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let hook = Webhook::new("http://h/", "0123456789abcdef");
        assert_eq!(
            hook.signature(1_700_000_000_999, b"{\"a\":1}"),
            "t=1700000000,v1=9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23"
        );
        assert_eq!(format!("{hook:?}"), "[webhook]");
    }

    fn config(url: &str) -> WebhookConfig {
        WebhookConfig { url: url.into(), secret: None, secret_file: None, ca_file: None }
    }

    #[test]
    fn authorities_are_certificates_and_for_https_alone() {
        let resolve = |url: &str, pem: &str| config(url).resolve("0123456789abcdef", Some(pem));
        let pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
        assert_eq!(resolve("https://h/", pem).unwrap().authorities.as_deref(), Some(pem));
        assert!(resolve("http://h/", pem).unwrap_err().contains("no meaning"));
        assert!(resolve("https://h/", "-----BEGIN PRIVATE KEY-----").unwrap_err().contains("holds no certificate"));
    }

    #[test]
    fn only_addresses_are_taken() {
        let resolve = |url: &str| config(url).resolve("0123456789abcdef", None).is_ok();
        assert!(resolve("https://h/x?token=1") && resolve("http://127.0.0.1:80"));
        for url in ["", "h/x", "ftp://h/", "https://", "https:///x", "https://h/ x"] {
            assert!(!resolve(url), "{url}");
        }
    }
}
